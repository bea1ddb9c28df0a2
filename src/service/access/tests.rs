use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn rules(texts: &[&str]) -> Vec<AccessRule> {
    let rule = |text: &&str| {
        let (word, clients) = text.split_once(' ').unwrap();
        let decision = if word == "allow" { Decision::Allow } else { Decision::Deny };
        AccessRule { decision, clients: Clients::parse(clients, "/".as_ref()).unwrap() }
    };
    texts.iter().map(rule).collect()
}

fn access(texts: &[&str]) -> Access {
    Access::new(&rules(texts)).unwrap()
}

fn ip(address: &str) -> ClientAddress {
    ClientAddress::Ip(address.parse().unwrap())
}

#[test]
fn the_first_rule_that_matches_decides() {
    let some = ["deny 10.1.0.0/16", "allow 10.0.0.0/8", "deny all", "allow 192.0.2.1"];
    for (rules, client, expected) in [
        (&some[..], "10.0.0.1", true),
        (&some, "10.1.0.1", false),
        (&some, "::ffff:10.2.0.1", true),
        (&some, "::ffff:10.1.0.1", false),
        (&some, "192.0.2.1", false),
        (&some, "::1", false),
        // Where none matches.
        (&["allow 10.0.0.0/8"], "192.0.2.1", false),
        (&["allow 10.0.0.0/8"], "::1", false),
        (&["deny 10.0.0.0/8"], "192.0.2.1", true),
        (&["deny 10.0.0.0/8"], "::1", true),
        (&["deny 10.0.0.0/8", "allow unix"], "192.0.2.1", false),
        // The other order.
        (&["allow 10.0.0.0/8", "deny 10.1.0.0/16"], "10.1.0.1", true),
        // Every address of IPv6 is none of IPv4.
        (&["deny ::/0"], "::ffff:192.0.2.1", true),
        (&["deny ::ffff:0:0/96"], "192.0.2.1", false),
    ] {
        assert_eq!(access(rules).decide(ip(client)), expected, "{rules:?} {client}");
    }
    assert!(Access::new(&[]).is_none());
}

#[test]
fn clients_of_unix_sockets_have_a_word_of_their_own() {
    for (rules, expected) in [
        (&["allow unix"][..], true),
        (&["deny unix"], false),
        (&["allow all"], true),
        (&["deny all", "allow unix"], false),
        (&["allow unix", "deny all"], true),
        (&["allow 0.0.0.0/0", "allow ::/0"], false),
        (&["deny 0.0.0.0/0", "deny ::/0"], true),
    ] {
        assert_eq!(access(rules).decide(ClientAddress::Unix), expected, "{rules:?}");
    }
    assert!(!access(&["allow unix"]).decide(ip("127.0.0.1")) && access(&["deny unix"]).decide(ip("127.0.0.1")));
}

/// Numbers by a seed: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// An address, mostly near others: at the ends of all addresses, or around one of few.
    fn address(&mut self) -> IpAddr {
        let near = self.below(9) as i128 - 4;
        let kind = self.below(4);
        if self.below(2) == 0 {
            let base = [0, u32::MAX, 0x0a00_0100, 0x0a00_0000 | self.below(512) as u32][kind as usize];
            IpAddr::V4(base.wrapping_add(near as u32).into())
        } else {
            let base = [0, u128::MAX, 0x2001_0db8 << 96, (0x2001_0db8 << 96) | u128::from(self.below(512))];
            let address = Ipv6Addr::from(base[kind as usize].wrapping_add(near as u128));
            IpAddr::V6(address)
        }
    }

    /// The length of a network, mostly a long one.
    fn length(&mut self, bits: u64) -> u32 {
        let short = self.below(6) == 0;
        (if short { self.below(bits + 1) } else { bits - self.below(10) }) as u32
    }
}

/// A network as the model knows it: a number, how many bits it has, and how many of them are the network's.
#[derive(Debug, Clone, Copy)]
struct Model {
    number: u128,
    bits: u32,
    length: u32,
}

