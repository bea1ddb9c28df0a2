//! A file that is changed a little has an error with a place, or is good; and nothing panics.

use crate::support::Folder;
use cproxy::config::file::print;
use cproxy::config::settings::Settings;

const SAMPLE: &str = r#"# A comment, and an é.
include = ["more/*.toml", 'more/b.toml']
io-threads = "auto"
buffer-size = 0x10_000
zero-copy = 'never'
reuse-port = false
drain-timeout = """30s"""
log-level = "warn"

[service.a]
listen = [
    "127.0.0.1:1", # one
    "[::1]:1",
]
remote = [{ address = "127.0.0.1:2", weight = 3, backup = true }, "127.0.0.1:3,max=5"]
balance = "source"
retries = 2
check-interval = "2s"
check-send = 'PING\r\n'
on-down = "reset"
no-delay = true
keepalive = 5
backlog = 1024
connect-timeout = "10s"
idle-timeout = 60
on-reload = "drain"
allow-time = ["Mon-Fri 08:00-12:00,13:00-18:00", "Sat 22:00-06:00"]
end-outside-time = true
lanes = 8
lane-source = ["127.0.0.1", "::1"]
source = ["127.0.0.1", "127.0.0.2:1024-2000"]
stripe-window = "1m"
stripe-mode = "redundant"

[service."b.c"]
listen = "udp:127.0.0.1:5"
resolve = "5s"
[[service."b.c".remote]]
address = "echo:"
max = 7
[[service."b.c".remote]]
address = "srv:_a._udp.b"
"#;

const INCLUDED: &str = "[service.included]\nlisten = \"unix:/tmp/é\"\nremote = \"echo:\"\n";

/// Cuts a file into strings, words, blanks, and single characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => rest[1..].find(c).map_or(rest.len(), |at| at + 2),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        tokens.push(&rest[..length]);
        rest = &rest[length..];
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

/// Judges what a changed file comes to, and says whether it is good.
fn judge(folder: &Folder, text: &[u8], original: &Settings) -> bool {
    let shown = || String::from_utf8_lossy(text);
    match folder.load(text) {
        Ok(settings) => {
            // Whatever it means, it can be written and means the same then.
            let printed = print(&settings);
            assert_eq!(Folder::new().load(&printed).as_ref(), Ok(&settings), "{}\n{printed}", shown());
            settings == *original
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let whole = error.message == "no service: add a table [service.NAME]";
                assert!(error.position.is_some() || whole, "{error}\n{}", shown());
                assert!(whole || error.to_string().contains('^'), "{error}");
                assert!(!error.message.is_empty() && !error.one_line().contains('\n'), "{error}");
            }
            false
        }
    }
}

fn prepared() -> (Folder, Settings) {
    let folder = Folder::new();
    folder.write("more/b.toml", INCLUDED);
    let original = folder.load(SAMPLE).unwrap_or_else(|errors| panic!("{}", errors[0]));
    assert_eq!(original.services.len(), 3);
    (folder, original)
}

#[test]
fn a_token_changed_dropped_or_doubled() {
    let (folder, original) = prepared();
    let tokens = tokens(SAMPLE);
    assert_eq!(tokens.concat(), SAMPLE);
    let others = [
        "x",
        "listen",
        "remote",
        "io-threads",
        "5",
        "-1",
        "\"x y\"",
        "true",
        "1.5",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "\"",
        "'",
        "#",
        "é",
        "\0",
        "\r",
        "1979-05-27",
        "inf",
        "[[a]]\n",
    ];
    let (mut same, mut cases) = (0, 0);
    for at in 0..tokens.len() {
        let (before, token, after) = (tokens[..at].concat(), tokens[at], tokens[at + 1..].concat());
        let changed = others.iter().map(|other| other.to_string());
        for new in changed.chain([String::new(), token.repeat(2)]) {
            same += usize::from(judge(&folder, format!("{before}{new}{after}").as_bytes(), &original));
            cases += 1;
        }
    }
    assert!(cases > 4_000 && same > 0 && same < cases / 2, "{same} of {cases}");
}

#[test]
fn a_byte_changed_dropped_or_doubled() {
    let (folder, original) = prepared();
    // Names are looked up, and what a changed address names is not of interest: it stays.
    let quoted = |at: usize| SAMPLE.as_bytes()[..at].iter().filter(|byte| **byte == b'"').count() % 2 == 1;
    let bytes = SAMPLE.as_bytes();
    for at in (0..bytes.len()).filter(|at| !quoted(*at)) {
        let (before, byte, after) = (&bytes[..at], bytes[at], &bytes[at + 1..]);
        for new in [&[][..], &[byte, byte], &[byte ^ 0x20], &[byte ^ 0x80], &[0xff], &[0]] {
            judge(&folder, &[before, new, after].concat(), &original);
        }
    }
}

#[test]
fn a_file_cut_short() {
    let (folder, original) = prepared();
    for end in 0..SAMPLE.len() {
        judge(&folder, &SAMPLE.as_bytes()[..end], &original);
        judge(&folder, &SAMPLE.as_bytes()[end..], &original);
    }
}
