//! Times in the log's form.

use chrono::{Local, TimeZone};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::text::ShortText;

/// Microseconds since 1970.
pub(super) fn microseconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Writes times in the log's form, remembering the text of the current second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    /// Appends `YYYY-Mon-DD HH:MM:SS.uuuuuu`, in local time.
    pub(super) fn write(&mut self, microseconds: u64, out: &mut String) {
        let second = microseconds / 1_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = match Local.timestamp_opt(second as i64, 0).earliest() {
                Some(time) => time.format("%Y-%b-%d %H:%M:%S").to_string(),
                None => second.to_string(),
            };
        }
        out.push_str(&self.text);
        // With a digit before the others, so that none of their zeros is left out.
        let mut fraction = ShortText::<16>::default();
        fraction.add_number(1_000_000 + microseconds % 1_000_000);
        out.push('.');
        out.push_str(&fraction.as_str()[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_original_form() {
        let mut text = String::new();
        let mut stamp = Stamp::default();
        stamp.write(1_700_000_000_000_042, &mut text);
        let expected = Local.timestamp_opt(1_700_000_000, 0).unwrap().format("%Y-%b-%d %H:%M:%S").to_string();
        assert_eq!(text, format!("{expected}.000042"));
        assert_eq!(text.len(), "2026-Nov-20 20:47:01.123456".len());
    }
}
