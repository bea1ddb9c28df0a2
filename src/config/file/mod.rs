//! The configuration file: from TOML to [`Settings`], with every error and its place, and back.
//!
//! Its keys are those of the one table ([`crate::config::keys`]), and each takes its value as the flag does.

pub mod error;
pub mod example;
mod include;
mod print;
mod read;
mod service;
pub mod source;
mod syntax;
mod value;

pub use error::{ConfigError, Position};
pub use print::print;

use crate::address::EndpointAddress;
use crate::config::draft::{Problem, ProcessDraft};
use crate::config::keys::{Key, Scope};
use crate::config::settings::{ServiceSettings, Settings};
use std::path::{Path, PathBuf};

/// Options of the process that the command line set: they win over the file, whenever it is read.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<(&'static Key, String)>);

impl Overrides {
    /// Adds one, as the command line gave it.
    pub fn add(&mut self, key: &'static Key, value: &str) {
        self.0.push((key, value.to_string()));
    }

    /// Takes them into the process's settings.
    fn apply(&self, draft: &mut ProcessDraft) -> Result<(), Problem> {
        for (key, value) in &self.0 {
            if let Scope::Process { set, .. } = key.scope {
                set(draft, value)?;
            }
        }
        Ok(())
    }
}

/// Where settings come from when they come from a file, so that they can be read again.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The file.
    pub path: PathBuf,
    /// What wins over it.
    pub overrides: Overrides,
}

impl ConfigSource {
    /// Reads the file as it is now; see [`load`].
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn load(&self) -> Result<Settings, Vec<ConfigError>> {
        load(&self.path, &self.overrides)
    }
}

/// Reads a file and those that it includes, looks names up, and judges it all. Nothing is bound, nothing is kept.
///
/// # Errors
///
/// All that is wrong, file by file and from top to bottom; never empty.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Settings, Vec<ConfigError>> {
    read::read(path, overrides)
}

/// Listeners that would take the same address, by their numbers among all listeners of all services, in their order.
///
/// Port 0 stands for any free port and is never taken twice.
pub fn taken_twice<'s>(listeners: impl Iterator<Item = &'s EndpointAddress>) -> Vec<(usize, usize)> {
    let mut first = std::collections::HashMap::new();
    let mut twice = Vec::new();
    for (number, address) in listeners.enumerate() {
        let Some(taken) = taken_by(address) else { continue };
        match first.entry(taken) {
            std::collections::hash_map::Entry::Occupied(entry) => twice.push((*entry.get(), number)),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(number);
            }
        }
    }
    twice
}

/// What listening at an address takes, as a text that no other kind of thing has.
fn taken_by(address: &EndpointAddress) -> Option<String> {
    match address {
        EndpointAddress::Tcp(address) => (address.port() != 0).then(|| format!("tcp:{address}")),
        EndpointAddress::Udp(address) => (address.port() != 0).then(|| format!("udp:{address}")),
        EndpointAddress::Unix(address)
        | EndpointAddress::UnixPacket(address)
        | EndpointAddress::UnixDatagram(address) => Some(format!("unix:{address:?}")),
        EndpointAddress::Stripe(stripe) => taken_by(&EndpointAddress::Tcp(stripe.first())),
        EndpointAddress::Framed(stream) => taken_by(stream),
        EndpointAddress::Device(_, name) => Some(format!("device:{name}")),
        EndpointAddress::Echo | EndpointAddress::Original => None,
    }
}

/// What a service without a name is called in a file.
pub const DEFAULT_NAME: &str = "default";

/// Whether this can be the name of a service.
pub fn is_service_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The listeners' addresses of services, in their order.
pub fn listening(services: &[ServiceSettings]) -> impl Iterator<Item = &EndpointAddress> {
    services.iter().flat_map(ServiceSettings::listening)
}
