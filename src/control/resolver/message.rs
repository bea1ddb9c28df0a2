//! The messages of DNS, as far as SRV records need them: a question as bytes, and what an answer says.

use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, ParsedName};
use domain::base::wire::ParseError;
use domain::base::{Message, Ttl};
use domain::dep::octseq::array::Array;
use domain::rdata::{A, Aaaa, Cname, Srv};
use std::collections::HashMap;
use std::net::IpAddr;

/// The most bytes that servers may answer in a datagram, as DNS flag day 2020 has it: less than what is cut into packets.
pub const LARGEST_DATAGRAM: u16 = 1232;

/// The most aliases that one answer may lead through.
const MOST_ALIASES: usize = 16;

/// Where a service is, as one SRV record says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// A record with a higher number is used when no other one is usable.
    pub priority: u16,
    /// How much it gets beside others of its priority.
    pub weight: u16,
    /// The port, of TCP or UDP.
    pub port: u16,
    /// The host: in lower case, without the last dot.
    pub target: String,
    /// Its addresses, as far as the same answer has them; of several records for one host, the first has them.
    pub addresses: Vec<IpAddr>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These are the records, and so many seconds they may be used. There is none where the service is not offered.
    Services(Vec<Service>, u32),
    /// The name is an alias of this one, of which nothing else is said; for so many seconds.
    Alias(String, u32),
    /// There is no such name.
    NoName,
    /// The name has no such records.
    NoRecords,
    /// The answer was too long for a datagram.
    Truncated,
    /// The server did not understand the question, perhaps because of what was said of datagrams.
    NotUnderstood,
    /// It does not answer this question: it may not, or knows nothing of such names. Another one may.
    Refused,
    /// It cannot say, for this reason; another one may.
    Failed(String),
}

/// What a name is another one for, and how many seconds that holds.
type Alias<'a> = (ParsedName<&'a [u8]>, u32);

/// A question for the SRV records of a name.
#[derive(Debug)]
pub struct Question {
    id: u16,
    name: Name<Array<255>>,
}

impl Question {
    /// A question with this number, which nobody should be able to guess.
    ///
    /// # Errors
    ///
    /// The name is not one that DNS can have.
    pub fn new(name: &str, id: u16) -> Result<Question, String> {
        let name = Name::from_chars(name.chars()).map_err(|error| format!("not a name: {error}"))?;
        Ok(Question { id, name })
    }

