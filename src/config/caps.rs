//! How fast bytes may move, as a service asks for it.

use std::fmt;
use std::num::NonZeroU64;

/// Caps, in bytes a second; `None`: as fast as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSettings {
    /// From the client to the remote, in each session.
    pub upload: Option<NonZeroU64>,
    /// From the remote to the client, in each session.
    pub download: Option<NonZeroU64>,
    /// From clients to remotes, in all sessions of the service together.
    pub total_upload: Option<NonZeroU64>,
    /// From remotes to clients, in all sessions of the service together.
    pub total_download: Option<NonZeroU64>,
}

/// One of the caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapName {
    /// [`CapSettings::upload`].
    Upload,
    /// [`CapSettings::download`].
    Download,
    /// [`CapSettings::total_upload`].
    TotalUpload,
    /// [`CapSettings::total_download`].
    TotalDownload,
}

/// The option by which it is asked for.
impl fmt::Display for CapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CapName::Upload => "upload-rate",
            CapName::Download => "download-rate",
            CapName::TotalUpload => "total-upload-rate",
            CapName::TotalDownload => "total-download-rate",
        })
    }
}
