//! The bytes of sessions in the log.

use log::info;
use std::fmt::Write as _;

use crate::config::capture::Form;
use crate::inspect::{Direction, Inspection, Inspector, SessionFacts, Tap};

/// The most bytes in a line of text.
const MOST_TEXT: usize = 256;

/// Bytes in a line of hexadecimal digits.
const HEX_LINE: usize = 16;

/// Writes what sessions move to the log.
#[derive(Debug)]
pub struct Dump {
    form: Form,
}

impl Dump {
    /// Writes it in this form.
    pub fn new(form: Form) -> Dump {
        Dump { form }
    }
}

impl Inspector for Dump {
    fn inspect(&self, session: &SessionFacts<'_>, direction: Direction) -> Inspection {
        let SessionFacts { number, names, .. } = session;
        if direction == Direction::Upstream {
            let (client, listener, remote) = (&names.client, &names.listener, &names.remote);
            info!("session {number}: client {client} to {listener}, and remote {remote}");
        }
        let tap = Printer { form: self.form, session: session.number, direction, place: 0, line: String::new() };
        Inspection { taps: vec![Box::new(tap)], filters: Vec::new() }
    }
}

/// Writes what goes one way.
#[derive(Debug)]
struct Printer {
    form: Form,
    session: u64,
    direction: Direction,
    /// Bytes of the stream so far.
    place: u64,
    /// Room for a line.
    line: String,
}

impl Printer {
    /// Writes these bytes, the first of which has this place.
    fn print(&mut self, bytes: &[u8], mut place: u64) {
        let Printer { form, session, direction, .. } = *self;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(length_of_line(form, rest));
            self.line.clear();
            match form {
                Form::Text => write_text(piece, &mut self.line),
                Form::Hex => write_hex(piece, place, &mut self.line),
            }
            info!("session {session} {direction}: {}", self.line);
            (rest, place) = (behind, place + piece.len() as u64);
        }
    }
}

impl Tap for Printer {
    fn bytes(&mut self, bytes: &[u8], _at: u64) {
        self.print(bytes, self.place);
        self.place += bytes.len() as u64;
    }

    fn datagram(&mut self, datagram: &[u8], _at: u64) {
        info!("session {} {}: datagram of {} bytes", self.session, self.direction, datagram.len());
        self.print(datagram, 0);
        self.place += datagram.len() as u64;
    }

    fn end(&mut self, _at: u64) {
        info!("session {} {}: end after {} bytes", self.session, self.direction, self.place);
    }
}

/// How many of these bytes, of which there is one at least, stand in one line.
fn length_of_line(form: Form, bytes: &[u8]) -> usize {
    match form {
        Form::Hex => bytes.len().min(HEX_LINE),
        Form::Text => {
            let line = bytes.iter().take(MOST_TEXT).position(|byte| *byte == b'\n').map_or(MOST_TEXT, |at| at + 1);
            let mut length = bytes.len().min(line);
            // A character is not cut, if these are characters.
            if length < bytes.len() {
                let starts = |at: &usize| bytes[*at] & 0xC0 != 0x80;
                length = (length.saturating_sub(3)..=length).rev().find(|at| *at > 0 && starts(at)).unwrap_or(length);
            }
            length
        }
    }
}

/// `GET / HTTP/1.1\r\n`
fn write_text(bytes: &[u8], line: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\t' => line.push_str("\\t"),
                ' ' => line.push(' '),
                character if is_plain(character) => line.push(character),
                character => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        escape(byte, line);
                    }
                }
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(*byte, line));
    }
}

/// Whether a character shows as itself, and changes nothing about those beside it.
fn is_plain(character: char) -> bool {
    match character {
        ' '..='~' => true,
        // Controls, marks of direction and spaces that look like others.
        '\u{0}'..='\u{A0}' | '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{2000}'..='\u{200F}' => false,
        '\u{2028}'..='\u{202F}' | '\u{205F}'..='\u{206F}' | '\u{3000}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFF}' => false,
        '\u{E000}'..='\u{F8FF}' | '\u{E0000}'..='\u{10FFFF}' => false,
        _ => true,
    }
}

fn escape(byte: u8, line: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(line, "\\x{byte:02x}");
}

/// `00000010  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|`
fn write_hex(bytes: &[u8], place: u64, line: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(line, "{place:08x} ");
    for at in 0..HEX_LINE {
        if at % 8 == 0 {
            line.push(' ');
        }
        let _ = match bytes.get(at) {
            Some(byte) => write!(line, "{byte:02x} "),
            None => write!(line, "   "),
        };
    }
    line.push_str(" |");
    line.extend(bytes.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' }));
    line.push('|');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(form: Form, bytes: &[u8]) -> Vec<String> {
        let (mut rest, mut lines, mut place) = (bytes, Vec::new(), 0);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(length_of_line(form, rest));
            let mut line = String::new();
            match form {
                Form::Text => write_text(piece, &mut line),
                Form::Hex => write_hex(piece, place, &mut line),
            }
            lines.push(line);
            (rest, place) = (behind, place + piece.len() as u64);
        }
        lines
    }

    #[test]
    fn the_bytes_of_datagrams_are_in_the_sum_at_the_end() {
        let (form, direction) = (Form::Text, Direction::Upstream);
        let mut printer = Printer { form, session: 0, direction, place: 0, line: String::new() };
        printer.datagram(b"cat", 0);
        printer.datagram(b"horse", 0);
        assert_eq!(printer.place, 8);
    }

    #[test]
    fn hexadecimal_is_as_hexdump_writes_it() {
        assert_eq!(
            lines(Form::Hex, b"GET / HTTP/1.1\r\nHost: \xff"),
            [
                "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
                "00000010  48 6f 73 74 3a 20 ff                              |Host: .|",
            ]
        );
    }

    #[test]
    fn text_has_a_line_for_each_line() {
        assert_eq!(
            lines(Form::Text, b"GET / HTTP/1.1\r\n\tK\xc3\xa4se \\ \x1b[2J\xff\n\nend"),
            ["GET / HTTP/1.1\\r\\n", "\\tKäse \\\\ \\x1b[2J\\xff\\n", "\\n", "end"]
        );
        // A mark that turns the direction of what follows it.
        assert_eq!(lines(Form::Text, "a\u{202e}b".as_bytes()), ["a\\xe2\\x80\\xaeb"]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let long = format!("x{}", "ä".repeat(1000));
        let cut = lines(Form::Text, long.as_bytes());
        assert!(cut.iter().all(|line| line.len() <= MOST_TEXT && !line.contains('\\')), "{cut:?}");
        assert_eq!(cut.concat(), long);
        let odd = lines(Form::Text, &[0x80; 1000]);
        assert_eq!(odd.concat(), "\\x80".repeat(1000));
    }
}