    /// Its bytes. `with_size`: servers that know of it may answer in larger datagrams (EDNS, RFC 6891).
    ///
    /// # Errors
    ///
    /// It does not fit, which the longest name does.
    pub fn to_bytes(&self, with_size: bool) -> Result<Vec<u8>, String> {
        let refuse = |_| "the question is too long".to_string();
        let mut builder = MessageBuilder::from_target(Array::<512>::new()).map_err(|_| refuse(()))?;
        builder.header_mut().set_id(self.id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((&self.name, Rtype::SRV, Class::IN)).map_err(|_| refuse(()))?;
        let mut builder = builder.additional();
        if with_size {
            let size = |opt: &mut domain::base::message_builder::OptBuilder<_>| {
                opt.set_udp_payload_size(LARGEST_DATAGRAM);
                Ok(())
            };
            builder.opt(size).map_err(|_| refuse(()))?;
        }
        Ok(builder.finish().as_ref().to_vec())
    }

    /// What a message says; `None`: it is not an answer to this question.
    pub fn reply(&self, bytes: &[u8]) -> Option<Reply> {
        let message = Message::from_octets(bytes).ok().filter(|message| self.is_answered_by(message))?;
        let header = message.header();
        // What was cut off may be in the middle of anything.
        if header.tc() {
            return Some(Reply::Truncated);
        }
        Some(match message.opt_rcode() {
            OptRcode::NOERROR => {
                self.records(&message).unwrap_or_else(|_| Reply::Failed("a malformed answer".to_string()))
            }
            OptRcode::NXDOMAIN => Reply::NoName,
            OptRcode::FORMERR | OptRcode::NOTIMP | OptRcode::BADVERS => Reply::NotUnderstood,
            OptRcode::REFUSED => Reply::Refused,
            code => Reply::Failed(format!("the answer is {code}")),
        })
    }

    fn is_answered_by(&self, message: &Message<&[u8]>) -> bool {
        let header = message.header();
        if !header.qr() || header.id() != self.id {
            return false;
        }
        match message.header_counts().qdcount() {
            // Who understood nothing can repeat nothing.
            0 => matches!(header.rcode(), Rcode::FORMERR | Rcode::NOTIMP),
            1 => message.first_question().is_some_and(|question| {
                question.qtype() == Rtype::SRV && question.qclass() == Class::IN && *question.qname() == self.name
            }),
            _ => false,
        }
    }

    /// The records of the name, or of the one that it is an alias of.
    fn records(&self, message: &Message<&[u8]>) -> Result<Reply, ParseError> {
        let (name, mut ttl) = match self.aliases(message)? {
            None => (None, u32::MAX),
            Some((name, ttl)) => (Some(name), ttl),
        };
        let is_asked = |owner: &ParsedName<&[u8]>| match &name {
            Some(name) => owner == name,
            None => *owner == self.name,
        };
        let mut services = Vec::new();
        let mut any = false;
        for record in message.answer()?.limit_to_in::<Srv<ParsedName<&[u8]>>>() {
            let record = record?;
            if !is_asked(record.owner()) {
                continue;
            }
            any = true;
            ttl = ttl.min(seconds(record.ttl()));
            let srv = record.data();
            // The root: the service is decidedly not offered (RFC 2782).
            if srv.target().is_root() {
                continue;
            }
            let target = srv.target().to_string().to_ascii_lowercase();
            let (priority, weight, port) = (srv.priority(), srv.weight(), srv.port());
            services.push(Service { priority, weight, port, target, addresses: Vec::new() });
        }
        if !any {
            return Ok(name.map_or(Reply::NoRecords, |name| Reply::Alias(format!("{name}."), ttl)));
        }
        // Without the section that is beside the answer, there is the answer.
        let mut known = additional(message).unwrap_or_default();
        for service in &mut services {
            // Once for each host: many records for one with many addresses would come to far more than the answer has.
            if let Some((addresses, seconds)) = known.remove(&service.target) {
                service.addresses = addresses;
                ttl = ttl.min(seconds);
            }
        }
        Ok(Reply::Services(services, ttl))
    }

    /// What the name is an alias of, by the aliases in the answer, and how many seconds that holds.
    fn aliases<'a>(&self, message: &'a Message<&[u8]>) -> Result<Option<Alias<'a>>, ParseError> {
        let mut last: Option<Alias<'a>> = None;
        for _ in 0..MOST_ALIASES {
            let mut next = None;
            for record in message.answer()?.limit_to_in::<Cname<ParsedName<&[u8]>>>() {
                let record = record?;
                let is_alias = match &last {
                    Some((name, _)) => record.owner() == name,
                    None => *record.owner() == self.name,
                };
                if is_alias {
                    let ttl = last.map_or(u32::MAX, |(_, ttl)| ttl).min(seconds(record.ttl()));
                    next = Some((record.into_data().into_cname(), ttl));
                    break;
                }
            }
            if next.is_none() {
                return Ok(last);
            }
            last = next;
        }
        Err(ParseError::form_error("too many aliases"))
    }
}

/// The addresses in the additional section, by names as [`Service::target`] has them, and how many seconds these hold.
fn additional(message: &Message<&[u8]>) -> Result<HashMap<String, (Vec<IpAddr>, u32)>, ParseError> {
    let mut known: HashMap<String, (Vec<IpAddr>, u32)> = HashMap::new();
    let mut add = |owner: &ParsedName<&[u8]>, ip: IpAddr, ttl: Ttl| {
        let entry = known.entry(owner.to_string().to_ascii_lowercase()).or_insert((Vec::new(), u32::MAX));
        entry.0.push(ip);
        entry.1 = entry.1.min(seconds(ttl));
    };
    for record in message.additional()?.limit_to_in::<A>() {
        let record = record?;
        add(record.owner(), record.data().addr().octets().into(), record.ttl());
    }
    for record in message.additional()?.limit_to_in::<Aaaa>() {
        let record = record?;
        add(record.owner(), record.data().addr().octets().into(), record.ttl());
    }
    Ok(known)
}

