//! What a proxy says of a client in front of all else: the header of the PROXY protocol, version 2, as the server reads it.

use std::io::{self, Read};

/// What each begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and that the connection is a client's.
const PROXY: u8 = 0x21;

/// TCP over IPv4.
const TCP4: u8 = 0x11;

/// How long the addresses and ports of both ends are, with nothing behind them.
const ADDRESSES: [u8; 2] = [0, 12];

/// How long the whole header is of a client that came over IPv4.
const LENGTH: usize = 28;

/// A header that is being read.
#[derive(Default)]
pub struct Introduction {
    bytes: [u8; LENGTH],
    read: usize,
}

impl Introduction {
    /// Reads from `stream` until the header is whole, and says whether it is; never beyond it.
    ///
    /// # Errors
    ///
    /// The stream's, and that it is not the header of a client on loopback.
    pub fn receive(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        while self.read < LENGTH {
            match stream.read(&mut self.bytes[self.read..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.read += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match is_right(&self.bytes) {
            true => Ok(true),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("not a header: {:02x?}", self.bytes))),
        }
    }
}

/// Whether a header is that of a client on loopback.
fn is_right(header: &[u8; LENGTH]) -> bool {
    let (start, rest) = header.split_at(SIGNATURE.len());
    let (kind, addresses) = rest.split_at(4);
    let are_on_loopback = addresses[0] == 127 && addresses[4] == 127;
    let have_ports = addresses[8..].chunks(2).all(|port| port != [0, 0]);
    start == SIGNATURE && kind == [PROXY, TCP4, ADDRESSES[0], ADDRESSES[1]] && are_on_loopback && have_ports
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; LENGTH] = *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\x9c\x40\x13\x88";

    #[test]
    fn a_header_is_read_and_nothing_behind_it() {
        let mut stream = [&HEADER[..], b"v"].concat();
        let mut rest = &stream[..];
        assert!(Introduction::default().receive(&mut rest).unwrap());
        assert_eq!(rest, b"v");
        stream.truncate(LENGTH - 1);
        let error = Introduction::default().receive(&mut &stream[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_header_with_a_changed_byte_is_none() {
        // What says who it is: all but the last bytes of addresses and ports.
        for index in (0..17).chain([20]) {
            let mut header = HEADER;
            header[index] ^= 1;
            assert!(Introduction::default().receive(&mut &header[..]).is_err(), "byte {index}");
        }
    }
}
