//! Bytes as an option writes them: text in which a backslash begins what cannot be typed.

use std::fmt::Write;

/// What [`unescape`] expects, in words that can follow "expected".
pub const FORM: &str = "\\r, \\n, \\t, \\0, \\\\ or \\xHH behind a backslash";

/// Reads text with `\r`, `\n`, `\t`, `\0`, `\\`, and `\xHH` for any byte.
///
/// # Errors
///
/// What is wrong, without the whole text in it.
///
/// ```
/// use cproxy::config::escapes::unescape;
///
/// assert_eq!(unescape(r"PING\r\n\x00"), Ok(b"PING\r\n\0".to_vec()));
/// assert!(unescape(r"\q").is_err());
/// ```
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(rest[..at].bytes());
        let mut after = rest[at + 1..].chars();
        bytes.push(match after.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits = after.as_str().get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                after.nth(1);
                byte.ok_or_else(|| "expected two hexadecimal digits after \\x".to_string())?
            }
            _ => return Err(format!("expected {FORM}")),
        });
        rest = after.as_str();
    }
    bytes.extend(rest.bytes());
    Ok(bytes)
}

/// Writes bytes as [`unescape`] reads them, in one line.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\\' => text.push_str("\\\\"),
                c if crate::base::text::misleads(c) => hexadecimal(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        hexadecimal(&mut text, chunk.invalid());
    }
    text
}

fn hexadecimal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("+PONG", b"+PONG"),
            (r"PING\r\n", b"PING\r\n"),
            (r"a\tb\0c\\d", b"a\tb\0c\\d"),
            (r"\x00", b"\0"),
            (r"\xFf\x7f", b"\xff\x7f"),
            ("é猫", "é猫".as_bytes()),
            (r"\xc3\xa9", "é".as_bytes()),
            (r"\xe2\x80\xae", "\u{202e}".as_bytes()),
            (r"\\x41", b"\\x41"),
        ] {
            assert_eq!(unescape(text).as_deref(), Ok(bytes), "{text}");
            let written = escape(bytes);
            assert_eq!(unescape(&written).as_deref(), Ok(bytes), "{written}");
            assert!(!written.contains(char::is_control), "{written}");
        }
        assert_eq!(escape(b"PING\r\n\0\xff\x1b\\"), r"PING\r\n\0\xff\x1b\\");
        // What a file has unescaped already stays as it is.
        assert_eq!(unescape("PING\r\n"), Ok(b"PING\r\n".to_vec()));
        for byte in 0..=255_u8 {
            for bytes in [vec![byte], vec![byte, b'0'], vec![0xc3, byte], vec![b'\\', byte]] {
                assert_eq!(unescape(&escape(&bytes)), Ok(bytes));
            }
        }
    }

    #[test]
    fn what_is_no_escape_is_an_error() {
        for text in ["\\", "a\\", "\\q", "\\é", "\\N"] {
            assert_eq!(unescape(text), Err(format!("expected {FORM}")), "{text}");
        }
        for text in ["\\x", "\\x1", "\\xg1", "\\x+1", "\\x1é", "\\xé", "a\\x 1"] {
            assert_eq!(unescape(text), Err("expected two hexadecimal digits after \\x".to_string()), "{text}");
        }
    }
}
