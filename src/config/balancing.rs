//! What concerns the choice of a remote, and how it is found out which of them work.

use std::time::Duration;

/// How a service's remotes are chosen, and which of them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// How the next one is chosen.
    pub balance: Balance,
    /// How many others are tried when one cannot be connected to; `None`: all.
    pub retries: Option<u32>,
    /// How long all attempts of a session may take together; `None`: as long as each of them may.
    pub retry_timeout: Option<Duration>,
    /// After so many failed connects a remote is out; 0: never.
    pub max_fails: u32,
    /// Within which time these count, and how long the remote is out at first.
    pub fail_timeout: Duration,
    /// How remotes are checked.
    pub check: CheckSettings,
    /// Within which time a remote that comes back gets its whole share; `None`: at once.
    pub slow_start: Option<Duration>,
    /// What becomes of the sessions of a remote that is found down.
    pub on_down: OnDown,
    /// How often names are looked up again; `None`: never.
    pub resolve: Option<Duration>,
}

/// How remotes are checked without a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// How often; `None`: never.
    pub interval: Option<Duration>,
    /// How long one check may take; `None`: as long as [`CheckSettings::TIMEOUT`], and at most three quarters of the interval.
    pub timeout: Option<Duration>,
    /// After so many checks in a row that succeeded, a remote that was down is up.
    pub rise: u32,
    /// After so many in a row that failed, it is down.
    pub fall: u32,
    /// What is sent; empty: nothing.
    pub send: Vec<u8>,
    /// What the answer must have in it; empty: no answer is waited for.
    pub expect: Vec<u8>,
}

/// How the next remote is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, each as often as its weight says and as evenly as can be.
    RoundRobin,
    /// The one with the fewest sessions for its weight.
    LeastSessions,
    /// Two are drawn, and the one with fewer sessions for its weight is taken.
    Random,
    /// The client's address decides.
    Source,
}

/// What becomes of the sessions of a remote that is found down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// They go on.
    Keep,
    /// They are reset, so that the clients go elsewhere.
    Reset,
}

impl PoolSettings {
    /// The least that `--resolve` takes, apart from none.
    pub const MIN_RESOLVE: Duration = Duration::from_millis(100);
}

impl CheckSettings {
    /// The least that `--check-interval` takes, apart from none.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(10);
    /// How long a check may take where nothing else is said, if the interval is long enough.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// The most bytes that are sent, or that are expected.
    pub const MAX_TEXT: usize = 16 << 10;
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            balance: Balance::RoundRobin,
            retries: None,
            retry_timeout: None,
            max_fails: 3,
            fail_timeout: Duration::from_secs(10),
            check: CheckSettings::default(),
            slow_start: None,
            on_down: OnDown::Keep,
            resolve: None,
        }
    }
}

impl Default for CheckSettings {
    fn default() -> CheckSettings {
        CheckSettings { interval: None, timeout: None, rise: 2, fall: 3, send: Vec::new(), expect: Vec::new() }
    }
}
