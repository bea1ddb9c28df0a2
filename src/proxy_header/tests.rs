use super::*;

fn ip(source: &str, destination: &str, transport: Transport) -> Addresses {
    Addresses::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap(), transport }
}

fn unix(source: &[u8], destination: &[u8], transport: Transport) -> Addresses {
    Addresses::Unix { source: source.into(), destination: destination.into(), transport }
}

fn complete(addresses: Addresses, tlvs: &[u8], length: usize) -> Result<Parsed, Malformed> {
    Ok(Parsed::Complete { header: ProxyHeader { addresses, tlvs: Tlvs::new(tlvs).unwrap() }, length })
}

/// A header of version 2 by its octets of command and of family.
fn binary(command: u8, kind: u8, behind: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend_from_slice(&[command, kind]);
    bytes.extend_from_slice(&(behind.len() as u16).to_be_bytes());
    bytes.extend_from_slice(behind);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

fn written(header: &ProxyHeader, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.write(version, &mut bytes);
    bytes
}

/// What HAProxy 2.6 sent with `send-proxy-v2 proxy-v2-options crc32c,unique-id`, from 127.0.0.1:36692 to 127.0.0.1:47645.
const OF_HAPROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x23\x7f\x00\x00\x01\x7f\x00\x00\x01\x8f\x54\xba\x1d\
    \x03\x00\x04\x37\xbc\x7f\x9d\x05\x00\x0dabc-127.0.0.1";

/// Headers of all kinds.
fn good() -> Vec<Vec<u8>> {
    let lines = [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        "PROXY TCP6 :: ::1 1 65535\r\n",
        "PROXY TCP6 2001:db8::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 10\r\n",
        "PROXY TCP6 ::ffff:192.0.2.1 1:2:3:4:5:6:7:8 1 2\r\n",
        "PROXY UNKNOWN\r\n",
    ];
    let mut good: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).into();
    let [unique, noop] = [tlv(5, b"an id"), tlv(4, &[0; 9])];
    let names = [&b"/run/a.sock"[..], &[0; 97], b"\0abstract", &[0; 99]].concat();
    good.extend([
        binary(0x20, 0, b""),
        binary(0x21, 0, b""),
        binary(0x21, 0, &unique),
        binary(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb]),
        binary(0x21, 0x12, &[&[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb][..], &noop, &unique, &noop].concat()),
        binary(0x21, 0x21, &(0..36).collect::<Vec<u8>>()),
        binary(0x21, 0x22, &[&[0xff; 36][..], &tlv(0xe0, b"")].concat()),
        binary(0x21, 0x31, &names),
        binary(0x21, 0x32, &[&names[..], &unique].concat()),
        binary(0x21, 0x11, &[&[1; 12][..], &tlv(0x30, &[7; MOST - 16 - 12 - 3])].concat()),
        OF_HAPROXY.to_vec(),
    ]);
    good
}

#[test]
fn the_lines_of_the_specification_are_read() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    let addresses = ip("192.168.0.1:56324", "192.168.0.11:443", Transport::Stream);
    assert_eq!(parse(line), complete(addresses, b"", 47));

    let longest = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    let addresses = ip("255.255.255.255:65535", "255.255.255.255:65535", Transport::Stream);
    assert_eq!((parse(longest), longest.len()), (complete(addresses, b"", 56), 56));

    let group = ["ffff"; 8].join(":");
    let longest = format!("PROXY TCP6 {group} {} 65535 65535\r\n", group.to_uppercase());
    let address = format!("[{group}]:65535");
    let addresses = ip(&address, &address, Transport::Stream);
    assert_eq!((parse(longest.as_bytes()), longest.len()), (complete(addresses, b"", 104), 104));

    let worst = format!("PROXY UNKNOWN {group} {group} 65535 65535\r\n");
    assert_eq!((parse(worst.as_bytes()), worst.len()), (complete(Addresses::Unknown, b"", 107), 107));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n\r\n"), complete(Addresses::Unknown, b"", 15));
    for ignored in [&b" "[..], b"  \n \r x\0\xff", b" TCP4 1"] {
        let line = [b"PROXY UNKNOWN", ignored, b"\r\n"].concat();
        assert_eq!(parse(&[&line[..], b"\r\n"].concat()), complete(Addresses::Unknown, b"", line.len()));
    }
}

