//! How often values of each size were seen.

/// Counts of values, each bucket four times as wide as the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were seen in each bucket.
    pub buckets: [u64; Histogram::BUCKETS],
    /// What all of them add up to.
    pub sum: u64,
}

impl Histogram {
    /// How many buckets there are, the last of which is for all that is larger.
    pub const BUCKETS: usize = 18;

    /// The largest value of a bucket; `None`: there is none.
    pub fn bound(bucket: usize) -> Option<u64> {
        (bucket + 1 < Histogram::BUCKETS).then(|| 1 << (2 * bucket as u32 + 4))
    }

    /// Counts one.
    pub fn record(&mut self, value: u64) {
        let log = u64::BITS - value.saturating_sub(1).leading_zeros();
        let bucket = (log.saturating_sub(4) as usize).div_ceil(2);
        self.buckets[bucket.min(Histogram::BUCKETS - 1)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(bucket, other)| *bucket += other);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_bucket_whose_bound_it_does_not_pass() {
        for value in (0..200).chain([255, 256, 257, 1 << 34, (1 << 34) + 1, 1 << 36, (1 << 36) + 1, 1 << 62, u64::MAX])
        {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let bucket = histogram.buckets.iter().position(|&count| count == 1).unwrap();
            assert!(Histogram::bound(bucket).is_none_or(|bound| value <= bound), "{value} {bucket}");
            let below = bucket.checked_sub(1).and_then(Histogram::bound);
            assert!(below.is_none_or(|bound| value > bound), "{value} {bucket}");
        }
    }
}
