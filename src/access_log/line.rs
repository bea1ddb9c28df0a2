//! One line: what is known of a session, written as a format says.

use chrono::{DateTime, Datelike, Timelike};
use std::fmt::Write as _;

use super::format::{Field, Format, Piece, Style};
use crate::base::text::{ShortText, misleads};

/// Why a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The session has lasted for as long as was asked for.
    Start,
    /// It has ended so.
    End(Ending),
}

/// How a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Why, in one word.
    pub word: &'static str,
    /// Who ended it, in one word; `None`: both sides had said everything.
    pub side: Option<&'static str>,
    /// The two letters that HAProxy has for such an end.
    pub state: [u8; 2],
}

/// What is known of a session when a line is written. Of two numbers the first is about upstream, from client to remote.
/// Addresses that are not known, or that nothing has, are empty, a question mark, or `proxy`.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Why the line is written.
    pub event: Event,
    /// The service's name.
    pub service: &'a str,
    /// Which session it is.
    pub session: &'a str,
    /// Who the client is.
    pub client: &'a str,
    /// Where its connection comes from.
    pub peer: &'a str,
    /// The address of ours that it has reached.
    pub listener: &'a str,
    /// The remote's address.
    pub remote: &'a str,
    /// The remote's name.
    pub remote_name: &'a str,
    /// The address of ours that the remote sees.
    pub source: &'a str,
    /// How long the session has lasted, in microseconds.
    pub duration: u64,
    /// How long it took to connect to the remote, in microseconds; `None`: it never was connected.
    pub connected_after: Option<u64>,
    /// Bytes that were delivered.
    pub bytes: [u64; 2],
    /// Datagrams that were delivered.
    pub datagrams: [u64; 2],
    /// Datagrams that could not be.
    pub dropped: [u64; 2],
    /// Attempts to connect.
    pub tries: u32,
}

impl Format {
    /// Appends a line to `out`, with its end, at this time in microseconds since 1970.
    pub fn write(&self, facts: &Facts<'_>, now: u64, out: &mut String) {
        let mut line = Line { out, style: self.style };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.out.push_str(text),
                Piece::Field(field) => line.field(*field, facts, now),
            }
        }
        out.push('\n');
    }
}

/// A line in the making.
struct Line<'a> {
    out: &'a mut String,
    style: Style,
}

impl Line<'_> {
    fn field(&mut self, field: Field, facts: &Facts<'_>, now: u64) {
        let ending = match facts.event {
            Event::Start => None,
            Event::End(ending) => Some(ending),
        };
        match field {
            Field::Event => self.word(if ending.is_some() { "end" } else { "start" }),
            Field::Time => self.time(now),
            Field::Service => self.text(facts.service),
            Field::Session => self.word(facts.session),
            Field::Client => self.address(facts.client),
            Field::Peer => self.address(facts.peer),
            Field::Listener => self.address(facts.listener),
            Field::Remote => self.address(facts.remote),
            Field::RemoteName => self.address(facts.remote_name),
            Field::Source => self.address(facts.source),
            Field::Start => self.time(now.saturating_sub(facts.duration)),
            Field::ConnectTime => match facts.connected_after {
                Some(time) => self.seconds(time),
                None => self.nothing(),
            },
            Field::Duration => self.seconds(facts.duration),
            Field::UpstreamBytes => self.number(facts.bytes[0]),
            Field::DownstreamBytes => self.number(facts.bytes[1]),
            Field::UpstreamDatagrams => self.number(facts.datagrams[0]),
            Field::DownstreamDatagrams => self.number(facts.datagrams[1]),
            Field::UpstreamDropped => self.number(facts.dropped[0]),
            Field::DownstreamDropped => self.number(facts.dropped[1]),
            Field::Ending => self.word_if_any(ending.map(|ending| ending.word)),
            Field::Side => self.word_if_any(ending.and_then(|ending| ending.side)),
            Field::Tries => self.number(facts.tries.into()),
            Field::State => {
                let letters = ending.map(|ending| ending.state.map(char::from));
                match letters {
                    Some(letters) => self.quoted(|out| out.extend(letters)),
                    None => self.nothing(),
                }
            }
        }
    }

    /// A value that is not there.
    fn nothing(&mut self) {
        self.out.push_str(match self.style {
            Style::Json => "null",
            Style::Plain => "-",
        });
    }

    fn quoted(&mut self, write: impl FnOnce(&mut String)) {
        let quote = |out: &mut String| {
            if self.style == Style::Json {
                out.push('"');
            }
        };
        quote(self.out);
        write(self.out);
        quote(self.out);
    }

    /// Text in which nothing needs to be escaped.
    fn word(&mut self, word: &str) {
        self.quoted(|out| out.push_str(word));
    }

    fn word_if_any(&mut self, word: Option<&str>) {
        match word {
            Some(word) => self.word(word),
            None => self.nothing(),
        }
    }

    fn text(&mut self, text: &str) {
        self.quoted(|out| escape(text, out));
    }

    fn address(&mut self, address: &str) {
        match address {
            "" | "?" | "proxy" => self.nothing(),
            address => self.text(address),
        }
    }

    fn number(&mut self, number: u64) {
        let mut text = ShortText::<32>::default();
        text.add_number(number);
        self.out.push_str(text.as_str());
    }

    /// Seconds, with six digits behind the point.
    fn seconds(&mut self, microseconds: u64) {
        let mut text = ShortText::<32>::default();
        text.add_number(microseconds / 1_000_000);
        text.add_byte(b'.');
        add_digits::<6>(&mut text, microseconds % 1_000_000);
        self.out.push_str(text.as_str());
    }

    /// A time in microseconds since 1970, as RFC 3339 has it.
    fn time(&mut self, microseconds: u64) {
        let time = i64::try_from(microseconds).ok().and_then(DateTime::from_timestamp_micros).unwrap_or_default();
        let mut text = ShortText::<32>::default();
        add_digits::<4>(&mut text, u64::try_from(time.year()).unwrap_or(0));
        for (before, part) in [
            (b'-', time.month()),
            (b'-', time.day()),
            (b'T', time.hour()),
            (b':', time.minute()),
            (b':', time.second()),
        ] {
            text.add_byte(before);
            add_digits::<2>(&mut text, part.into());
        }
        text.add_byte(b'.');
        add_digits::<6>(&mut text, microseconds % 1_000_000);
        text.add_byte(b'Z');
        self.quoted(|out| out.push_str(text.as_str()));
    }
}

