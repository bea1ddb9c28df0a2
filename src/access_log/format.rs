//! Which fields a line has, and what stands between them.

use crate::base::similar::similar;

/// What a line can say of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Whether the session has ended, or is one that lasts.
    Event,
    /// When the line was made.
    Time,
    /// The service's name.
    Service,
    /// Which session it is.
    Session,
    /// Who the client is.
    Client,
    /// Where the client's connection comes from.
    Peer,
    /// The address of ours that the client has reached.
    Listener,
    /// The address of the remote.
    Remote,
    /// The remote as the log names it.
    RemoteName,
    /// The address of ours that the remote sees.
    Source,
    /// When the session began.
    Start,
    /// How long it took to connect to the remote.
    ConnectTime,
    /// How long the session has lasted.
    Duration,
    /// Bytes from client to remote.
    UpstreamBytes,
    /// Bytes from remote to client.
    DownstreamBytes,
    /// Datagrams from client to remote.
    UpstreamDatagrams,
    /// Datagrams from remote to client.
    DownstreamDatagrams,
    /// Datagrams from the client that were not delivered.
    UpstreamDropped,
    /// Datagrams from the remote that were not delivered.
    DownstreamDropped,
    /// Why the session ended.
    Ending,
    /// Who ended it.
    Side,
    /// How many attempts to connect there were.
    Tries,
    /// HAProxy's two letters.
    State,
}

impl Field {
    /// All fields, in the order in which JSON has them, with their names and what they say.
    pub const ALL: [(Field, &'static str, &'static str); 23] = [
        (Field::Event, "event", "`end` of a session, or `start` of one that lasts (`--access-log-start`)"),
        (Field::Time, "time", "when the line was made, in UTC as RFC 3339 has it, with microseconds"),
        (Field::Service, "service", "the name of the service; empty for that of a command line"),
        (Field::Session, "session", "which session it is, as the status page names it"),
        (Field::Client, "client", "the client's address; the one that its PROXY header says, if that is believed"),
        (Field::Peer, "peer", "the address that the client's connection comes from"),
        (Field::Listener, "listener", "the address of the proxy that the client has reached"),
        (Field::Remote, "remote", "the address that the session was connected to, or to which it could not be"),
        (Field::RemoteName, "remote_name", "the remote as the log names it"),
        (Field::Source, "source", "the address of the proxy that the remote sees"),
        (Field::Start, "start", "when the session began, as `time`"),
        (Field::ConnectTime, "connect_time", "seconds from the beginning until the remote was connected"),
        (Field::Duration, "duration", "seconds from the beginning"),
        (Field::UpstreamBytes, "upstream_bytes", "bytes from the client that the remote was sent"),
        (Field::DownstreamBytes, "downstream_bytes", "bytes from the remote that the client was sent"),
        (Field::UpstreamDatagrams, "upstream_datagrams", "datagrams from the client that the remote was sent"),
        (Field::DownstreamDatagrams, "downstream_datagrams", "datagrams from the remote that the client was sent"),
        (Field::UpstreamDropped, "upstream_dropped", "datagrams from the client that could not be sent on"),
        (Field::DownstreamDropped, "downstream_dropped", "datagrams from the remote that could not be sent on"),
        (Field::Ending, "ending", "why the session ended, in one word"),
        (Field::Side, "side", "who ended it: `client`, `remote` or `proxy`; nothing where both had said everything"),
        (Field::Tries, "tries", "how many attempts to connect were begun"),
        (Field::State, "state", "the two letters that HAProxy has for such an end"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Field::ALL.iter().find(|(field, ..)| *field == self).map_or("", |(_, name, _)| name)
    }

    fn named(name: &str) -> Result<Field, String> {
        let known = || Field::ALL.iter().map(|(_, name, _)| *name);
        if let Some((field, ..)) = Field::ALL.iter().find(|(_, known, _)| *known == name) {
            return Ok(*field);
        }
        Err(match similar(name, known()) {
            Some(meant) => format!("unknown field %{{{name}}}; did you mean %{{{meant}}}?"),
            None => format!("unknown field %{{{name}}}; expected one of {}", known().collect::<Vec<_>>().join(", ")),
        })
    }
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// This, as it stands.
    Text(String),
    /// What a field says.
    Field(Field),
}

/// How fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As values of JSON.
    Json,
    /// As they are.
    Plain,
}

/// What stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub(super) pieces: Vec<Piece>,
    pub(super) style: Style,
    /// What was asked for.
    written: String,
}

