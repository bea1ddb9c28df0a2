//! Random numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};
use std::io;

/// So many random bytes of the system's (getrandom(2) on Linux), good enough for keys.
///
/// # Errors
///
/// The system has none to give.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(io::Error::other("the system has no random numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_equal() {
        let drawn: [[u8; 16]; 8] = std::array::from_fn(|_| random().unwrap());
        for (n, one) in drawn.iter().enumerate() {
            assert!(!drawn[..n].contains(one));
        }
    }
}
