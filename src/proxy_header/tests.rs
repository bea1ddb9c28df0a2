use super::*;

#[test]
fn the_examples_of_the_specification_are_read() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n";
    let addresses = Addresses::Ip {
        source: "192.168.0.1:56324".parse().unwrap(),
        destination: "192.168.0.11:443".parse().unwrap(),
        transport: Transport::Stream,
    };
    assert_eq!(parse(line), Ok(Parsed::Complete { header: ProxyHeader::new(addresses), length: 47 }));
}
