//! A header of the PROXY protocol in front of datagrams that go to one peer.

use std::cell::RefCell;
use std::io;

use crate::buffers::batch::{Batch, MAX_DATAGRAM, MOST_DATAGRAMS, Undelivered};
use crate::config::proxy::HeaderOf;

thread_local! {
    /// Datagrams behind their headers, while they are sent.
    static BEHIND: RefCell<Batch> = RefCell::new(Batch::default());
}

/// What goes in front of datagrams.
#[derive(Debug)]
pub struct HeaderBefore {
    bytes: Box<[u8]>,
    of: HeaderOf,
    /// The first datagram has gone, and no other has one.
    is_over: bool,
}

impl HeaderBefore {
    /// This header, before these datagrams.
    pub fn new(bytes: Box<[u8]>, of: HeaderOf) -> HeaderBefore {
        HeaderBefore { bytes, of, is_over: false }
    }

    /// How many bytes of a datagram it takes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Sends datagrams of `batch` with one call of `send`, which is given them with their headers.
    ///
    /// # Errors
    ///
    /// Those of `send`.
    pub fn send(&mut self, batch: &mut Batch, send: impl FnOnce(&mut Batch) -> io::Result<()>) -> io::Result<()> {
        if self.is_over {
            return send(batch);
        }
        let room = MAX_DATAGRAM.saturating_sub(self.bytes.len());
        if batch.datagrams().next().is_some_and(|first| first.len() > room) {
            batch.drop_first(Undelivered::TooLarge);
            return Ok(());
        }
        let most = if self.of == HeaderOf::First { 1 } else { MOST_DATAGRAMS };
        BEHIND.with_borrow_mut(|behind| {
            behind.clear();
            behind.append_behind(&self.bytes, batch.datagrams().take(most).take_while(|next| next.len() <= room));
            let count = behind.count();
            let result = send(behind);
            let gone = count - behind.datagrams().count();
            let counts = behind.take_counts();
            match counts.why {
                // Either datagrams were taken, or the first one was dropped.
                Some(why) if counts.moved == 0 && gone > 0 => batch.drop_first(why),
                why => {
                    batch.take(gone);
                    why.into_iter().for_each(|why| batch.count_dropped(why));
                    self.is_over = gone > 0 && self.of == HeaderOf::First;
                }
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(datagrams: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        batch.append_behind(b"", datagrams.iter().copied());
        batch
    }

    fn before(of: HeaderOf) -> HeaderBefore {
        HeaderBefore::new(b"<header>".as_slice().into(), of)
    }

    /// Sends all, of which so many are taken a call, and returns what was sent.
    fn sent(before: &mut HeaderBefore, batch: &mut Batch, a_call: usize) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while !batch.is_empty() {
            let result = before.send(batch, |batch| {
                let count = a_call.min(batch.datagrams().count());
                sent.extend(batch.datagrams().take(count).map(<[u8]>::to_vec));
                batch.take(count);
                Ok(())
            });
            result.unwrap();
        }
        sent
    }

    #[test]
    fn each_datagram_or_the_first_one_has_a_header() {
        for a_call in [1, 2, 100] {
            let mut all = batch(&[b"one", b"", b"three"]);
            let each = sent(&mut before(HeaderOf::Each), &mut all, a_call);
            assert_eq!(each, [b"<header>one".as_slice(), b"<header>", b"<header>three"]);
            let counts = all.take_counts();
            assert_eq!((counts.moved, counts.dropped), (8, 0), "headers are not what was to be delivered");
            let first = sent(&mut before(HeaderOf::First), &mut batch(&[b"one", b"", b"three"]), a_call);
            assert_eq!(first, [b"<header>one".as_slice(), b"", b"three"]);
        }
    }

    #[test]
    fn many_are_sent_with_one_call() {
        let mut calls = 0;
        let mut all = batch(&[b"datagram".as_slice(); 2 * MOST_DATAGRAMS]);
        let mut before = before(HeaderOf::Each);
        while !all.is_empty() {
            calls += 1;
            before
                .send(&mut all, |batch| {
                    batch.take(batch.datagrams().count());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(calls, 2);
    }

    #[test]
    fn what_the_system_does_not_take_stays_or_is_dropped() {
        let mut before = before(HeaderOf::First);
        let mut all = batch(&[b"one", b"two", b"three"]);
        let blocked = before.send(&mut all, |_| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((all.datagrams().count(), all.take_counts().dropped), (3, 0));
        // An error of an earlier datagram.
        before
            .send(&mut all, |batch| {
                batch.count_dropped(Undelivered::Error(libc::ECONNREFUSED));
                Ok(())
            })
            .unwrap();
        let counts = all.take_counts();
        assert_eq!((all.datagrams().count(), counts.dropped, counts.moved), (3, 1, 0));
        before
            .send(&mut all, |batch| {
                batch.drop_first(Undelivered::TooLarge);
                Ok(())
            })
            .unwrap();
        let counts = all.take_counts();
        assert_eq!((all.datagrams().count(), counts.dropped, counts.why), (2, 1, Some(Undelivered::TooLarge)));
        assert_eq!(sent(&mut before, &mut all, 9), [b"<header>two".as_slice(), b"three"], "the first that goes has it");
    }

    #[test]
    fn what_gets_too_long_is_dropped_and_counted() {
        let longest = vec![7; MAX_DATAGRAM - 8];
        let longer = vec![7; MAX_DATAGRAM - 7];
        for of in [HeaderOf::Each, HeaderOf::First] {
            let mut all = batch(&[&longer, &longest, b"short"]);
            let lengths: Vec<usize> = sent(&mut before(of), &mut all, 9).iter().map(Vec::len).collect();
            let short = if of == HeaderOf::Each { 13 } else { 5 };
            assert_eq!(lengths, [MAX_DATAGRAM, short]);
            let counts = all.take_counts();
            assert_eq!((counts.dropped, counts.why), (1, Some(Undelivered::TooLarge)));
        }
    }
}
