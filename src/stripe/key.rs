//! The keys of stripes, and the files that they are read from.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
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

impl StripeKey {
    /// The key of these bytes, which should be random.
    pub fn new(bytes: [u8; 32]) -> StripeKey {
        StripeKey(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

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
/// The first key is the one that this end dials with; all of them are accepted. So a key is changed without a break in
/// three steps: the new key becomes the second one at the ends that accept; then the only one at the ends that dial; then
/// the only one at the ends that accept. Between these steps no end has a key that its peer does not take.
///
/// # Errors
///
/// Why it has no good keys, in words that can follow the file's name. They never quote it.
pub fn read_keys(path: &Path) -> Result<Keys, String> {
    let failed = |error: io::Error| error_text(&error);
    // A pipe, say, would keep the program waiting when it is opened.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err("not a regular file".to_string());
    }
    let file = File::open(path).map_err(failed)?;
    let open_to_others = file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {} KiB", MAX_FILE >> 10));
    }
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
        let bytes = BASE64_STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        keys.push(StripeKey(bytes.ok_or_else(|| format!("line {} is not a key: 32 bytes in base64", number + 1))?));
    }
    match keys.len() {
        0 => Err("no key is in the file".to_string()),
        1..=MOST_KEYS => Ok(keys),
        _ => Err(format!("more than {MOST_KEYS} keys are in the file")),
    }
}

/// The line of a key file that has this key.
pub fn make_key(random: &[u8; 32]) -> String {
    BASE64_STANDARD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const ONES: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_text_has_one_or_two_keys() {
        assert_eq!(keys(ZEROS), Ok(vec![StripeKey([0; 32])]));
        assert_eq!(keys(&format!("# new\n{ONES}\n\n{ZEROS}\r\n")), Ok(vec![StripeKey([255; 32]), StripeKey([0; 32])]));
        assert_eq!(keys("# nothing\n"), Err("no key is in the file".to_string()));
        assert_eq!(keys(""), Err("no key is in the file".to_string()));
        assert_eq!(keys(&format!("{ONES}\n{ONES}\n{ZEROS}\n")), Err("more than 2 keys are in the file".to_string()));
        let url_alphabet = ONES.replace('/', "_");
        let two = format!("{ZEROS} {ZEROS}");
        let last_bits = ONES.replace('8', "9");
        for bad in [&ZEROS[1..], &ZEROS[..43], &format!("A{ZEROS}"), &url_alphabet, &two, &last_bits, "é", "AAAA"] {
            let error = keys(&format!("{ZEROS}\n{bad}\n"));
            assert_eq!(error, Err("line 2 is not a key: 32 bytes in base64".to_string()), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", keys(ONES)), "Ok([StripeKey])");
    }

    #[test]
    fn what_was_made_is_read() {
        let bytes = std::array::from_fn(|n| n as u8 * 7);
        assert_eq!(make_key(&bytes).len(), 44);
        assert_eq!(keys(&make_key(&bytes)), Ok(vec![StripeKey(bytes)]));
        assert_eq!(make_key(&[0; 32]), ZEROS);
        assert_eq!(make_key(&[255; 32]), ONES);
    }

    #[test]
    fn a_file_that_others_can_use_is_warned_of() {
        let path = std::env::temp_dir().join(format!("cproxy-keys-{}", std::process::id()));
        fs::write(&path, ZEROS).unwrap();
        let with_mode = |mode: u32| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read_keys(&path).unwrap()
        };
        assert_eq!(with_mode(0o600).warning, None);
        for mode in [0o640, 0o604, 0o610, 0o602] {
            assert!(with_mode(mode).warning.unwrap().contains("0600"), "{mode:o}");
        }
        assert_eq!(with_mode(0o400).keys, [StripeKey([0; 32])]);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "#".repeat((64 << 10) + 1)).unwrap();
        assert_eq!(read_keys(&path).unwrap_err(), "the file is larger than 64 KiB");
        fs::remove_file(&path).unwrap();
        assert_eq!(read_keys(&path).unwrap_err(), "No such file or directory");
        assert_eq!(read_keys(&std::env::temp_dir()).unwrap_err(), "not a regular file");
    }
}
