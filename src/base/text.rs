//! Short text made without the formatting machinery, which would be most of what the lines of a session cost; and names
//! from outside, made fit to be printed.

use std::fmt::{self, Write as _};

/// Decimal digits of each octet, and how many there are.
const OCTETS: [([u8; 3], u8); 256] = {
    let mut octets = [([0; 3], 0); 256];
    let mut octet = 0;
    while octet < octets.len() {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        octets[octet] = match octet {
            0..10 => ([digits[2], 0, 0], 1),
            10..100 => ([digits[1], digits[2], 0], 2),
            _ => (digits, 3),
        };
        octet += 1;
    }
    octets
};

/// ASCII text of at most `ROOM` bytes; what is added beyond that is left out.
#[derive(Debug, Clone, Copy)]
// Aligned, as checking that it is text is then done by words.
#[repr(align(16))]
pub struct ShortText<const ROOM: usize> {
    bytes: [u8; ROOM],
    len: usize,
}

impl<const ROOM: usize> Default for ShortText<ROOM> {
    fn default() -> ShortText<ROOM> {
        ShortText { bytes: [0; ROOM], len: 0 }
    }
}

impl<const ROOM: usize> ShortText<ROOM> {
    /// What it holds.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).map_or("", |text| &text[..self.len])
    }

    /// Adds ASCII text.
    pub fn add(&mut self, text: &str) {
        debug_assert!(text.is_ascii());
        if let Some(place) = self.bytes.get_mut(self.len..self.len + text.len()) {
            place.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
    }

    /// Adds a number in decimal.
    pub fn add_number(&mut self, mut number: u64) {
        let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
        if let Some(place) = self.bytes.get_mut(self.len..self.len + count) {
            for digit in place.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
            self.len += count;
        }
    }

    /// Adds an octet in decimal.
    pub fn add_octet(&mut self, octet: u8) {
        let (digits, count) = OCTETS[octet as usize];
        if let Some(place) = self.bytes.get_mut(self.len..self.len + digits.len()) {
            place.copy_from_slice(&digits);
            self.len += count as usize;
        }
    }

    /// Adds an ASCII character.
    pub fn add_byte(&mut self, byte: u8) {
        debug_assert!(byte.is_ascii());
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

/// Shows a name that a peer or a user chose, whatever is in it, as text that stays within its line and looks like what it
/// is: what would end the line, drive a terminal or turn the direction of writing, and what is not UTF-8, is escaped.
///
/// A backslash is left as it is, as it stands in names that systemd makes. So the text is safe, though it does not say
/// which of two names it stands for where one has a backslash.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, c)) = rest.char_indices().find(|&(_, c)| misleads(c)) {
                f.write_str(&rest[..at])?;
                c.escape_default().try_for_each(|c| f.write_char(c))?;
                rest = &rest[at + c.len_utf8()..];
            }
            f.write_str(rest)?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Whether a character does something else than to stand in its line: controls, separators of lines and paragraphs, and
/// what changes the direction of writing (Unicode's `Bidi_Control`).
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_stay_within_their_line() {
        let shown = |name: &[u8]| Escaped(name).to_string();
        for plain in ["", "/run/a socket", "d\u{e9}p\u{f4}t", "\u{65e5}\u{672c}", "a\\x2db"] {
            assert_eq!(shown(plain.as_bytes()), plain);
        }
        assert_eq!(shown(b"/a\nb\r\x1b[2J\x7f\0"), "/a\\nb\\r\\u{1b}[2J\\u{7f}\\u{0}");
        assert_eq!(shown(b"\xffx\xe2\x80"), "\\xffx\\xe2\\x80");
        assert_eq!(shown("\u{85}-\u{2028}-\u{202e}-\u{2069}".as_bytes()), "\\u{85}-\\u{2028}-\\u{202e}-\\u{2069}");
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 65535, u64::MAX] {
            let mut text = ShortText::<64>::default();
            text.add_number(number);
            assert_eq!(text.as_str(), number.to_string());
        }
        for octet in 0..=255 {
            let mut text = ShortText::<64>::default();
            text.add_octet(octet);
            text.add(" ");
            assert_eq!(text.as_str(), format!("{octet} "));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut text = ShortText::<64>::default();
        text.add(&"x".repeat(63));
        text.add("long");
        text.add_byte(b'y');
        text.add_byte(b'z');
        text.add_octet(200);
        assert_eq!(text.as_str(), "x".repeat(63) + "y");
    }
}
