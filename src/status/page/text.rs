//! Text as the page has it: escaped, and numbers and times as people read them.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::base::text::misleads;

/// Shows text from anywhere so that it is text wherever it stands in HTML, in quoted attributes, too.
#[derive(Debug, Clone, Copy)]
pub struct Html<'a>(pub &'a str);

impl Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if misleads(c) => c.escape_default().try_for_each(|c| f.write_char(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Shows a number of bytes: `999 B`, `1.2 kB`, `12 MB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub f64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
            // What would be rounded to 1000 is 1 of the next.
            if value < 999.5 || unit == "PB" {
                return if unit == "B" || value >= 9.95 {
                    write!(f, "{value:.0} {unit}")
                } else {
                    write!(f, "{value:.1} {unit}")
                };
            }
            value /= 1000.0;
        }
        Ok(())
    }
}

/// Shows a time that has passed, as its two largest units: `0 s`, `59 s`, `1 min 5 s`, `2 h 3 min`, `4 d 0 h`.
#[derive(Debug, Clone, Copy)]
pub struct Lasting(pub Duration);

impl Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

/// Shows a short time, in seconds: `0.35 ms`, `12 ms`, `1.2 s`.
#[derive(Debug, Clone, Copy)]
pub struct Short(pub f64);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 0.001 => write!(f, "{:.2} ms", seconds * 1e3),
            seconds if seconds < 0.01 => write!(f, "{:.1} ms", seconds * 1e3),
            seconds if seconds < 1.0 => write!(f, "{:.0} ms", seconds * 1e3),
            seconds => write!(f, "{seconds:.1} s"),
        }
    }
}

/// Shows what may not be known: a dash then.
#[derive(Debug, Clone, Copy)]
pub struct Known<T>(pub Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("\u{2013}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_text() {
        let nasty = "<script>'\"&amp;\u{202e}\n";
        assert_eq!(Html(nasty).to_string(), "&lt;script&gt;&#39;&quot;&amp;amp;\\u{202e}\\n");
        assert_eq!(Html("d\u{e9}p\u{f4}t [::1]:80").to_string(), "d\u{e9}p\u{f4}t [::1]:80");
    }

    #[test]
    fn numbers_are_short() {
        let bytes = |bytes: f64| Bytes(bytes).to_string();
        assert_eq!([0.0, 999.0, 999.5, 1000.0, 9949.0].map(bytes), ["0 B", "999 B", "1.0 kB", "1.0 kB", "9.9 kB"]);
        assert_eq!([9951.0, 999_400.0, 999_600.0, 12e18].map(bytes), ["10 kB", "999 kB", "1.0 MB", "12000 PB"]);
        let lasting = |seconds| Lasting(Duration::from_secs(seconds)).to_string();
        assert_eq!([0, 59, 60, 3599].map(lasting), ["0 s", "59 s", "1 min 0 s", "59 min 59 s"]);
        assert_eq!([3600, 86_399, 90_000].map(lasting), ["1 h 0 min", "23 h 59 min", "1 d 1 h"]);
        let short = |seconds| Short(seconds).to_string();
        assert_eq!([0.00035, 0.0042, 0.012, 1.25].map(short), ["0.35 ms", "4.2 ms", "12 ms", "1.2 s"]);
        assert_eq!(Known(None::<u8>).to_string() + &Known(Some(1)).to_string(), "\u{2013}1");
    }
}