#[test]
fn a_line_that_is_not_exactly_as_specified_is_refused() {
    use Malformed as M;
    let [source, destination] = [End::Source, End::Destination];
    for (line, reason) in [
        ("G", M::NoHeader),
        ("PROXYT", M::NoHeader),
        ("p", M::NoHeader),
        ("PROXY\r", M::NoHeader),
        ("PROXY  ", M::Protocol),
        ("PROXY TCP5", M::Protocol),
        ("PROXY t", M::Protocol),
        ("PROXY UD", M::Protocol),
        ("PROXY TCP4\r", M::Protocol),
        ("PROXY UNKNOWNS", M::Protocol),
        ("PROXY UNKNOWN\n", M::Protocol),
        ("PROXY UNKNOWN\r ", M::LineEnd),
        ("PROXY TCP4  ", M::Address(source)),
        ("PROXY TCP4 1.1.1 ", M::Address(source)),
        ("PROXY TCP4 1.1.1.256 ", M::Address(source)),
        ("PROXY TCP4 1.1.1.01 ", M::Address(source)),
        ("PROXY TCP4 1.1.1.1.1 ", M::Address(source)),
        ("PROXY TCP4 :", M::Address(source)),
        ("PROXY TCP4 1.1.1.1\t", M::Address(source)),
        ("PROXY TCP4 1111111111111111", M::Address(source)),
        ("PROXY TCP4 1.1.1.1 l", M::Address(destination)),
        ("PROXY TCP6 1.1.1.1 ", M::Address(source)),
        ("PROXY TCP6 ::1::1 ", M::Address(source)),
        ("PROXY TCP6 1:2:3:4:5:6:7 ", M::Address(source)),
        ("PROXY TCP6 1:2:3:4:5:6:7:8:9 ", M::Address(source)),
        ("PROXY TCP6 12345:: ", M::Address(source)),
        ("PROXY TCP6 fe80::1%", M::Address(source)),
        ("PROXY TCP6 [", M::Address(source)),
        ("PROXY TCP6 :: ::g", M::Address(destination)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 65536 ", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 -", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 +", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 01 ", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1  ", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 000001", M::Port(source)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 00\r", M::Port(destination)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 ", M::Port(destination)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", M::Port(destination)),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r", M::LineEnd),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(reason), "{line:?}");
        // It is told at its last byte, and not before.
        let before = parse(&line.as_bytes()[..line.len() - 1]);
        assert!(matches!(before, Ok(Parsed::Incomplete { .. })), "{line:?}");
    }

    // Two addresses of 45 bytes are allowed, but not in one line.
    let long = format!("{}255.255.255.255", "0000:".repeat(6));
    let line = format!("PROXY TCP6 {long} {long} 1 1\r\n");
    assert_eq!(parse(line.as_bytes()), Err(M::LineTooLong));
    for length in [106, 107, 108, 4096, 5000] {
        let line = [&b"PROXY UNKNOWN "[..], &vec![b' '; length]].concat();
        let expected = if length == 107 { Err(M::LineTooLong) } else { parse(&line) };
        assert_eq!(parse(&line[..length]).is_err(), length > 105);
        assert_eq!(parse(&line), expected);
    }
    let line = [&b"PROXY UNKNOWN "[..], &[b' '; 92], b"\r\n"].concat();
    assert_eq!((line.len(), parse(&line)), (108, Err(M::LineTooLong)));
}

