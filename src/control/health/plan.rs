//! How the remotes of a service are checked, ready for use.

use crate::config::balancing::CheckSettings;
use crate::proxy_header::Version;
use crate::service::local::LocalAddress;

/// Checks begin at times that are so many to an interval: those that begin together cost less, as the thread is woken for
/// all of them at once.
const TIMES: u64 = 16;

/// These times are no farther from each other than this, in milliseconds: checks are spread over the interval.
const MOST_APART: u64 = 64;

/// One of so many checks begins one of these times earlier than the interval says, so that those which began together do
/// not stay together.
const SELDOM: u32 = 8;

/// The options of checks; times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// From the beginning of one check to that of the next, at most; a check that takes longer has the next one begin at its
    /// end.
    pub interval: u64,
    /// How long one check may take.
    pub timeout: u64,
    /// After so many in a row that passed, a remote is up.
    pub rise: u32,
    /// After so many in a row that failed, it is down.
    pub fall: u32,
    /// What is sent.
    pub send: Vec<u8>,
    /// The same as one frame, for a stream that carries datagrams.
    pub framed: Vec<u8>,
    /// What the answer must have in it.
    pub expect: Vec<u8>,
    /// The version of the PROXY header that goes before all else, if one does.
    pub header: Option<Version>,
    /// Which address of ours its connections have; not a client's.
    pub local: LocalAddress,
}

impl Plan {
    /// The options of a service; `None`: nothing is checked.
    pub fn new(settings: &CheckSettings, header: Option<Version>) -> Option<Plan> {
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let interval = milliseconds(settings.interval?);
        let send = settings.send.clone();
        let length = u16::try_from(send.len()).unwrap_or(u16::MAX);
        let framed = match send.is_empty() {
            true => Vec::new(),
            false => length.to_be_bytes().iter().chain(&send).copied().collect(),
        };
        Some(Plan {
            interval,
            timeout: match settings.timeout {
                Some(timeout) => milliseconds(timeout),
                // A remote that says nothing is found down after so many intervals, and a little more.
                None => milliseconds(CheckSettings::TIMEOUT).min(interval / 4 * 3).max(1),
            },
            rise: settings.rise,
            fall: settings.fall,
            send,
            framed,
            expect: settings.expect.clone(),
            header,
            local: LocalAddress::System,
        })
    }

    /// What is sent, with its length before it where datagrams are framed.
    pub fn text(&self, framed: bool) -> &[u8] {
        if framed { &self.framed } else { &self.send }
    }

    /// Whether a check is more than a connection.
    pub fn talks(&self) -> bool {
        !self.send.is_empty() || !self.expect.is_empty()
    }

    /// When the first check begins, with a number from 0 to `u32::MAX` that was drawn: at any time of the interval.
    pub fn first(&self, now: u64, drawn: u32) -> u64 {
        self.at_once_with_others(now.saturating_add(part(self.interval, drawn))).max(now)
    }

    /// When the check after one that began at this time begins, with such a number: never later than the interval says.
    pub fn next(&self, began: u64, drawn: u32) -> u64 {
        let earlier = if drawn < u32::MAX / SELDOM { self.apart() } else { 0 };
        self.at_once_with_others(began.saturating_add(self.interval - earlier))
    }

    /// The last time at which checks begin that is no later than this.
    fn at_once_with_others(&self, time: u64) -> u64 {
        time - time % self.apart()
    }

    fn apart(&self) -> u64 {
        (self.interval / TIMES).clamp(1, MOST_APART)
    }
}

/// A part of `whole` as large as `drawn` is of all that can be drawn.
fn part(whole: u64, drawn: u32) -> u64 {
    ((u128::from(whole) * u128::from(drawn)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plan(interval: Duration) -> Plan {
        let settings = CheckSettings { interval: Some(interval), ..CheckSettings::default() };
        Plan::new(&settings, None).unwrap()
    }

    #[test]
    fn nothing_is_checked_without_an_interval() {
        assert_eq!(Plan::new(&CheckSettings::default(), None), None);
    }

    #[test]
    fn without_a_timeout_a_check_is_over_before_the_next_begins() {
        assert_eq!(plan(Duration::from_secs(60)).timeout, 2000);
        for interval in [1, 2, 10, 500, 1000, 2000] {
            let plan = plan(Duration::from_millis(interval));
            assert!(plan.timeout <= (interval * 3 / 4).max(1), "{plan:?}");
            assert!(plan.next(0, u32::MAX) >= plan.timeout.min(interval), "{plan:?}");
        }
        // Two that fail are over soon: 0.5 s until the first, and as long again, and what the second takes.
        assert!(500 + 500 + plan(Duration::from_millis(500)).timeout < 1400);
    }

    #[test]
    fn a_timeout_that_is_given_holds_as_it_is() {
        for timeout in [1, 99, 2000, 60_000] {
            let interval = Some(Duration::from_millis(100));
            let settings =
                CheckSettings { interval, timeout: Some(Duration::from_millis(timeout)), ..Default::default() };
            assert_eq!(Plan::new(&settings, None).unwrap().timeout, timeout);
        }
    }

    #[test]
    fn checks_are_never_later_than_the_interval_and_not_all_at_once() {
        let plan = plan(Duration::from_secs(8));
        assert_eq!((plan.first(5, 0), plan.first(5, 1 << 31), plan.first(5, u32::MAX)), (5, 3968, 8000));
        assert_eq!((plan.next(4000, 0), plan.next(4000, 1 << 31)), (11_904, 11_968));
        for (interval, number) in (10..3000).zip(0_u32..) {
            let plan = Plan { interval, ..plan.clone() };
            let next = plan.next(100_000, number.wrapping_mul(0x9e37_79b9));
            assert!((100_000 + interval * 7 / 8..=100_000 + interval).contains(&next), "{interval} {next}");
        }
        let long = Plan { interval: u64::MAX, ..plan };
        assert_eq!(long.next(5, u32::MAX), u64::MAX - u64::MAX % 64);
    }

    #[test]
    fn a_frame_has_its_length_before_it() {
        let settings =
            CheckSettings { interval: Some(Duration::from_secs(1)), send: b"ab".to_vec(), ..Default::default() };
        assert_eq!(Plan::new(&settings, None).unwrap().text(true), b"\0\x02ab");
    }
}
