//! Which addresses the packets of a session have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::endpoint::Names;

/// The address of the listener's end where a session has no addresses of IP.
pub const OTHER_LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The two ends of a client's connection, the client first, as its packets have them. Where these are not at addresses of IP, as
/// those of Unix sockets, they are at loopback addresses that no other session has soon: 127.1.0.0 to 127.255.255.255 for the
/// client, one after the other, and [`OTHER_LISTENER`]. `others` counts the sessions of which this is so.
pub fn ends(names: &Names, others: &mut u64) -> [SocketAddr; 2] {
    let (client, listener) = (address(&names.client), address(&names.listener));
    match (client, listener) {
        (Some(client), Some(listener)) if client.is_ipv4() == listener.is_ipv4() => [client, listener],
        (Some(client), Some(listener)) => [client, listener].map(as_v6),
        (Some(client), None) => [client, unknown(client)],
        (None, _) => {
            let number = *others;
            *others += 1;
            [other_client(number), OTHER_LISTENER]
        }
    }
}

/// The address of IP in a name as the log has it, if there is one: `udp:10.0.0.1:53`, say.
pub fn address(name: &str) -> Option<SocketAddr> {
    let parsed: SocketAddr = match name.parse() {
        Ok(address) => address,
        Err(_) => {
            let (kind, rest) = name.split_once(':')?;
            let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
            return if is_kind { address(rest) } else { None };
        }
    };
    Some(SocketAddr::new(parsed.ip().to_canonical(), parsed.port()))
}

/// The same address in IPv6.
fn as_v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// In place of a listener's address that nobody knows.
fn unknown(client: SocketAddr) -> SocketAddr {
    if client.is_ipv4() { OTHER_LISTENER } else { as_v6(OTHER_LISTENER) }
}

/// The address of the client of the session with this number among those without addresses.
fn other_client(number: u64) -> SocketAddr {
    const HOSTS: u64 = 255 << 16;
    const FIRST_PORT: u64 = 1024;
    let host = (number % HOSTS) as u32 + (1 << 16);
    let port = (FIRST_PORT + number / HOSTS % (65_536 - FIRST_PORT)) as u16;
    SocketAddr::new(Ipv4Addr::from(0x7F00_0000 | host).into(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn of(client: &str, listener: &str) -> [String; 2] {
        let names = Names { client: client.into(), listener: listener.into(), ..Names::default() };
        ends(&names, &mut 0).map(|end| end.to_string())
    }

    #[test]
    fn addresses_are_true_where_there_are_some() {
        assert_eq!(of("10.0.0.1:5000", "10.0.0.2:80"), ["10.0.0.1:5000", "10.0.0.2:80"]);
        assert_eq!(of("udp:10.0.0.1:5000", "udp:10.0.0.2:53"), ["10.0.0.1:5000", "10.0.0.2:53"]);
        assert_eq!(of("framed:tcp:[::1]:5000", "framed:tcp:[::1]:53"), ["[::1]:5000", "[::1]:53"]);
        assert_eq!(of("[::ffff:10.0.0.1]:5000", "10.0.0.2:80"), ["10.0.0.1:5000", "10.0.0.2:80"]);
        assert_eq!(of("[2001:db8::1]:5000", "10.0.0.2:80"), ["[2001:db8::1]:5000", "[::ffff:10.0.0.2]:80"]);
        assert_eq!(of("10.0.0.1:5000", "?"), ["10.0.0.1:5000", "127.0.0.1:1"]);
    }

    #[test]
    fn sessions_of_unix_sockets_have_addresses_of_their_own() {
        assert_eq!(of("unix:?", "unix:/run/x:1.2.3.4:5"), ["127.1.0.0:1024", "127.0.0.1:1"]);
        let mut others = (255 << 16) - 3;
        let names = Names::default();
        let clients: HashSet<SocketAddr> = (0..10).map(|_| ends(&names, &mut others)[0]).collect();
        assert_eq!(clients.len(), 10);
        assert!(clients.contains(&"127.255.255.255:1024".parse().unwrap()));
        assert!(clients.contains(&"127.1.0.0:1025".parse().unwrap()));
    }
}
