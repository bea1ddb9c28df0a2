//! Which key was used least recently: a list through a vector, so that using a key costs the same with any number.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Links {
    older: u32,
    newer: u32,
}

/// Keys in the order of their last use.
#[derive(Debug)]
pub struct Recency {
    links: Vec<Option<Links>>,
    oldest: u32,
    newest: u32,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency { links: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl Recency {
    /// Makes the key the newest; it is added if it is not there.
    pub fn add(&mut self, key: usize) {
        self.remove(key);
        if key >= self.links.len() {
            self.links.resize(key + 1, None);
        }
        self.links[key] = Some(Links { older: self.newest, newer: NONE });
        let older = std::mem::replace(&mut self.newest, key as u32);
        match self.get(older) {
            Some(links) => links.newer = key as u32,
            None => self.oldest = key as u32,
        }
    }

    /// Makes the key the newest, if it is there.
    pub fn touch(&mut self, key: usize) {
        if self.newest != key as u32 && matches!(self.links.get(key), Some(Some(_))) {
            self.add(key);
        }
    }

    /// Removes the key, if it is there.
    pub fn remove(&mut self, key: usize) {
        let Some(Links { older, newer }) = self.links.get_mut(key).and_then(Option::take) else { return };
        match self.get(older) {
            Some(links) => links.newer = newer,
            None => self.oldest = newer,
        }
        match self.get(newer) {
            Some(links) => links.older = older,
            None => self.newest = older,
        }
    }

    /// The key whose last use is longest ago.
    pub fn oldest(&self) -> Option<usize> {
        (self.oldest != NONE).then_some(self.oldest as usize)
    }

    fn get(&mut self, key: u32) -> Option<&mut Links> {
        self.links.get_mut(key as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_one_not_used_for_the_longest_time() {
        let mut recency = Recency::default();
        let mut model: Vec<usize> = Vec::new();
        let mut state = 12345_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 40) as usize % 12;
            let present = model.contains(&key);
            match (state >> 33) % 3 {
                0 => recency.add(key),
                1 => recency.touch(key),
                _ => recency.remove(key),
            }
            model.retain(|&other| other != key);
            if (state >> 33) % 3 == 0 || (state >> 33) % 3 == 1 && present {
                model.push(key);
            }
            assert_eq!(recency.oldest(), model.first().copied());
        }
    }
}