impl Model {
    fn draw(random: &mut Random) -> Model {
        match random.address() {
            IpAddr::V4(address) => Model::of(u32::from(address).into(), 32, random.length(32)),
            IpAddr::V6(address) => Model::of(address.into(), 128, random.length(128)),
        }
    }

    /// The network of an address.
    fn of(address: u128, bits: u32, length: u32) -> Model {
        let number = if length == 0 { 0 } else { (address >> (bits - length)) << (bits - length) };
        Model { number, bits, length }
    }

    fn text(&self) -> String {
        let address = match self.bits {
            32 => IpAddr::V4(Ipv4Addr::from(self.number as u32)),
            _ => IpAddr::V6(self.number.into()),
        };
        format!("{address}/{}", self.length)
    }

    fn has(&self, address: IpAddr) -> bool {
        let (address, bits) = match address {
            IpAddr::V4(address) => (u32::from(address).into(), 32),
            IpAddr::V6(address) => (address.into(), 128),
        };
        self.bits == bits && Model::of(address, bits, self.length).number == self.number
    }
}

/// What a rule of the model matches.
#[derive(Debug)]
enum Matches {
    All,
    Networks(Vec<Model>),
}

#[test]
fn rules_decide_as_one_after_the_other_would() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let count = 1 + random.below(24);
        let mut model = Vec::new();
        let mut rules = Vec::new();
        for _ in 0..count {
            let decision = if random.below(2) == 0 { Decision::Allow } else { Decision::Deny };
            let network =
                |model: &Model| Network::parse(&model.text()).unwrap_or_else(|error| panic!("{error}: {model:?}"));
            let (matches, clients) = match random.below(20) {
                0 => (Matches::All, Clients::All),
                1..4 => {
                    let models: Vec<_> = (0..random.below(12)).map(|_| Model::draw(&mut random)).collect();
                    let networks = models.iter().map(network).collect();
                    let file = NetworkFile { path: "/networks".into(), networks };
                    (Matches::Networks(models), Clients::Listed(Arc::new(file)))
                }
                _ => {
                    let model = Model::draw(&mut random);
                    (Matches::Networks(vec![model]), Clients::In(network(&model), model.text()))
                }
            };
            model.push((decision, matches));
            rules.push(AccessRule { decision, clients });
        }
        let access = Access::new(&rules).unwrap();
        let expected = |address: IpAddr| {
            let first = model.iter().find(|(_, matches)| match matches {
                Matches::All => true,
                Matches::Networks(networks) => networks.iter().any(|network| network.has(address)),
            });
            let decision = first.map(|(decision, _)| *decision);
            decision.map_or(model.iter().all(|(decision, _)| *decision == Decision::Deny), |d| d == Decision::Allow)
        };
        for _ in 0..60 {
            let address = random.address().to_canonical();
            assert_eq!(
                access.decide(ClientAddress::Ip(address)),
                expected(address),
                "seed {seed}: {address}\n{model:#?}\n{access:#?}"
            );
        }
    }
}

#[test]
fn a_file_keeps_its_place() {
    let file = |texts: &[&str]| {
        let networks = texts.iter().map(|text| Network::parse(text).unwrap()).collect();
        Clients::Listed(Arc::new(NetworkFile { path: "/networks".into(), networks }))
    };
    let mut list = rules(&["allow 10.0.0.1", "allow 10.0.0.0/24", "allow all"]);
    list.insert(1, AccessRule { decision: Decision::Deny, clients: file(&["10.0.0.0/30", "192.0.2.0/24"]) });
    let access = Access::new(&list).unwrap();
    for (client, expected) in
        [("10.0.0.1", true), ("10.0.0.2", false), ("10.0.0.4", true), ("192.0.2.7", false), ("::1", true)]
    {
        assert_eq!(access.decide(ip(client)), expected, "{client}");
    }
}
