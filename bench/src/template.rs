//! Command lines given as one string: split into words as a shell would, with placeholders for the addresses.

use std::fmt;
use std::net::SocketAddr;

use crate::transport::Sides;

/// A command line with placeholders: `{listen}`, `{target}`, `{port}` and `{target_port}`; or `{from}` and `{to}`, which
/// say with the addresses what is spoken there, as `cproxy` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    words: Vec<String>,
}

impl Template {
    /// Reads a command line, which must name where to listen and where to connect.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = split(line)?;
        let template = Self { words };
        if template.takes_any_sides() {
            return Ok(template);
        }
        if !template.holds("{listen}") && !template.holds("{port}") {
            return Err("the command has neither {listen} nor {port} nor {from}".to_owned());
        }
        if !template.holds("{target}") && !template.holds("{target_port}") {
            return Err("the command has neither {target} nor {target_port} nor {to}".to_owned());
        }
        Ok(template)
    }

    /// Whether the command is told what is spoken on its sides.
    pub fn takes_any_sides(&self) -> bool {
        self.holds("{from}") && self.holds("{to}")
    }

    fn holds(&self, placeholder: &str) -> bool {
        self.words.iter().any(|word| word.contains(placeholder))
    }

    /// The words, with the addresses in their places. A value never splits a word.
    pub fn expand(&self, sides: Sides, listen: SocketAddr, target: SocketAddr) -> Vec<String> {
        let fill = |word: &String| {
            word.replace("{listen}", &listen.to_string())
                .replace("{target}", &target.to_string())
                .replace("{port}", &listen.port().to_string())
                .replace("{target_port}", &target.port().to_string())
                .replace("{from}", &sides.client.written(listen))
                .replace("{to}", &sides.remote.written(target))
        };
        self.words.iter().map(fill).collect()
    }
}

/// The words, joined by blanks.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// Splits at blanks, except within single or double quotes. There are no escapes.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if character == '\'' || character == '"' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in: {line}"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(split("  a  b\tc ").unwrap(), ["a", "b", "c"]);
        assert_eq!(split("'a b' \"c 'd'\" e'f g'").unwrap(), ["a b", "c 'd'", "ef g"]);
        assert_eq!(split("''").unwrap(), [""]);
        assert!(split("a 'b").is_err());
    }

    #[test]
    fn placeholders_are_filled_in() {
        let template = Template::parse("/opt/p -l {listen} --to={target} {port}/{target_port}").unwrap();
        let (listen, target) = ("127.0.0.1:80".parse().unwrap(), "127.0.0.1:99".parse().unwrap());
        let words = template.expand(Sides::TCP, listen, target);
        assert_eq!(words, ["/opt/p", "-l", "127.0.0.1:80", "--to=127.0.0.1:99", "80/99"]);
        let template = Template::parse("p {from} {to}").unwrap();
        let sides = Sides { client: Transport::Udp, remote: Transport::Framed };
        assert_eq!(template.expand(sides, listen, target), ["p", "udp:127.0.0.1:80", "framed:127.0.0.1:99"]);
        assert_eq!(template.expand(Sides::TCP, listen, target), ["p", "127.0.0.1:80", "127.0.0.1:99"]);
    }

    #[test]
    fn both_ends_must_be_named() {
        assert!(Template::parse("p {listen}").is_err());
        assert!(Template::parse("p {target_port}").is_err());
        assert!(Template::parse("p {port} {target}").is_ok());
        assert!(Template::parse("p {from} {target}").is_err());
        assert!(!Template::parse("p {listen} {target}").unwrap().takes_any_sides());
    }
}
