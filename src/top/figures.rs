//! Numbers in few characters.

/// What a number counts, which says how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Things each second; below ten with a decimal.
    Rate,
    /// Bytes, or bytes each second, in powers of 1000.
    Bytes,
    /// Milliseconds.
    Time,
    /// Parts of 1, in per cent.
    Share,
}

impl Unit {
    /// The number in at most six characters.
    pub fn show(self, number: f64) -> String {
        match self {
            Unit::Count => scaled(number, 100_000.0),
            Unit::Rate if number > 0.0 && number < 9.95 => format!("{number:.1}"),
            Unit::Rate => scaled(number, 100_000.0),
            Unit::Bytes => scaled(number, 1000.0),
            Unit::Time => time(number as u64),
            Unit::Share => format!("{:.0}%", number * 100.0),
        }
    }
}

/// As it is below a limit, and above with three digits and a letter for the power of 1000.
fn scaled(number: f64, limit: f64) -> String {
    if number.round() < limit {
        return format!("{number:.0}");
    }
    let (mut number, mut letters) = (number / 1000.0, "kMGTPE".chars());
    let mut letter = letters.next();
    // What would be rounded to four digits has the next letter.
    while number >= 999.5 {
        number /= 1000.0;
        letter = letters.next();
    }
    let decimals = if number < 9.995 {
        2
    } else if number < 99.95 {
        1
    } else {
        0
    };
    format!("{number:.decimals$}{}", letter.unwrap_or('?'))
}

/// The two largest units of a time in milliseconds.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 100 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (unit, number, expected) in [
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 99_999.0, "99999"),
            (Unit::Count, 100_000.0, "100k"),
            (Unit::Rate, 0.04, "0.0"),
            (Unit::Rate, 9.94, "9.9"),
            (Unit::Rate, 9.96, "10"),
            (Unit::Bytes, 999.4, "999"),
            (Unit::Bytes, 999.6, "1.00k"),
            (Unit::Bytes, 9_994.0, "9.99k"),
            (Unit::Bytes, 9_996.0, "10.0k"),
            (Unit::Bytes, 99_960.0, "100k"),
            (Unit::Bytes, 999_499.0, "999k"),
            (Unit::Bytes, 999_501.0, "1.00M"),
            (Unit::Bytes, 1.8e19, "18.0E"),
            (Unit::Time, 999.0, "999ms"),
            (Unit::Time, 59_999.0, "59s"),
            (Unit::Time, 60_000.0, "1m00s"),
            (Unit::Time, 3_599_000.0, "59m59s"),
            (Unit::Time, 90_000_000.0, "1d01h"),
            (Unit::Time, 86_400_000.0 * 1000.0, "1000d"),
            (Unit::Share, 0.254, "25%"),
        ] {
            assert_eq!(unit.show(number), expected, "{number}");
            assert!(expected.len() <= 6);
        }
    }
}