#[test]
fn the_layouts_of_version_2_are_read() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
    let id = tlv(5, b"id");
    for (kind, transport) in [(0x11, Transport::Stream), (0x12, Transport::Datagram)] {
        let addresses = ip("192.0.2.1:56324", "198.51.100.2:443", transport);
        assert_eq!(parse(&binary(0x21, kind, &v4)), complete(addresses.clone(), b"", 28));
        let longer = [&binary(0x21, kind, &[&v4[..], &id].concat())[..], b"hello"].concat();
        assert_eq!(parse(&longer), complete(addresses, &id, 33));
    }
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    v6[15] = 1;
    v6[26..32].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 9]);
    v6[32..].copy_from_slice(&[0, 1, 0xff, 0xff]);
    for (kind, transport) in [(0x21, Transport::Stream), (0x22, Transport::Datagram)] {
        let addresses = ip("[2001:db8::1]:1", "[::ffff:192.0.2.9]:65535", transport);
        assert_eq!(parse(&binary(0x21, kind, &v6)), complete(addresses, b"", 52));
    }
    let mut names = [0; 216];
    names[..6].copy_from_slice(b"/run/a");
    names[107] = b'x';
    names[108..].fill(b'y');
    for (kind, transport) in [(0x31, Transport::Stream), (0x32, Transport::Datagram)] {
        // What is behind the end of a path does not belong to it.
        let addresses = unix(b"/run/a", &[b'y'; 108], transport);
        assert_eq!(parse(&binary(0x21, kind, &names)), complete(addresses, b"", 232));
    }
    names[..108].copy_from_slice(&[&b"\0a\0b"[..], &[0; 104]].concat());
    names[108..].fill(0);
    assert_eq!(parse(&binary(0x21, 0x31, &names)), complete(unix(b"\0a\0b", b"", Transport::Stream), b"", 232));

    // Of a connection of the proxy's own, nothing else counts.
    for (kind, behind) in [(0, &b""[..]), (0x11, &v4), (0x21, b"x"), (0xff, &[3; 4096])] {
        assert_eq!(parse(&binary(0x20, kind, behind)), complete(Addresses::Local, b"", 16 + behind.len()));
    }
    // Of what is not specified, TLVs count, if there are any.
    for (kind, behind, tlvs) in [
        (0x00, &id[..], &id[..]),
        (0x01, &id, &id),
        (0x00, b"what?", b""),
        (0x10, &[1, 0, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1], b""),
        (0x10, &[&v4[..], &id].concat(), &id),
        (0x20, &id, b""),
        (0x30, b"", b""),
    ] {
        assert_eq!(parse(&binary(0x21, kind, behind)), complete(Addresses::Unknown, tlvs, 16 + behind.len()));
    }
}

#[test]
fn what_version_2_does_not_have_is_refused_as_soon_as_it_is_there() {
    use Malformed as M;
    for (header, told_at, reason) in [
        (binary(0x11, 0x11, &[0; 12]), 13, M::Version(1)),
        (binary(0x31, 0x11, &[0; 12]), 13, M::Version(3)),
        (binary(0x22, 0x11, &[0; 12]), 13, M::Command(2)),
        (binary(0x2f, 0x11, &[0; 12]), 13, M::Command(15)),
        (binary(0x21, 0x41, &[0; 12]), 14, M::Family(0x41)),
        (binary(0x21, 0x13, &[0; 12]), 14, M::Family(0x13)),
        (binary(0x21, 0x03, &[0; 12]), 14, M::Family(0x03)),
        (binary(0x21, 0x11, &[0; 11]), 16, M::TooShort { length: 11, addresses: 12 }),
        (binary(0x21, 0x22, &[0; 35]), 16, M::TooShort { length: 35, addresses: 36 }),
        (binary(0x21, 0x31, &[0; 215]), 16, M::TooShort { length: 215, addresses: 216 }),
        (binary(0x21, 0x11, &[0; 4097]), 16, M::TooLong { length: 4097 }),
        (binary(0x20, 0x00, &[0; 65535]), 16, M::TooLong { length: 65535 }),
        (binary(0x21, 0x11, &[0; 13]), 29, M::HalfTlv),
        (binary(0x21, 0x11, &[&[0; 12][..], b"\x05\0\x01"].concat()), 31, M::Tlv(5)),
        (binary(0x21, 0x11, &[&[0; 12][..], b"\x05\xff\xff", &[0; 100]].concat()), 131, M::Tlv(5)),
        (binary(0x21, 0x11, &[&[0; 12][..], b"\x03\0\x03abc"].concat()), 34, M::ChecksumForm),
        (binary(0x21, 0x11, &[&[0; 12][..], b"\x03\0\x04abcd"].concat()), 35, M::Checksum),
        (binary(0x21, 0x00, b"\x03\0\x04abcd"), 23, M::Checksum),
    ] {
        assert_eq!(parse(&header), Err(reason));
        assert_eq!(parse(&header[..told_at]), Err(reason));
        assert!(matches!(parse(&header[..told_at - 1]), Ok(Parsed::Incomplete { .. })), "{reason}");
    }
    let mut twice = OF_HAPROXY.to_vec();
    twice.extend_from_slice(&tlv(3, &[0; 4]));
    twice[15] += 7;
    assert_eq!(parse(&twice), Err(M::ChecksumForm));
    assert_eq!(parse(b"\r\n\r\n\r"), Err(M::NoHeader));
}

