//! What a service asks for where one of its addresses is a stripe, and what is to be said of it.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::ServiceSettings;
use crate::address::{EndpointAddress, Endpoints, StripeAddress};
use crate::base::text::Escaped;
use crate::stripe::MOST_LANES;
use crate::stripe::key::StripeKey;

/// The options of the stripes of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeSettings {
    /// How many lanes a session with a stripe as its remote has; from 1 to [`StripeSettings::MAX_LANES`].
    pub lanes: u8,
    /// The addresses of ours that lanes are bound to in turn; empty: the system's choice.
    pub lane_sources: Vec<IpAddr>,
    /// How long a session lives without any lane; never zero.
    pub lane_timeout: Duration,
    /// How many bytes of one direction may be kept at each end of a session, at most; from
    /// [`StripeSettings::MIN_WINDOW`] to [`StripeSettings::MAX_WINDOW`].
    pub window: u64,
    /// Which lane bytes go on.
    pub mode: StripeMode,
    /// The keys that both ends have; `None`: lanes are neither encrypted nor authenticated.
    pub keys: Option<KeyFile>,
}

impl Default for StripeSettings {
    fn default() -> StripeSettings {
        StripeSettings {
            lanes: Self::DEFAULT_LANES,
            lane_sources: Vec::new(),
            lane_timeout: Self::DEFAULT_LANE_TIMEOUT,
            window: Self::DEFAULT_WINDOW,
            mode: StripeMode::UntilCongested,
            keys: None,
        }
    }
}

impl StripeSettings {
    /// The `--lanes` where none are given.
    pub const DEFAULT_LANES: u8 = 4;
    /// The most that `--lanes` takes, and the most `--lane-source` that are taken.
    pub const MAX_LANES: u8 = MOST_LANES as u8;
    /// The `--lane-timeout` where none is given.
    pub const DEFAULT_LANE_TIMEOUT: Duration = Duration::from_secs(30);
    /// The `--stripe-window` where none is given.
    pub const DEFAULT_WINDOW: u64 = 16 << 20;
    /// The least that `--stripe-window` takes.
    pub const MIN_WINDOW: u64 = 64 << 10;
    /// The most that `--stripe-window` takes.
    pub const MAX_WINDOW: u64 = 1 << 30;
}

/// Which lane the bytes of a session go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripeMode {
    /// On the one that is expected to be done with them first.
    UntilCongested,
    /// On each in turn.
    RoundRobin,
    /// On all of them.
    Redundant,
}

/// A file of keys, as it was when the settings were made.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The file, by an absolute path.
    pub path: PathBuf,
    /// What stands in it: one key or two.
    pub keys: Vec<StripeKey>,
    /// What is to be warned of, in words that can follow the file's name.
    pub warning: Option<String>,
}

/// The same file with the same keys: who may read it changes nothing.
impl PartialEq for KeyFile {
    fn eq(&self, other: &KeyFile) -> bool {
        self.path == other.path && self.keys == other.keys
    }
}

impl Eq for KeyFile {}

/// What is wrong with a key that has no stripe to be used for: somebody believes that something is encrypted.
pub fn useless_key(service: &ServiceSettings) -> Option<String> {
    let file = service.stripe.keys.as_ref()?;
    let remotes = service.remotes.iter().map(|remote| &remote.endpoints);
    let path = file.path.display();
    (!service.listeners.iter().chain(remotes).any(Endpoints::is_stripe)).then(|| {
        format!("invalid stripe key {path}: the service has no stripe: address, so nothing would be encrypted")
    })
}

