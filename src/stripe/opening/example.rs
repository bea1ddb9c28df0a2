//! The example of the documentation, made by the code that it is an example of.
//!
//! `CPROXY_UPDATE=1 cargo test --lib example` writes it anew.

use super::*;
use crate::stripe::engine::{Burst, Config, Engine, Mode, Read};
use crate::stripe::frame::Frame;
use crate::stripe::key::make_key;
use std::fmt::Write;
use std::path::Path;

/// 32 bytes that count up from this one.
fn counted<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|n| from + n as u8)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes in fields of these lengths, a line each with what it is; more than 16 bytes are on several lines.
fn fields(text: &mut String, bytes: &[u8], fields: &[(usize, &str)]) {
    let mut rest = bytes;
    for (length, meaning) in fields {
        let (field, behind) = rest.split_at(*length);
        for (n, line) in field.chunks(16).enumerate() {
            let line = format!("    {:34}{}", hex(line), if n == 0 { meaning } else { "" });
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
        rest = behind;
    }
    assert!(rest.is_empty(), "every byte has a meaning");
    text.push('\n');
}

/// What is exchanged with this key.
struct Exchange {
    key: Option<StripeKey>,
    text: String,
    dialing: Dialing,
    arriving: Arriving,
    /// What each end has sent last.
    sent: Vec<u8>,
}

const DIALER: [u8; 32] = [0x11; 32];
const ACCEPTOR: [u8; 32] = [0x22; 32];

const HEAD_FIELDS: [(usize, &str); 4] = [(4, "\"CPST\""), (1, "version 1"), (1, ""), (2, "no required features")];

impl Exchange {
    fn new(key: Option<StripeKey>) -> Exchange {
        let mut sent = Vec::new();
        let dialing = Dialing::with(key.as_ref(), &mut sent, Some(&DIALER)).unwrap();
        Exchange { key, text: String::new(), dialing, arriving: Arriving::new(counted(0xc0)), sent }
    }

    /// Writes what was sent, under a heading.
    fn show(&mut self, heading: &str, meanings: &[(usize, &str)]) {
        writeln!(self.text, "{heading}, {} bytes:\n", self.sent.len()).unwrap();
        fields(&mut self.text, &self.sent, meanings);
    }

    fn head(code: &'static str) -> Vec<(usize, &'static str)> {
        HEAD_FIELDS.map(|(length, meaning)| (length, if meaning.is_empty() { code } else { meaning })).to_vec()
    }

    /// Writes the opening, and returns the ends of the lane.
    fn open(&mut self) -> (Channel, Channel) {
        let keys: Vec<_> = self.key.clone().into_iter().collect();
        let keyed = self.key.is_some();
        let mut meanings = Exchange::head(if keyed { "mode 1: with a key" } else { "mode 0: without a key" });
        if keyed {
            meanings.extend([(32, "message 1: public key of the dialer"), (16, "tag of the empty payload")]);
        }
        self.show("The dialer begins", &meanings);
        let mut answer = Vec::new();
        let began = self.arriving.receive_with(&self.sent, &keys, &mut answer, Some(&ACCEPTOR)).unwrap();
        assert!(began.1.is_none());
        self.sent = answer;
        let mut meanings = Exchange::head("code 0: go on");
        if keyed {
            meanings.extend([(32, "message 2: public key of the acceptor"), (16, "challenge, sealed"), (16, "tag")]);
        } else {
            meanings.push((16, "challenge"));
        }
        self.show("The acceptor answers", &meanings);
        let mut join = Vec::new();
        let near =
            self.dialing.receive(&self.sent, SessionId(counted(0xa0)), LANE as u8, true, &mut join).unwrap().1.unwrap();
        self.sent = join;
        if keyed {
            let mut record = self.sent.clone();
            let (sealing, opening) = self.lane_keys();
            let mut again = Channel::keyed(&LaneKeys { sealing: opening, opening: sealing });
            let plain = again.open(&mut record).unwrap().to_vec();
            writeln!(self.text, "Both ends now have the keys of the lane. The dialer seals with\n").unwrap();
            fields(&mut self.text, &sealing, &[(32, "")]);
            writeln!(self.text, "and the acceptor with\n").unwrap();
            fields(&mut self.text, &opening, &[(32, "")]);
            writeln!(self.text, "Before it is sealed, the first frame of the dialer is\n").unwrap();
            fields(&mut self.text, &plain, &JOIN_FIELDS);
            self.show("The dialer joins", &[(2, "length of the record"), (34, "JOIN, sealed"), (16, "tag")]);
        } else {
            self.show("The dialer joins", &JOIN_FIELDS);
        }
        let far = self.arriving.receive(&self.sent, &keys, &mut Vec::new()).unwrap().1.unwrap().channel;
        (near, far)
    }

    fn lane_keys(&self) -> ([u8; 32], [u8; 32]) {
        match &self.arriving.stage {
            Stage::Record(keys) => (keys.opening, keys.sealing),
            _ => panic!("a key"),
        }
    }

    /// Writes what an engine sends now, which is one frame, and has the other one receive it.
    fn frame(&mut self, (from, to): (&mut End, &mut End), heading: &str, now: u64, meanings: &[(usize, &str)]) {
        let mut burst = Burst::default();
        assert_eq!(from.engine.next_burst(&mut burst, now), Some(LANE));
        let [frame] = &burst.frames[..] else { panic!("one frame") };
        let plain = [frame.header.bytes(), from.engine.payload(frame.payload.clone())].concat();
        self.sent.clear();
        let (header, payload) = (frame.header, from.engine.payload(frame.payload.clone()));
        from.channel.seal([(header, payload)], &mut self.sent);
        if self.key.is_some() {
            self.show(heading, &[(2, "length of the record"), (plain.len(), "the frame, sealed"), (16, "tag")]);
        } else {
            self.show(heading, meanings);
        }
        let mut sent = self.sent.clone();
        let came = if self.key.is_some() { to.channel.open(&mut sent).unwrap() } else { &sent };
        assert_eq!(came, plain);
        let (frame, _) = Frame::decode(came).unwrap().unwrap();
        to.engine.received(LANE, frame, None, now).unwrap();
        assert_eq!(from.engine.next_burst(&mut burst, now), None);
    }

    fn all(mut self) -> String {
        let (near, far) = self.open();
        let (mut near, mut far) = (End::new(near), End::new(far));
        self.frame((&mut near, &mut far), "Behind it the dialer says what may be sent to it", 0, &ACK_FIELDS);
        self.frame((&mut far, &mut near), "The acceptor says that the lane has joined", 0, &ACK_FIELDS);
        near.engine.write(b"hello");
        self.frame((&mut near, &mut far), "The dialer sends five bytes", 0, &DATA_FIELDS);
        assert_eq!(far.engine.read(&mut [0; 10], 0), Read::Bytes(5));
        self.frame((&mut far, &mut near), "20 ms later the acceptor acknowledges them", 20_000, &ACK_FIELDS);
        self.text
    }
}

/// One end of the lane.
struct End {
    engine: Engine,
    channel: Channel,
}

impl End {
    fn new(channel: Channel) -> End {
        let config =
            Config { mode: Mode::UntilCongested, window: 16 << 20, lane_timeout: 30_000_000, ping_after: 15_000_000 };
        let mut engine = Engine::new(config, 0);
        engine.lane_up(LANE, None, 0);
        engine.has_room(LANE, true);
        End { engine, channel }
    }
}

/// The number of the lane.
const LANE: usize = 3;

const JOIN_FIELDS: [(usize, &str); 4] =
    [(1, "JOIN"), (1, "lane 3 (times two), and the session may be made"), (16, "session id"), (16, "challenge")];

const ACK_FIELDS: [(usize, &str); 5] = [
    (1, "ACK"),
    (8, "cumulative"),
    (8, "where the window ends"),
    (8, "received on this lane"),
    (4, "delay in microseconds"),
];

const DATA_FIELDS: [(usize, &str); 4] = [(1, "DATA"), (2, "length"), (8, "offset"), (5, "\"hello\"")];

fn page() -> String {
    let key = counted(0x01);
    let mut text = String::from(
        "# A lane, byte by byte\n\n\
         This page shows the first bytes of a lane, without a key and with one, as cproxy sends them: somebody who writes \
         the\nother end can compare. A test of cproxy makes this page. [striping.md](striping.md) says what the bytes \
         mean. All are\nhexadecimal.\n\n\
         What is random otherwise has been chosen. The session id is\n\n",
    );
    fields(&mut text, &counted::<16>(0xa0), &[(16, "")]);
    text.push_str("and the challenge\n\n");
    fields(&mut text, &counted::<16>(0xc0), &[(16, "")]);
    text.push_str("## Without a key\n\n");
    text.push_str(&Exchange::new(None).all());
    writeln!(text, "## With a key\n\nThe line of the key file is `{}`, which is\n", make_key(&key)).unwrap();
    fields(&mut text, &key, &[(32, "")]);
    text.push_str("The private keys of this lane are, of the dialer,\n\n");
    fields(&mut text, &DIALER, &[(32, "")]);
    text.push_str("and of the acceptor\n\n");
    fields(&mut text, &ACCEPTOR, &[(32, "")]);
    text.push_str("The prologue is `cproxy stripe` and the first eight bytes of the dialer.\n\n");
    text.push_str(&Exchange::new(Some(StripeKey::new(key))).all());
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[test]
fn the_example_of_the_documentation_is_what_is_sent() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/striping-example.md");
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = page();
    if std::env::var_os("CPROXY_UPDATE").is_some() && found != expected {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert!(
            found == expected,
            "docs/striping-example.md is not up to date: CPROXY_UPDATE=1 cargo test --lib example"
        );
    }
}