/// A time to live, which is none where its first bit is set (RFC 2181).
fn seconds(ttl: Ttl) -> u32 {
    Some(ttl.as_secs()).filter(|&seconds| seconds <= i32::MAX as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Asked, Data, Says};
    use super::*;

    const NAME: &str = "_http._tcp.web.internal.";

    fn question() -> (Question, Asked) {
        let question = Question::new("_http._tcp.web.internal", 0x1234).unwrap();
        let bytes = question.to_bytes(true).unwrap();
        (question, Asked::parse(&bytes, ([127, 0, 0, 1], 1).into(), false))
    }

    fn service(port: u16, target: &str, addresses: &[&str]) -> Service {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Service { priority: 1, weight: 2, port, target: target.into(), addresses }
    }

    fn srv(owner: &str, ttl: u32, port: u16, target: &str) -> (String, u32, Data) {
        (owner.into(), ttl, Data::Srv(1, 2, port, target.into()))
    }

    fn reply(says: &Says) -> Option<Reply> {
        let (question, asked) = question();
        question.reply(&asked.answer(says))
    }

    #[test]
    fn a_question_says_how_much_can_be_answered() {
        let (question, asked) = question();
        assert_eq!((asked.id, asked.name.as_str(), asked.size), (0x1234, NAME, Some(1232)));
        let plain = question.to_bytes(false).unwrap();
        assert_eq!(Asked::parse(&plain, asked.from, false).size, None);
        let longest = ["a"; 127].join(".");
        assert!(Question::new(&longest, 1).unwrap().to_bytes(true).is_ok());
        for name in [&format!("{longest}.a"), "a..b", &"a".repeat(64), "\u{e9}.example"] {
            assert!(Question::new(name, 1).unwrap_err().starts_with("not a name: "), "{name}");
        }
    }

    #[test]
    fn records_have_the_addresses_that_came_with_them() {
        let (v4, v6) = (Data::Ip("192.0.2.1".parse().unwrap()), Data::Ip("2001:db8::1".parse().unwrap()));
        let says = Says {
            answer: vec![srv(NAME, 60, 80, "A.example."), srv(NAME, 50, 81, "b.example.")],
            additional: vec![
                ("a.EXAMPLE.".into(), 40, v4.clone()),
                ("a.example.".into(), 70, v6),
                ("c.example.".into(), 1, v4.clone()),
            ],
            ..Says::default()
        };
        let services = vec![service(80, "a.example", &["192.0.2.1", "2001:db8::1"]), service(81, "b.example", &[])];
        assert_eq!(reply(&says), Some(Reply::Services(services, 40)));
        // Several records for one host do not have its addresses again and again.
        let answer = [80, 81, 82].map(|port| srv(NAME, 60, port, "a.example.")).to_vec();
        let says = Says { answer, additional: vec![("a.example.".into(), 40, v4)], ..Says::default() };
        let services = vec![
            service(80, "a.example", &["192.0.2.1"]),
            service(81, "a.example", &[]),
            service(82, "a.example", &[]),
        ];
        assert_eq!(reply(&says), Some(Reply::Services(services, 40)));
        // A time to live that cannot be is none.
        let says = Says { answer: vec![srv(NAME, 1 << 31, 80, "a.example.")], ..Says::default() };
        assert_eq!(reply(&says), Some(Reply::Services(vec![service(80, "a.example", &[])], 0)));
    }

    #[test]
    fn names_may_be_compressed() {
        let (question, asked) = question();
        let mut bytes = asked.answer(&Says { answer: vec![srv(NAME, 9, 80, ".")], ..Says::default() });
        // The target's root label becomes a host in the domain of the name that was asked for.
        let domain = 12 + "-_http-_tcp".len() as u8;
        bytes.pop();
        bytes.extend([2, b'n', b'1', 0xc0, domain]);
        let length = bytes.len() - 11 - 2;
        bytes[length..length + 2].copy_from_slice(&11u16.to_be_bytes());
        let services = vec![service(80, "n1.web.internal", &[])];
        assert_eq!(question.reply(&bytes), Some(Reply::Services(services, 9)));
    }

    #[test]
    fn the_root_means_that_there_is_no_service() {
        let says = Says { answer: vec![srv(NAME, 60, 0, ".")], ..Says::default() };
        assert_eq!(reply(&says), Some(Reply::Services(Vec::new(), 60)));
        let says = Says { answer: vec![srv(NAME, 60, 0, "."), srv(NAME, 60, 80, "a.example.")], ..Says::default() };
        assert_eq!(reply(&says), Some(Reply::Services(vec![service(80, "a.example", &[])], 60)));
    }

    #[test]
    fn aliases_are_followed_as_far_as_the_answer_goes() {
        let alias = |owner: &str, name: &str, ttl| (owner.to_string(), ttl, Data::Cname(name.into()));
        let mut says = Says {
            answer: vec![alias("b.example.", "c.example.", 30), alias(NAME, "B.example.", 20)],
            ..Says::default()
        };
        assert_eq!(reply(&says), Some(Reply::Alias("c.example.".into(), 20)));
        says.answer.push(srv("C.example.", 40, 80, "a.example."));
        // Of another name, which nobody asked for.
        says.answer.push(srv("b.example.", 1, 81, "evil.example."));
        assert_eq!(reply(&says), Some(Reply::Services(vec![service(80, "a.example", &[])], 20)));
        says.answer.push(alias("c.example.", NAME, 20));
        assert_eq!(reply(&says), Some(Reply::Failed("a malformed answer".into())));
    }

    #[test]
    fn answers_without_records_say_why() {
        assert_eq!(reply(&Says::default()), Some(Reply::NoRecords));
        assert_eq!(reply(&Says::code(3)), Some(Reply::NoName));
        assert_eq!(reply(&Says::code(1)), Some(Reply::NotUnderstood));
        assert_eq!(reply(&Says::code(2)), Some(Reply::Failed("the answer is SERVFAIL".into())));
        assert_eq!(reply(&Says::code(5)), Some(Reply::Refused));
        assert_eq!(reply(&Says { is_truncated: true, ..Says::default() }), Some(Reply::Truncated));
    }

    #[test]
    fn only_an_answer_to_the_question_is_one() {
        let (question, asked) = question();
        let says = Says { answer: vec![srv(NAME, 60, 80, "a.example.")], ..Says::default() };
        assert_eq!(reply(&Says { wrong_by: 1, ..says.clone() }), None);
        let good = asked.answer(&says);
        assert!(question.reply(&good).is_some());
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            question.reply(&bytes)
        };
        assert_eq!(changed(2, 0x01), None, "a question");
        assert_eq!(changed(13, b'x'), None, "another name");
        let kind = 12 + NAME.len() + 2;
        assert_eq!(changed(kind, 1), None, "another type");
        assert_eq!(changed(kind + 2, 3), None, "another class");
        assert_eq!(changed(5, 0), None, "no question");
        assert!(changed(14, b'H').is_some(), "letters are the same, large or small");
        // Who understands nothing repeats nothing.
        assert_eq!(question.reply(&[0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Some(Reply::NotUnderstood));
        assert_eq!(question.reply(&[0x12, 0x34, 0x80, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    /// Whatever comes: at worst it is no answer. Where a test fails, the seed says with which bytes.
    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let (question, asked) = question();
        let ip = |text: &str| Data::Ip(text.parse().unwrap());
        let says = Says {
            answer: vec![
                (NAME.into(), 5, Data::Cname("b.example.".into())),
                srv("b.example.", 60, 80, "a.example."),
                srv("b.example.", 60, 81, "c.example."),
            ],
            additional: vec![("a.example.".into(), 7, ip("192.0.2.1")), ("c.example.".into(), 7, ip("2001:db8::1"))],
            ..Says::default()
        };
        let good = asked.answer(&says);
        assert!(matches!(question.reply(&good), Some(Reply::Services(..))));
        for length in 0..good.len() {
            let _ = question.reply(&good[..length]);
        }
        let mut answers = 0;
        for seed in 1..30_000u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                // splitmix64
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) % below as u64) as usize
            };
            let mut bytes = good.clone();
            // Behind the question, so that most are answers; where pointers and lengths are, small numbers matter.
            for _ in 0..=random(6) {
                let at = if random(8) == 0 { random(bytes.len()) } else { 6 + random(bytes.len() - 6) };
                bytes[at] = [random(256), random(16), 0xc0, 0xff][random(4)] as u8;
            }
            bytes.truncate(bytes.len() - [0, random(bytes.len())][random(2)]);
            answers += usize::from(question.reply(&bytes).is_some());
        }
        assert!(answers > 5_000, "{answers}");
    }

    /// An answer over TCP can be long, and a hostile one made so that it takes long to read.
    #[test]
    fn a_long_answer_takes_no_longer_than_its_length_asks_for() {
        let (question, asked) = question();
        let mut answer: Vec<_> = (0..1000).map(|n| srv(NAME, 60, n, "a.example.")).collect();
        answer.extend((0..1000).map(|n| (format!("x{n}."), 60, Data::Cname(format!("x{}.", n + 1)))));
        let says = Says { answer, ..Says::default() };
        let bytes = asked.answer(&says);
        assert!(bytes.len() < 65536, "{}", bytes.len());
        let start = std::time::Instant::now();
        assert!(matches!(question.reply(&bytes), Some(Reply::Services(services, 60)) if services.len() == 1000));
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
