//! Command lines given as one string: split into words as a shell would, with placeholders for the addresses.

use std::fmt;
use std::net::SocketAddr;

/// A command line with placeholders: `{listen}`, `{target}`, `{port}` and `{target_port}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    words: Vec<String>,
}

impl Template {
    /// Reads a command line, which must name where to listen and where to connect.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = split(line)?;
        let names = |one: &str, other: &str| words.iter().any(|word| word.contains(one) || word.contains(other));
        if !names("{listen}", "{port}") {
            return Err("the command has neither {listen} nor {port}".to_owned());
        }
        if !names("{target}", "{target_port}") {
            return Err("the command has neither {target} nor {target_port}".to_owned());
        }
        Ok(Self { words })
    }

    /// The words, with the addresses in their places. A value never splits a word.
    pub fn expand(&self, listen: SocketAddr, target: SocketAddr) -> Vec<String> {
        let fill = |word: &String| {
            word.replace("{listen}", &listen.to_string())
                .replace("{target}", &target.to_string())
                .replace("{port}", &listen.port().to_string())
                .replace("{target_port}", &target.port().to_string())
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
        let words = template.expand("127.0.0.1:80".parse().unwrap(), "127.0.0.1:99".parse().unwrap());
        assert_eq!(words, ["/opt/p", "-l", "127.0.0.1:80", "--to=127.0.0.1:99", "80/99"]);
    }

    #[test]
    fn both_ends_must_be_named() {
        assert!(Template::parse("p {listen}").is_err());
        assert!(Template::parse("p {target_port}").is_err());
        assert!(Template::parse("p {port} {target}").is_ok());
    }
}