#[test]
fn what_is_wrong_is_one_line() {
    let (source, length) = (End::Source, 5000);
    for (reason, line) in [
        (Malformed::NoHeader, "the first bytes are not those of a PROXY header"),
        (Malformed::Address(source), "the source address is not one of the protocol that is named"),
        (Malformed::LineTooLong, "the line does not end within 107 bytes"),
        (Malformed::TooLong { length }, "the length is 5000 bytes, and 4096 at most are taken"),
        (Malformed::TooShort { length: 3, addresses: 12 }, "the length is 3 bytes, but the addresses have 12"),
        (Malformed::Family(0x41), "the family of addresses and transport 0x41 is not known"),
    ] {
        assert_eq!(reason.to_string(), line);
    }
}

#[test]
fn a_beginning_is_incomplete_and_says_no_more_bytes_than_there_are() {
    assert_eq!(parse(b""), Ok(Parsed::Incomplete { at_least: 15 }));
    let ignored = b"PROXY UNKNOWN what\rever\r\n".to_vec();
    for header in good().into_iter().chain([ignored]) {
        for end in 0..header.len() {
            match parse(&header[..end]) {
                Ok(Parsed::Incomplete { at_least }) => {
                    assert!(at_least > 0 && end + at_least <= header.len(), "{end} of {}", header.escape_ascii());
                }
                other => panic!("{other:?} of {end} bytes of {}", header.escape_ascii()),
            }
        }
        // Whatever is behind it, and however it is split, it is the same header.
        let parsed = parse(&header);
        assert!(matches!(parsed, Ok(Parsed::Complete { length, .. }) if length == header.len()), "{parsed:?}");
        for behind in [&b"\r\n"[..], b"P", b"\0", &header] {
            assert_eq!(parse(&[&header, behind].concat()), parsed);
        }
        let mut have = 0;
        let mut reads = 0;
        while let Parsed::Incomplete { at_least } = parse(&header[..have]).unwrap() {
            have += at_least;
            reads += 1;
        }
        assert_eq!(have, header.len());
        let most = if header[0] == b'P' { 16 } else { 3 };
        assert!(reads <= most && (header.len() != 28 || reads == 2), "{reads} for {}", header.escape_ascii());
    }
    // The least that a line may still have is known exactly where the fields are.
    for (beginning, at_least) in [
        ("PROXY ", 9),
        ("PROXY T", 15),
        ("PROXY TCP4", 22),
        ("PROXY TCP4 ", 21),
        ("PROXY TCP4 1.1.1.1 ", 13),
        ("PROXY TCP6 :: :: 1", 4),
        ("PROXY TCP6 :: :: 1 1\r", 1),
    ] {
        assert_eq!(parse(beginning.as_bytes()), Ok(Parsed::Incomplete { at_least }), "{beginning}");
    }
}

#[test]
fn a_buffer_for_the_longest_header_is_long_enough() {
    for header in [binary(0x20, 0, &[0; 4096]), good().pop().unwrap()] {
        assert!(!matches!(parse(&[&header[..], &[b' '; MOST]].concat()[..MOST]), Ok(Parsed::Incomplete { .. })));
    }
    assert_eq!(parse(&[&b"PROXY UNKNOWN "[..], &[b' '; MOST]].concat()[..MOST]), Err(Malformed::LineTooLong));
}

/// Whether a header says the same when it is written and read again.
fn stays(header: &ProxyHeader, version: Version) -> bool {
    let bytes = written(header, version);
    parse(&bytes) == Ok(Parsed::Complete { header: header.clone(), length: bytes.len() })
}

