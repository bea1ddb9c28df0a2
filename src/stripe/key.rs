//! The keys of stripes, and the files that they are read from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::base::error::error_text;

/// The most keys that a file may have: two are enough to change from one to the next.
pub const MOST_KEYS: usize = 2;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// A key that both ends of a stripe have.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeKey([u8; 32]);

/// Says nothing, as what is printed may be read by others.
impl fmt::Debug for StripeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeKey")
    }
}

/// What a file of keys has.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keys, in their order; one at least and [`MOST_KEYS`] at most.
    pub keys: Vec<StripeKey>,
    /// What is to be warned of, in words that can follow the file's name.
    pub warning: Option<String>,
}

/// Reads a file of keys: each on a line of its own, 32 bytes in base64. Empty lines and those that start with `#` are
/// left out.
///
/// # Errors
///
/// Why it has no good keys, in words that can follow the file's name. They never quote it.
pub fn read_keys(path: &Path) -> Result<Keys, String> {
    let failed = |error: io::Error| error_text(&error);
    let metadata = path.metadata().map_err(failed)?;
    // A pipe, say, would keep the program waiting.
    if !metadata.is_file() {
        return Err("not a regular file".to_string());
    }
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {} KiB", MAX_FILE >> 10));
    }
    let open_to_others = metadata.permissions().mode() & 0o077 != 0;
    let warning = "others than its owner can use the file; it should have the mode 0600";
    Ok(Keys { keys: keys(&text)?, warning: open_to_others.then(|| warning.to_string()) })
}

/// The keys of a file's text.
fn keys(text: &str) -> Result<Vec<StripeKey>, String> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bytes = decode(line).ok_or_else(|| format!("line {} is not a key: 32 bytes in base64", number + 1))?;
        keys.push(StripeKey(bytes));
    }
    match keys.len() {
        0 => Err("no key is in the file".to_string()),
        1..=MOST_KEYS => Ok(keys),
        _ => Err(format!("more than {MOST_KEYS} keys are in the file")),
    }
}

/// 32 bytes from base64 (RFC 4648, section 4).
fn decode(text: &str) -> Option<[u8; 32]> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let (mut bits, mut waiting) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(32);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit)?;
        bits = bits << 6 | value as u32;
        waiting += 6;
        if waiting >= 8 {
            waiting -= 8;
            bytes.push((bits >> waiting) as u8);
        }
    }
    // What is left of the last digit stands for nothing.
    (bits & ((1 << waiting) - 1) == 0).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const ONES: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_text_has_one_or_two_keys() {
        assert_eq!(keys(ZEROS), Ok(vec![StripeKey([0; 32])]));
        assert_eq!(keys(&format!("# new\n{ONES}\n\n{ZEROS}\r\n")), Ok(vec![StripeKey([255; 32]), StripeKey([0; 32])]));
        assert_eq!(keys("# nothing\n"), Err("no key is in the file".to_string()));
        assert_eq!(keys(&format!("{ONES}\n{ONES}\n{ZEROS}\n")), Err("more than 2 keys are in the file".to_string()));
        for bad in [&ZEROS[1..], &format!("A{ZEROS}"), &ZEROS.replace('=', "A"), &ONES.replace('8', "9"), "é"] {
            let error = keys(&format!("{ZEROS}\n{bad}\n"));
            assert_eq!(error, Err("line 2 is not a key: 32 bytes in base64".to_string()), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", keys(ONES)), "Ok([StripeKey])");
    }
}
