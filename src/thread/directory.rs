//! Whose session an origin has.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::recency::Recency;
use crate::endpoint::datagram::Origin;

/// Where a datagram came from: a socket's index, and the sender.
pub type Source = (usize, Origin);

/// The sessions of one thread's sources.
#[derive(Debug, Default)]
pub struct Directory {
    keys: HashMap<Source, usize>,
    /// By session key.
    sources: Vec<Option<Source>>,
    recency: Recency,
    /// How many datagrams sessions still take, of those that take so many only.
    left: HashMap<usize, u32>,
    /// Sessions that take nothing more from their sources, which may have others by now.
    former: HashMap<Source, Vec<usize>>,
    count: usize,
}

impl Directory {
    /// The session of a source.
    pub fn find(&self, source: &Source) -> Option<usize> {
        self.keys.get(source).copied()
    }

    /// The sessions of a source that take nothing more from it.
    pub fn former(&self, source: &Source) -> &[usize] {
        self.former.get(source).map_or(&[], Vec::as_slice)
    }

    /// Adds a source's session, which takes this many datagrams of it; `None`: any number.
    pub fn add(&mut self, source: Source, key: usize, requests: Option<NonZeroU32>) {
        if let Some(requests) = requests {
            self.left.insert(key, requests.get());
        }
        self.count += 1;
        if key >= self.sources.len() {
            self.sources.resize(key + 1, None);
        }
        self.sources[key] = Some(source.clone());
        self.keys.insert(source, key);
        self.recency.add(key);
    }

    /// Forgets a session, and says which source's it was.
    pub fn forget(&mut self, key: usize) -> Option<Source> {
        let source = self.sources.get_mut(key).and_then(Option::take)?;
        if self.keys.get(&source) == Some(&key) {
            self.keys.remove(&source);
        } else if let Some(former) = self.former.get_mut(&source) {
            former.retain(|&other| other != key);
            if former.is_empty() {
                self.former.remove(&source);
            }
        }
        self.left.remove(&key);
        self.recency.remove(key);
        self.count -= 1;
        Some(source)
    }

    /// Whether some sessions take only so many datagrams, so that neighbours of one source may go to different ones.
    pub fn counts_requests(&self) -> bool {
        !self.left.is_empty() || !self.former.is_empty()
    }

    /// Notes that a session gets a datagram of its source. After its last one the source has no session.
    pub fn count_request(&mut self, key: usize) {
        if self.left.is_empty() {
            return;
        }
        if let Some(left) = self.left.get_mut(&key) {
            *left -= 1;
            if *left == 0 {
                self.take_no_more(key);
            }
        }
    }

    /// What the source of a session sends next is not for that.
    pub fn take_no_more(&mut self, key: usize) {
        self.left.remove(&key);
        let Some(Some(source)) = self.sources.get(key) else { return };
        if self.keys.get(source) == Some(&key) {
            self.keys.remove(source);
            self.former.entry(source.clone()).or_default().push(key);
        }
    }

    /// Notes that something moved in a session.
    pub fn touch(&mut self, key: usize) {
        self.recency.touch(key);
    }

    /// The session in which nothing has moved for the longest time.
    pub fn oldest(&self) -> Option<usize> {
        self.recency.oldest()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The sessions of one socket's sources, in the order of their keys: a hash map's is another each time.
    pub fn keys(&self, index: usize) -> Vec<usize> {
        let of = |source: &Source| source.0 == index;
        let sources = self.sources.iter().enumerate();
        sources.filter(|(_, source)| source.as_ref().is_some_and(of)).map(|(key, _)| key).collect()
    }

    /// Whether one socket's sources have sessions.
    pub fn has_any(&self, index: usize) -> bool {
        self.keys.keys().chain(self.former.keys()).any(|source| source.0 == index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn source(port: u16) -> Source {
        (3, Origin { peer: SocketAddr::from(([127, 0, 0, 1], port)).into(), local: None })
    }

    #[test]
    fn a_source_has_another_session_when_one_has_had_its_last_datagram() {
        let mut directory = Directory::default();
        let (one, other) = (source(1), source(2));
        directory.add(one.clone(), 5, NonZeroU32::new(2));
        directory.add(other.clone(), 6, None);
        for _ in 0..2 {
            assert_eq!(directory.find(&one), Some(5));
            directory.count_request(5);
            directory.count_request(6);
        }
        assert_eq!((directory.find(&one), directory.find(&other)), (None, Some(6)));
        assert!(directory.counts_requests());
        directory.add(one.clone(), 7, NonZeroU32::new(1));
        // It hears of its socket, counts, and is in nobody's way.
        assert_eq!((directory.former(&one), directory.count(), directory.keys(3)), (&[5][..], 3, vec![5, 6, 7]));
        directory.take_no_more(7);
        directory.take_no_more(7);
        assert_eq!(directory.former(&one), [5, 7]);
        assert_eq!(directory.forget(5), Some(one.clone()));
        assert_eq!(directory.forget(6), Some(other));
        assert_eq!((directory.former(&one), directory.count(), directory.has_any(3)), (&[7][..], 1, true));
        directory.forget(7);
        assert!(!directory.has_any(3) && !directory.counts_requests() && directory.count() == 0);
    }
}