/// The word for the format that holds where none is given.
pub const JSON: &str = "json";

impl Default for Format {
    /// All fields, as one object of JSON.
    fn default() -> Format {
        let mut pieces = Vec::new();
        for (number, (field, name, _)) in Field::ALL.into_iter().enumerate() {
            let before = if number == 0 { "{" } else { "," };
            pieces.extend([Piece::Text(format!("{before}\"{name}\":")), Piece::Field(field)]);
        }
        pieces.push(Piece::Text("}".to_string()));
        Format { pieces, style: Style::Json, written: JSON.to_string() }
    }
}

impl Format {
    /// Reads a format: `json`, or text in which `%{name}` is a field and `%%` is a `%`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in one line.
    ///
    /// ```
    /// use cproxy::access_log::Format;
    ///
    /// assert!(Format::parse("%{client} %{upstream_bytes} 100%%").is_ok());
    /// assert!(Format::parse("%{cleint}").unwrap_err().contains("did you mean %{client}?"));
    /// ```
    pub fn parse(written: &str) -> Result<Format, String> {
        if written == JSON {
            return Ok(Format::default());
        }
        if written.contains(|c: char| c.is_control() && c != '\t') {
            return Err("it must be one line".to_string());
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.strip_prefix('{').and_then(|named| named.split_once('}')) else {
                return Err("expected %{name} for a field, or %% for a %".to_string());
            };
            let field = Field::named(name)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Field(field));
            rest = after;
        }
        text.push_str(rest);
        if pieces.is_empty() {
            return Err(format!("expected {JSON}, or text with at least one field such as %{{client}}"));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Format { pieces, style: Style::Plain, written: written.to_string() })
    }

    /// What was asked for.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether lines have this field.
    pub fn has(&self, field: Field) -> bool {
        self.pieces.contains(&Piece::Field(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Ending;

    #[test]
    fn every_field_has_one_place_and_one_name() {
        let names: std::collections::HashSet<_> = Field::ALL.iter().map(|(_, name, _)| name).collect();
        assert_eq!(names.len(), Field::ALL.len());
        for (number, (field, name, text)) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, number, "{name}");
            assert_eq!((field.name(), Field::named(name)), (name, Ok(field)));
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(text.is_ascii() && !text.ends_with('.') && text.matches('`').count() % 2 == 0, "{name}");
            assert!(Format::default().has(field));
        }
    }

    #[test]
    fn the_documentation_has_every_field() {
        let page = include_str!("../../docs/access-log.md");
        for (_, name, text) in Field::ALL {
            assert!(page.contains(&format!("\n| `{name}` | {text} |\n")), "{name}");
        }
        // Clients that are refused for their PROXY header have no line.
        for word in Ending::all().map(Ending::word).filter(|word| !["bad_proxy_header", "not_let_in"].contains(word)) {
            assert!(page.contains(&format!("\n| `{word}` | ")), "{word}");
        }
    }

    #[test]
    fn a_format_is_fields_and_the_text_between_them() {
        let text = |text: &str| Piece::Text(text.to_string());
        let format = Format::parse("<%{client}%{side}>\t5%% %{state}").unwrap();
        let expected = [
            text("<"),
            Piece::Field(Field::Client),
            Piece::Field(Field::Side),
            text(">\t5% "),
            Piece::Field(Field::State),
        ];
        assert_eq!(format.pieces, expected);
        assert!(format.has(Field::Side) && !format.has(Field::Time));
        assert_eq!(format.written(), "<%{client}%{side}>\t5%% %{state}");
        assert_eq!(Format::parse("json"), Ok(Format::default()));
        assert_eq!(Format::parse("%{ending}-").unwrap().pieces, [Piece::Field(Field::Ending), text("-")]);
    }

    #[test]
    fn what_is_no_format_is_an_error() {
        for (written, error) in [
            ("%{clinet} x", "unknown field %{clinet}; did you mean %{client}?"),
            ("%{client", "expected %{name} for a field, or %% for a %"),
            ("%client", "expected %{name} for a field, or %% for a %"),
            ("%", "expected %{name} for a field, or %% for a %"),
            ("%{client}\n", "it must be one line"),
            ("", "expected json, or text with at least one field such as %{client}"),
            ("JSON %%", "expected json, or text with at least one field such as %{client}"),
        ] {
            assert_eq!(Format::parse(written), Err(error.to_string()), "{written}");
        }
        assert!(Format::parse("%{x}").unwrap_err().starts_with("unknown field %{x}; expected one of event, time, "));
    }
}