#[test]
fn an_altered_byte_is_told_or_makes_another_header() {
    for header in good() {
        let version = if header[0] == b'P' { Version::V1 } else { Version::V2 };
        let Ok(Parsed::Complete { header: original, .. }) = parse(&header) else { panic!() };
        assert_eq!(written(&original, version).escape_ascii().to_string(), header.escape_ascii().to_string());
        for at in 0..header.len().min(260) {
            for value in 0..=255 {
                let mut altered = header.clone();
                altered[at] = value;
                let Ok(Parsed::Complete { header: read, length }) = parse(&altered) else { continue };
                assert!(stays(&read, version), "{}", altered.escape_ascii());
                // With a checksum in it, an altered header is never taken.
                let has_checksum = read.tlvs.iter().any(|tlv| tlv.kind == 3);
                let expected = altered == header || !has_checksum;
                assert!(expected && length <= header.len(), "{}", altered.escape_ascii());
            }
        }
    }
}

#[test]
fn the_checksum_is_made_anew_where_there_was_one() {
    let Ok(Parsed::Complete { mut header, .. }) = parse(OF_HAPROXY) else { panic!() };
    let kinds: Vec<_> = header.tlvs.iter().map(|tlv| (tlv.kind, tlv.value.len())).collect();
    assert_eq!(kinds, [(3, 4), (5, 13)]);
    header.addresses = ip("[2001:db8::1]:1", "[2001:db8::2]:2", Transport::Stream);
    let mut bytes = b"before".to_vec();
    header.write(Version::V2, &mut bytes);
    assert_ne!(bytes[6 + 52 + 3..][..4], OF_HAPROXY[28 + 3..][..4]);
    let Ok(Parsed::Complete { header: read, .. }) = parse(&bytes[6..]) else { panic!() };
    assert_eq!((&read.addresses, read.tlvs.iter().nth(1)), (&header.addresses, header.tlvs.iter().nth(1)));
    // 32 zeros, an example of RFC 3720, B.4.
    assert_eq!(tlvs::checksum(&[0; 32], 28), 0x8a91_36aa_u32.to_be_bytes());
    assert!(!stays(&ProxyHeader { tlvs: Tlvs::new(&tlv(3, b"none")).unwrap(), ..header }, Version::V2));
}

#[test]
fn what_a_version_cannot_say_is_left_out() {
    let tlvs = Tlvs::new(&tlv(5, b"id")).unwrap();
    let tcp = ip("192.0.2.1:1", "192.0.2.2:2", Transport::Stream);
    let header = |addresses: &Addresses| ProxyHeader { addresses: addresses.clone(), tlvs: tlvs.clone() };
    let line = |addresses: &Addresses| String::from_utf8(written(&header(addresses), Version::V1)).unwrap();
    assert_eq!(line(&tcp), "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    for addresses in [
        Addresses::Local,
        Addresses::Unknown,
        ip("192.0.2.1:1", "192.0.2.2:2", Transport::Datagram),
        unix(b"/a", b"/b", Transport::Stream),
    ] {
        assert_eq!(line(&addresses), "PROXY UNKNOWN\r\n");
    }
    assert_eq!(written(&header(&Addresses::Local), Version::V2), binary(0x20, 0, b""));
    assert_eq!(written(&ProxyHeader::local(), Version::V2), binary(0x20, 0, b""));
    assert_eq!(written(&header(&Addresses::Unknown), Version::V2), binary(0x21, 0, &tlv(5, b"id")));
    let long = unix(&[b'x'; 109], b"", Transport::Stream);
    assert_eq!(written(&ProxyHeader::new(long), Version::V2).len(), 16 + 216);
}

