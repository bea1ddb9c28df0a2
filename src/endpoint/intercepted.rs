//! Clients that the kernel has led here on their way to somebody else, and where they had wanted to go.

use std::net::SocketAddr;

use crate::config::loops::is_local;

/// The addresses of a client of a listener whose clients are intercepted.
#[derive(Debug)]
pub struct Intercepted {
    /// The client's.
    pub peer: SocketAddr,
    /// Where it had wanted to go. For one that came by itself, this is the listener's.
    pub destination: SocketAddr,
    /// It came by itself: connecting it there would lead here again.
    pub came_by_itself: bool,
}

impl Intercepted {
    /// What is known of a client of a listener at this address. `own` is the address of our end of its connection, and
    /// `original` the one before the kernel changed it, where it knows one.
    pub fn new(
        peer: SocketAddr,
        listener: SocketAddr,
        own: Option<SocketAddr>,
        original: Option<SocketAddr>,
    ) -> Intercepted {
        // With TPROXY our end has the address of the server; with REDIRECT it has one of ours.
        let destination = original.or(own).unwrap_or(listener);
        let is_at_listener = || match listener.ip().is_unspecified() {
            true => is_local(destination),
            false => destination.ip().to_canonical() == listener.ip().to_canonical(),
        };
        let came_by_itself = destination.port() == listener.port() && is_at_listener();
        Intercepted { peer, destination, came_by_itself }
    }
}

/// Where the kernel has redirected a connection from, as far as it knows (`SO_ORIGINAL_DST`).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn original_destination(socket: socket2::SockRef<'_>, own: SocketAddr) -> Option<SocketAddr> {
    let original = if own.ip().to_canonical().is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket()
}

/// No other system tells it so.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn original_destination(_socket: socket2::SockRef<'_>, _own: SocketAddr) -> Option<SocketAddr> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Where a client is connected to; `None`: it came by itself.
    fn destination(listener: &str, own: &str, original: Option<&str>) -> Option<String> {
        let client = Intercepted::new(
            address("198.51.100.7:4000"),
            address(listener),
            Some(address(own)),
            original.map(address),
        );
        (!client.came_by_itself).then(|| client.destination.to_string())
    }

    #[test]
    fn what_is_intercepted_goes_on_to_where_it_had_wanted_to() {
        for (listener, own, original, expected) in [
            // TPROXY.
            ("127.0.0.1:5000", "192.0.2.20:80", None, "192.0.2.20:80"),
            ("0.0.0.0:5000", "192.0.2.20:80", Some("192.0.2.20:80"), "192.0.2.20:80"),
            ("[::]:5000", "[2001:db8::20]:80", None, "[2001:db8::20]:80"),
            // The port says nothing where the host is another.
            ("0.0.0.0:5000", "192.0.2.20:5000", None, "192.0.2.20:5000"),
            ("127.0.0.1:5000", "192.0.2.20:5000", None, "192.0.2.20:5000"),
            // REDIRECT.
            ("0.0.0.0:5000", "127.0.0.1:5000", Some("192.0.2.20:80"), "192.0.2.20:80"),
            ("127.0.0.1:5000", "127.0.0.1:5000", Some("192.0.2.20:5000"), "192.0.2.20:5000"),
            // A service of this host at another port.
            ("0.0.0.0:5000", "127.0.0.1:5000", Some("127.0.0.1:80"), "127.0.0.1:80"),
        ] {
            assert_eq!(destination(listener, own, original).as_deref(), Some(expected), "{listener} {own}");
        }
    }

    #[test]
    fn who_came_by_itself_would_come_again_and_again() {
        for (listener, own, original) in [
            ("127.0.0.1:5000", "127.0.0.1:5000", None),
            ("0.0.0.0:5000", "127.0.0.1:5000", None),
            ("[::]:5000", "[::ffff:127.0.0.1]:5000", None),
            ("[::]:5000", "[::1]:5000", None),
            // The kernel knows the connection, and has changed nothing of it.
            ("0.0.0.0:5000", "127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("[::]:5000", "[::ffff:127.0.0.1]:5000", Some("127.0.0.1:5000")),
            // It was led from one address of the listener to another.
            ("0.0.0.0:5000", "127.0.0.1:5000", Some("127.0.0.2:5000")),
        ] {
            assert_eq!(destination(listener, own, original), None, "{listener} {own} {original:?}");
        }
        assert!(Intercepted::new(address("127.0.0.1:1"), address("127.0.0.1:5000"), None, None).came_by_itself);
    }
}
