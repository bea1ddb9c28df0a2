//! Whose session an origin has.

use std::collections::HashMap;

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
}

impl Directory {
    /// The session of a source.
    pub fn find(&self, source: &Source) -> Option<usize> {
        self.keys.get(source).copied()
    }

    /// Adds a source's session.
    pub fn add(&mut self, source: Source, key: usize) {
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
        self.keys.remove(&source);
        self.recency.remove(key);
        Some(source)
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
        self.keys.len()
    }

    /// The sessions of one socket's sources, in the order of their keys: a hash map's is another each time.
    pub fn keys(&self, index: usize) -> Vec<usize> {
        let of = |source: &Source| source.0 == index;
        let sources = self.sources.iter().enumerate();
        sources.filter(|(_, source)| source.as_ref().is_some_and(of)).map(|(key, _)| key).collect()
    }

    /// Whether one socket's sources have sessions.
    pub fn has_any(&self, index: usize) -> bool {
        self.keys.keys().any(|source| source.0 == index)
    }
}