/// What is to be warned of: a line for each address whose lanes leave this machine without a key, and what the file of
/// keys is like.
pub fn warnings(service: &ServiceSettings) -> Vec<String> {
    let of = if service.name.is_empty() { String::new() } else { format!("service {}: ", service.name) };
    if let Some(file) = &service.stripe.keys {
        let path = Escaped(file.path.as_os_str().as_bytes());
        return file.warning.iter().map(|warning| format!("{of}stripe key {path}: {warning}")).collect();
    }
    let leaves = |address: &EndpointAddress| address.stripe().is_some_and(|stripe| !StripeAddress::is_loopback(stripe));
    let warning = |what: &str, endpoints: &Endpoints| {
        format!(
            "{of}{what} {}: without a key (--stripe-key) anybody on the way can read and change what its lanes carry, \
             and add lanes",
            Escaped(endpoints.argument.as_bytes())
        )
    };
    let listeners = service.listeners.iter().filter(|endpoints| endpoints.addresses.first().is_some_and(leaves));
    let remotes = service.remotes.iter().map(|remote| &remote.endpoints);
    // Nobody knows where one leads whose name has no address yet.
    let unknown = |endpoints: &Endpoints| endpoints.addresses.is_empty() && endpoints.is_stripe();
    let remotes = remotes.filter(|endpoints| unknown(endpoints) || endpoints.addresses.iter().any(leaves));
    let listeners = listeners.map(|endpoints| warning("listener", endpoints));
    listeners.chain(remotes.map(|endpoints| warning("remote", endpoints))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, listeners: &[&str], remote: &str) -> ServiceSettings {
        let endpoints = |argument: &str| Endpoints::parse(argument).unwrap();
        ServiceSettings::new(name, listeners.iter().map(|listener| endpoints(listener)).collect(), endpoints(remote))
    }

    fn key_file() -> KeyFile {
        KeyFile { path: "/keys".into(), keys: Vec::new(), warning: None }
    }

    #[test]
    fn a_stripe_without_a_key_is_warned_of_unless_it_stays_here() {
        let reason = "without a key (--stripe-key) anybody on the way can read and change what its lanes carry, \
                      and add lanes";
        for (listeners, remote, expected) in [
            (&["0.0.0.0:1"][..], "192.0.2.1:1", &[][..]),
            (&["stripe:127.0.0.1:1"], "192.0.2.1:1", &[]),
            (&["0.0.0.0:1"], "stripe:127.0.0.1:1+[::1]:2", &[]),
            (&["0.0.0.0:1"], "stripe:127.0.0.1:1+192.0.2.1:1", &["remote stripe:127.0.0.1:1+192.0.2.1:1"]),
            (&["0.0.0.0:1"], "framed:stripe:192.0.2.1:1", &["remote framed:stripe:192.0.2.1:1"]),
            (
                &["stripe:0.0.0.0:1", "stripe:127.0.0.1:1", "framed:stripe:[::]:2"],
                "stripe:192.0.2.1:1",
                &["listener stripe:0.0.0.0:1", "listener framed:stripe:[::]:2", "remote stripe:192.0.2.1:1"],
            ),
        ] {
            for (name, before) in [("", ""), ("a", "service a: ")] {
                let mut service = service(name, listeners, remote);
                let expected: Vec<_> = expected.iter().map(|what| format!("{before}{what}: {reason}")).collect();
                assert_eq!(warnings(&service), expected);
                service.stripe.keys = Some(key_file());
                assert_eq!(warnings(&service), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_file_of_keys_that_others_can_read_is_warned_of_and_is_the_same() {
        let mut service = service("a", &["stripe:127.0.0.1:1"], "echo:");
        service.stripe.keys = Some(KeyFile { warning: Some("bad".into()), ..key_file() });
        assert_eq!(warnings(&service), ["service a: stripe key /keys: bad"]);
        assert_eq!(service.stripe.keys, Some(key_file()));
    }

    #[test]
    fn a_stripe_whose_name_has_no_address_yet_is_a_stripe() {
        let mut service = service("", &["127.0.0.1:1"], "stripe:127.0.0.1:1");
        service.remotes[0].endpoints.addresses.clear();
        assert_eq!(warnings(&service).len(), 1);
        service.stripe.keys = Some(key_file());
        assert_eq!(useless_key(&service), None);
    }

    #[test]
    fn a_key_without_a_stripe_is_useless() {
        let mut plain = service("", &["127.0.0.1:1"], "framed:192.0.2.1:1");
        assert_eq!(useless_key(&plain), None);
        plain.stripe.keys = Some(key_file());
        let expected = "invalid stripe key /keys: the service has no stripe: address, so nothing would be encrypted";
        assert_eq!(useless_key(&plain), Some(expected.to_string()));
        for (listener, remote) in [("framed:stripe:127.0.0.1:1", "echo:"), ("127.0.0.1:1", "stripe:127.0.0.1:2")] {
            let stripe = ServiceSettings { stripe: plain.stripe.clone(), ..service("", &[listener], remote) };
            assert_eq!(useless_key(&stripe), None);
        }
    }
}
