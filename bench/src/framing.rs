//! Datagrams in a stream: each behind its length, two bytes, most significant first.

/// Bytes of a length.
pub const LENGTH: usize = 2;

/// Appends a datagram to what will be written to a stream.
pub fn append(stream: &mut Vec<u8>, datagram: &[u8]) {
    let length = u16::try_from(datagram.len()).expect("a datagram is no longer than its length can say");
    stream.extend_from_slice(&length.to_be_bytes());
    stream.extend_from_slice(datagram);
}

/// Takes a stream apart again. It holds what has been read and is not yet taken.
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the first frame that is not taken begins.
    begin: usize,
    /// Where what has been read ends.
    end: usize,
}

impl Frames {
    /// Nothing yet, with room for `room` bytes, at least a whole frame of any length.
    pub fn new(room: usize) -> Self {
        Self { bytes: vec![0; room.max(LENGTH + usize::from(u16::MAX))], begin: 0, end: 0 }
    }

    /// Where to read to. Call [`Self::next`] until it gives none first; then there is room.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        &mut self.bytes[self.end..]
    }

    /// Takes note that `count` bytes were read to [`Self::room`].
    pub fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The next datagram, if it is there as a whole.
    #[allow(clippy::should_implement_trait)] // an iterator could not lend what it holds
    pub fn next(&mut self) -> Option<&[u8]> {
        let unread = &self.bytes[self.begin..self.end];
        let (length, rest) = unread.split_first_chunk::<LENGTH>()?;
        let datagram = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        self.begin += LENGTH + datagram.len();
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut() {
        let datagrams: Vec<Vec<u8>> = [3, 0, 1400, 1, 65535].map(|length| vec![length as u8; length]).into();
        let mut stream = Vec::new();
        datagrams.iter().for_each(|datagram| append(&mut stream, datagram));
        for piece in [1, 2, 3, 1401, stream.len()] {
            let mut frames = Frames::new(0);
            let mut found = Vec::new();
            for chunk in stream.chunks(piece) {
                let mut chunk = chunk;
                while !chunk.is_empty() {
                    let room = frames.room();
                    let taken = chunk.len().min(room.len());
                    assert!(taken > 0, "there is always room");
                    room[..taken].copy_from_slice(&chunk[..taken]);
                    frames.filled(taken);
                    chunk = &chunk[taken..];
                    while let Some(datagram) = frames.next() {
                        found.push(datagram.to_vec());
                    }
                }
            }
            assert!(found == datagrams, "cut into pieces of {piece}");
        }
    }
}