#[test]
fn both_addresses_are_written_in_one_family() {
    let mixed = ip("192.0.2.1:1", "[2001:db8::2]:2", Transport::Stream);
    let line = |addresses: Addresses| String::from_utf8(written(&ProxyHeader::new(addresses), Version::V1)).unwrap();
    assert_eq!(line(mixed.clone()), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    let expected = ip("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2", Transport::Stream);
    assert_eq!(parse(&written(&ProxyHeader::new(mixed), Version::V2)), complete(expected, b"", 52));

    let [v4, mapped, v6] = ["192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[2001:db8::1]:1"].map(|text| text.parse().unwrap());
    let between = |source, destination| line(Addresses::between(source, destination, Transport::Stream));
    for (source, destination) in [(v4, v4), (mapped, mapped), (v4, mapped)] {
        assert_eq!(between(source, destination), "PROXY TCP4 192.0.2.1 192.0.2.1 1 1\r\n");
    }
    let as_they_are = Addresses::Ip { source: mapped, destination: v6, transport: Transport::Stream };
    assert_eq!(Addresses::between(mapped, v6, Transport::Stream), as_they_are);
    assert_eq!(between(mapped, v6), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 1\r\n");
}

/// Numbers by a seed: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.number() as u8).collect()
    }

    fn addresses(&mut self) -> Addresses {
        let transport = [Transport::Stream, Transport::Datagram][self.below(2)];
        let mut port = || self.number() as u16;
        let (from, to) = (port(), port());
        let groups = |numbers: &mut Random| {
            let mut wide = || (u128::from(numbers.number()) << 64) | u128::from(numbers.number());
            // Many zeros, as the shortest form of an address leaves them out.
            (wide() & wide() & wide(), wide() & wide() & wide())
        };
        match self.below(6) {
            0 => Addresses::Unknown,
            1 => Addresses::Local,
            2 => {
                let mut name = || {
                    let mut name = self.bytes(108);
                    let abstracted = name.first() == Some(&0) || name.len() % 2 == 0;
                    name.iter_mut().skip(usize::from(abstracted)).for_each(|byte| *byte |= 1);
                    if abstracted && name.len() > 1 {
                        name[0] = 0;
                    }
                    name.into_boxed_slice()
                };
                Addresses::Unix { source: name(), destination: name(), transport }
            }
            3 => {
                let (source, destination) = groups(self);
                let [source, destination] = [source, destination].map(|ip| std::net::Ipv6Addr::from(ip).into());
                let (source, destination) = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
                Addresses::Ip { source, destination, transport }
            }
            _ => {
                let mut ip = || std::net::Ipv4Addr::from(self.number() as u32).into();
                let (source, destination) = (SocketAddr::new(ip(), from), SocketAddr::new(ip(), to));
                Addresses::Ip { source, destination, transport }
            }
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut numbers = Random(12);
    for _ in 0..20_000 {
        let addresses = numbers.addresses();
        let mut tlvs = Vec::new();
        while addresses != Addresses::Local && numbers.below(3) > 0 {
            let kind = [4, 5, 0x20, 0xee][numbers.below(4)];
            tlvs.extend(tlv(kind, &numbers.bytes(40)));
        }
        let header = ProxyHeader { addresses, tlvs: Tlvs::new(&tlvs).unwrap() };
        assert!(stays(&header, Version::V2), "{header:?}");
        let as_line =
            matches!(&header.addresses, Addresses::Unknown | Addresses::Ip { transport: Transport::Stream, .. });
        let header = ProxyHeader::new(header.addresses);
        assert!(!as_line || stays(&header, Version::V1), "{header:?}");
    }
}

#[test]
fn random_bytes_are_read_without_a_panic() {
    let mut numbers = Random(34);
    let good = good();
    for _ in 0..50_000 {
        // Behind the beginning of a good header, or of two.
        let mut bytes = Vec::new();
        for _ in 0..=numbers.below(2) {
            let header = &good[numbers.below(good.len())];
            bytes.extend_from_slice(&header[..numbers.below(header.len().min(300) + 1)]);
        }
        bytes.extend(numbers.bytes(60));
        let mut former = 0;
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                // What surely belongs to the header never becomes less.
                Ok(Parsed::Incomplete { at_least }) => {
                    assert!(end + at_least >= former, "{}", bytes.escape_ascii());
                    former = end + at_least;
                }
                Ok(Parsed::Complete { length, .. }) => {
                    assert_eq!(length, end, "{}", bytes.escape_ascii());
                    break;
                }
                Err(reason) => {
                    // Whatever may follow.
                    assert_eq!(parse(&bytes), Err(reason), "{}", bytes.escape_ascii());
                    break;
                }
            }
        }
    }
}