/// Adds the last digits of a number, so many.
fn add_digits<const COUNT: usize>(text: &mut ShortText<32>, mut number: u64) {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits.into_iter().for_each(|digit| text.add_byte(digit));
}

/// Writes text as a string of JSON has it. What is no JSON is written in the same way, so that nothing that a client
/// chose can end a line, or look like the end of a value that stands in quotes.
fn escape(text: &str, out: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if misleads(c) => {
                // All of these are in the first plane. Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDING: Ending = Ending { word: "reset", side: Some("client"), state: *b"CD" };

    fn facts<'a>() -> Facts<'a> {
        Facts {
            event: Event::End(ENDING),
            service: "web",
            session: "0-1",
            client: "192.0.2.1:5",
            peer: "198.51.100.1:6",
            listener: "?",
            remote: "[2001:db8::1]:80",
            remote_name: "db.example:80",
            source: "",
            duration: 61_000_001,
            connected_after: Some(1_500),
            bytes: [1, 2],
            datagrams: [3, 4],
            dropped: [5, 6],
            tries: 7,
        }
    }

    fn written(format: &str, facts: &Facts<'_>) -> String {
        let mut out = String::new();
        Format::parse(format).unwrap().write(facts, 1_700_000_000_000_042, &mut out);
        out
    }

    #[test]
    fn a_line_of_json_has_all_fields() {
        let expected = r#"{"event":"end","time":"2023-11-14T22:13:20.000042Z","service":"web","session":"0-1","client":"192.0.2.1:5","peer":"198.51.100.1:6","listener":null,"remote":"[2001:db8::1]:80","remote_name":"db.example:80","source":null,"start":"2023-11-14T22:12:19.000041Z","connect_time":0.001500,"duration":61.000001,"upstream_bytes":1,"downstream_bytes":2,"upstream_datagrams":3,"downstream_datagrams":4,"upstream_dropped":5,"downstream_dropped":6,"ending":"reset","side":"client","tries":7,"state":"CD"}"#;
        assert_eq!(written("json", &facts()), format!("{expected}\n"));
    }

    #[test]
    fn what_is_not_there_is_null_or_a_hyphen() {
        let facts = Facts { event: Event::Start, connected_after: None, ..facts() };
        let line = written("json", &facts);
        for nothing in ["connect_time", "ending", "side", "state"] {
            assert!(line.contains(&format!("\"{nothing}\":null")), "{line}");
        }
        assert!(line.starts_with("{\"event\":\"start\","), "{line}");
        let line = written("%{event} %{ending} %{side} %{state} %{connect_time} %{listener} %{source}|", &facts);
        assert_eq!(line, "start - - - - - -|\n");
    }

    #[test]
    fn text_has_the_values_as_they_are() {
        let line = written("%{client} -> %{remote} %{start} %{connect_time} 100%% %{state}", &facts());
        assert_eq!(line, "192.0.2.1:5 -> [2001:db8::1]:80 2023-11-14T22:12:19.000041Z 0.001500 100% CD\n");
    }

    #[test]
    fn a_name_that_a_client_chose_stays_within_its_value() {
        let nasty = "unix:/a\"b\\c\n\u{7f}\u{2028}\u{202e}\u{e9}";
        let facts = Facts { client: nasty, service: "", ..facts() };
        let escaped = r#"unix:/a\"b\\c\u000a\u007f\u2028\u202eé"#;
        assert_eq!(written("\"%{client}\" <%{service}>", &facts), format!("\"{escaped}\" <>\n"));
        assert!(written("json", &facts).contains(&format!("\"client\":\"{escaped}\",")));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let text = |microseconds| {
            let mut out = String::new();
            Line { out: &mut out, style: Style::Plain }.time(microseconds);
            out
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(951_827_696_789_012), "2000-02-29T12:34:56.789012Z");
        assert_eq!(text(253_402_300_799_999_999), "9999-12-31T23:59:59.999999Z");
    }
}
