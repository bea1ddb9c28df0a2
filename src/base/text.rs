//! Short text made without the formatting machinery, which would be most of what the lines of a session cost.

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

#[cfg(test)]
mod tests {
    use super::*;

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
