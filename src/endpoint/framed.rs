//! Datagrams over any stream: each behind its length in two bytes, big-endian; a length of 0 is an empty datagram.
//!
//! This is the format of dgrelay (`hf/dgrelay`, README), so its programs can be the peer.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use super::{Carries, Endpoint, HeaderPlace, Lane, Readiness, Received, SideName, send_encoded};
use crate::buffers::batch::{Batch, Encoding, MAX_DATAGRAM};
use crate::proxy_header::Addresses;
use crate::service::access::ClientAddress;
use crate::service::pool::ClientKey;

/// Bytes read at once; the largest frame fits, and as many as may be there already.
const READ: usize = 128 << 10;

/// Frames taken from what was read at once; the rest waits until these have gone.
const MOST_FRAMES: usize = 512;

/// Bytes of memory for the beginning of a frame that are kept after it has gone.
const KEPT_FOR_PARTIAL: usize = 2048;

/// A stream that carries datagrams.
#[derive(Debug)]
pub struct Framed<E> {
    pub(super) stream: E,
    /// What was read and not taken yet: the beginning of a frame, or more where frames are tiny.
    partial: Vec<u8>,
}

impl<E> Framed<E> {
    /// Frames over this stream.
    pub fn new(stream: E) -> Framed<E> {
        Framed { stream, partial: Vec::new() }
    }
}

impl<E: Endpoint> Endpoint for Framed<E> {
    const SHORT_MEANS_BLOCKED: bool = E::SHORT_MEANS_BLOCKED;

    type Pipe = E::Pipe;

    fn carries(&self) -> Carries {
        Carries::Datagrams { chunk: MAX_DATAGRAM }
    }

    fn client_key(&self) -> Option<ClientKey> {
        self.stream.client_key()
    }

    fn client_address(&self) -> Option<ClientAddress> {
        self.stream.client_address()
    }

    fn addresses(&self) -> Addresses {
        self.stream.addresses()
    }

    /// Before the first frame.
    fn header_place(&self) -> HeaderPlace {
        HeaderPlace::Stream
    }

    fn receive_header(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.receive(buffer)
    }

    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        self.stream.send_header(bytes, more)
    }

    fn short_read_means_empty(&self) -> bool {
        self.stream.short_read_means_empty()
    }

    fn has_lanes(&self) -> bool {
        self.stream.has_lanes()
    }

    fn note_lane(&mut self, lane: Lane, event: Readiness) {
        self.stream.note_lane(lane, event);
    }

    fn settle(&mut self) -> bool {
        self.stream.settle()
    }

    fn deadline(&self) -> Option<u64> {
        self.stream.deadline()
    }

    fn would_lose(&self) -> bool {
        self.stream.would_lose()
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        let begun = self.partial.len();
        let space = batch.space(READ);
        space[..begun].copy_from_slice(&self.partial);
        // Frames that were left of the last read come first.
        let came =
            if whole_frame(&self.partial).is_some() { None } else { Some(self.stream.receive(&mut space[begun..])?) };
        if came == Some(0) {
            return match begun {
                0 => Ok(Received::End),
                _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended inside a frame")),
            };
        }
        let end = begun + came.unwrap_or(0);
        let mut next = 0;
        while batch.count() < MOST_FRAMES {
            let Some(length) = whole_frame(&batch.space(READ)[next..end]) else { break };
            batch.add(next + 2, length);
            next += 2 + length;
        }
        let rest = &batch.space(READ)[next..end];
        self.partial.clear();
        if self.partial.capacity() > KEPT_FOR_PARTIAL {
            self.partial.shrink_to(rest.len());
        }
        // As much memory as has come, not as a growing vector takes: there may be one of these for each client.
        self.partial.reserve_exact(rest.len());
        self.partial.extend_from_slice(rest);
        let short = came.is_some_and(|came| begun + came < READ) && self.stream.short_read_means_empty();
        let emptied = short && whole_frame(&self.partial).is_none();
        Ok(if emptied { Received::Last } else { Received::More })
    }

    fn send_datagrams(&mut self, batch: &mut Batch, encoded: &mut Vec<u8>) -> io::Result<()> {
        send_encoded(&mut self.stream, batch, Encoding::Framed, encoded)
    }

    fn unsent(&self) -> u32 {
        self.stream.unsent()
    }

    fn may_have_unread(&self) -> bool {
        !self.partial.is_empty() || self.stream.may_have_unread()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }

    fn is_its_own_peer(&self) -> bool {
        self.stream.is_its_own_peer()
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.stream.take_error()
    }

    fn abort(&mut self) {
        self.stream.abort();
    }

    fn descriptor(&self) -> RawFd {
        self.stream.descriptor()
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.write_route(side, f)
    }

    fn write_account(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.write_account(f)
    }
}

/// The length of the datagram in the frame that comes first, if all of the frame is there.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<2>()?;
    let length = u16::from_be_bytes(*header).into();
    (2 + length <= bytes.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::splice::KernelPipe;

    /// A stream of which a given number of bytes comes with each read.
    #[derive(Debug)]
    struct Pieces {
        bytes: Vec<u8>,
        piece: usize,
    }

    impl Endpoint for Pieces {
        const SHORT_MEANS_BLOCKED: bool = true;

        type Pipe = KernelPipe;

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.piece.min(self.bytes.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.bytes[..length]);
            self.bytes.drain(..length);
            Ok(length)
        }

        fn descriptor(&self) -> RawFd {
            -1
        }

        fn write_route(&self, _side: SideName, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    #[test]
    fn the_beginning_of_a_frame_takes_as_much_memory_as_has_come() {
        for piece in [1, 700, 1460, 40_000] {
            let mut bytes = u16::MAX.to_be_bytes().to_vec();
            bytes.resize(2 + usize::from(u16::MAX), 7);
            let mut framed = Framed::new(Pieces { bytes, piece });
            let mut came = 0;
            while came + piece < 2 + usize::from(u16::MAX) {
                let mut batch = Batch::default();
                assert_eq!(framed.receive_datagrams(&mut batch).unwrap(), Received::Last);
                came += piece;
                assert_eq!((batch.count(), framed.partial.len()), (0, came));
                let memory = framed.partial.capacity();
                assert!(memory <= came.max(KEPT_FOR_PARTIAL), "{memory} bytes for {came}");
            }
            let mut batch = Batch::default();
            framed.receive_datagrams(&mut batch).unwrap();
            assert_eq!(batch.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), [65_535]);
        }
    }
}
