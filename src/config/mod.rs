//! What the proxy is asked to do: settings, the table of what can be asked, the file, and the units.

pub mod access;
pub mod access_log;
pub mod balancing;
pub mod caps;
pub mod capture;
pub mod draft;
pub mod escapes;
pub mod file;
pub mod hours;
pub mod inspection;
pub mod judge;
pub mod keys;
pub mod limits;
pub mod loops;
pub mod origin;
pub mod proxy;
pub mod settings;
pub mod striping;
pub mod units;
