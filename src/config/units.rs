//! Durations and sizes as the command line writes them.

use std::time::Duration;

/// The longest duration that is accepted: a million hours, which any clock can still add to the present.
pub const MAX_DURATION: Duration = Duration::from_secs(1_000_000 * 3600);

/// The shortest duration that is accepted, apart from none at all.
pub const MIN_DURATION: Duration = Duration::from_millis(1);

/// Reads `500ms`, `30s`, `5m`, `1h`, a bare number of seconds, or a fraction such as `1.5s`.
///
/// The error says what is wrong with the value, without repeating it.
///
/// ```
/// use cproxy::config::units::parse_duration;
/// use std::time::Duration;
///
/// assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
/// assert!(parse_duration("5x").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "expected a number with ms, s, m or h, such as 500ms, 30s, 5m or 1h";
    const NANOS: u128 = 1_000_000_000;

    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let nanos_per_unit = match unit {
        "ms" => NANOS / 1000,
        "" | "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3600 * NANOS,
        _ => return Err(FORM.to_string()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(FORM.to_string());
    }

    let too_long = || format!("more than {}h", MAX_DURATION.as_secs() / 3600);
    let digits = |digits: &str| match digits {
        "" => Ok(0),
        digits => digits.parse::<u128>().map_err(|_| too_long()),
    };
    // Fifteen places are finer than a nanosecond in every unit; all that follow them are dropped.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_u128.pow(fraction.len() as u32);
    let nanos = digits(whole)?
        .checked_mul(nanos_per_unit)
        .and_then(|nanos| nanos.checked_add(digits(fraction).ok()? * nanos_per_unit / scale))
        .filter(|nanos| *nanos <= MAX_DURATION.as_nanos())
        .ok_or_else(too_long)?;
    let duration = Duration::new((nanos / NANOS) as u64, (nanos % NANOS) as u32);
    if duration < MIN_DURATION && number.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        return Err("less than 1ms".to_string());
    }
    Ok(duration)
}

/// Writes a duration as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_nanos()) {
        (0, 0) => "0s".to_string(),
        (secs, 0) if secs % 3600 == 0 => format!("{}h", secs / 3600),
        (secs, 0) if secs % 60 == 0 => format!("{}m", secs / 60),
        (secs, 0) => format!("{secs}s"),
        (_, nanos) if nanos % 1_000_000 == 0 => format!("{}ms", duration.as_millis()),
        (_, nanos) => {
            let text = format!("{}.{:06}", duration.as_millis(), nanos % 1_000_000);
            format!("{}ms", text.trim_end_matches('0'))
        }
    }
}

/// Reads a size in bytes, or with `k`, `m` or `g` (powers of 1024, either case), of at most `max` bytes.
///
/// `None` for what is no size at all; `Some(None)` for one that is more than `max`.
fn size(text: &str, max: u64) -> Option<Option<u64>> {
    let text = text.trim();
    let (number, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    Some(count(number)?.and_then(|n| n.checked_mul(factor)).filter(|n| *n <= max))
}

/// Reads digits with an optional `+` before them: `None` if it is anything else, `Some(None)` on overflow.
fn count(text: &str) -> Option<Option<u64>> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())
}

/// Reads a size in bytes from 1 to `max`, plain or with `k`, `m` or `g` (powers of 1024, either case).
///
/// The error is empty for what is no such size, as the original says no more than that; for one that is too large it
/// says so.
pub fn parse_size(text: &str, max: u64) -> Result<u64, String> {
    match size(text, max) {
        None | Some(Some(0)) => Err(String::new()),
        Some(None) => Err(format!("more than {max}")),
        Some(Some(n)) => Ok(n),
    }
}

/// Reads a whole number from 1 to `max`; errors as for [`parse_size`].
pub fn parse_count(text: &str, max: u64) -> Result<u64, String> {
    match count(text.trim()) {
        None | Some(Some(0)) => Err(String::new()),
        Some(Some(n)) if n <= max => Ok(n),
        Some(_) => Err(format!("more than {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |n| Ok(Duration::from_millis(n));
        for (text, expected) in [
            ("500ms", ms(500)),
            ("30s", ms(30_000)),
            ("5m", ms(300_000)),
            ("1h", ms(3_600_000)),
            ("7", ms(7_000)),
            ("1.5s", ms(1_500)),
            ("1.5", ms(1_500)),
            (".5s", ms(500)),
            ("1.s", ms(1_000)),
            ("0.25m", ms(15_000)),
            ("1.5ms", Ok(Duration::from_micros(1500))),
            ("0", ms(0)),
            ("0.0h", ms(0)),
            ("0ms", ms(0)),
            (" 2s ", ms(2_000)),
            ("1000000h", Ok(MAX_DURATION)),
            ("0.00277777777777777777777777777777777777777777h", Ok(Duration::from_nanos(9_999_999_999))),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "1.5ms", "1.000001ms", "1500ms", "1s", "90s", "5m", "1h", "1000000h", "61001.2ms"] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn bad_durations() {
        for text in [
            "", " ", "s", "ms", ".", ".s", "5x", "5S", "-5", "-5s", "+5", "1 s", "1.2.3", "1..2", "1e3", "5d", "5m5s",
            "٣s", "none", "NaN", "inf", "1,5s", "0x10",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.starts_with("expected a number"), "{text}: {error}");
        }
        let nines = "9".repeat(200);
        for text in
            ["1000001h", "1000000.0001h", "18446744073709551616", "340282366920938463463374607431768211455h", &nines]
        {
            assert_eq!(parse_duration(text), Err("more than 1000000h".to_string()), "{text}");
        }
        for text in ["0.5ms", "0.0001s", "0.0000000000000000000000001h", "0.000001"] {
            assert_eq!(parse_duration(text), Err("less than 1ms".to_string()), "{text}");
        }
        assert!(parse_duration(&format!("0.{nines}s")).is_ok());
    }

    #[test]
    fn sizes() {
        let max = 1 << 30;
        for (text, expected) in [
            ("1", 1),
            ("16384", 16384),
            ("64k", 65536),
            ("64K", 65536),
            ("1m", 1 << 20),
            ("1M", 1 << 20),
            ("1g", 1 << 30),
            ("1G", 1 << 30),
            (" 5", 5),
            ("+5", 5),
            ("007", 7),
        ] {
            assert_eq!(parse_size(text, max), Ok(expected), "{text}");
        }
        for text in ["", "abc", "0", "0k", "-5", "k", "1kb", "1.5k", "1 k", "++5", "12abc", "0x10", "5é", "k5"] {
            assert_eq!(parse_size(text, max), Err(String::new()), "{text}");
        }
        for text in ["1073741825", "2g", "99999999999g", "18446744073709551616", "17179869184g"] {
            assert_eq!(parse_size(text, max), Err("more than 1073741824".to_string()), "{text}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(parse_count("1024", 1024), Ok(1024));
        assert_eq!(parse_count(" +3", 1024), Ok(3));
        for text in ["", "0", "-1", "1k", "two", "1.0"] {
            assert_eq!(parse_count(text, 1024), Err(String::new()), "{text}");
        }
        for text in ["1025", "99999999999999999999999"] {
            assert_eq!(parse_count(text, 1024), Err("more than 1024".to_string()), "{text}");
        }
    }
}
