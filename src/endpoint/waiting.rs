//! Who waits for a shared socket to take more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::datagram::Origin;

/// How long a client waits after its first failure where no event can be relied on; after each further one, twice as
/// long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// How many lengths of pauses there are; the last is 1.024 s.
const PAUSES: usize = 11;

/// Events wake a client after so many failures at most: the room that they tell of was somebody else's.
const MOST_WOKEN: usize = 4;

/// The clients of one socket that wait.
#[derive(Debug)]
pub enum Waiting {
    /// For the socket, whose next writable event wakes them all.
    ForSocket(Vec<Origin>),
    /// For the receiver's queue, each for its own: when it was full, and who, by failures in a row.
    ///
    /// The system tells of room in the queue by a writable event of the socket, but it does not say in whose, and says
    /// nothing where the reader was faster than we. It also makes such an event of each failed send. So clients are
    /// tried again by time as well, and less and less often, or one that never reads would keep the thread busy.
    ForReceivers {
        /// The pauses, the shortest first; those of one length end in the order in which they began.
        pauses: Box<[VecDeque<(Instant, Origin)>; PAUSES]>,
        /// The next writable event is that of a failed send.
        failed: bool,
    },
}

impl Waiting {
    /// Nobody, at a socket whose events say when it takes more.
    pub fn for_socket() -> Waiting {
        Waiting::ForSocket(Vec::new())
    }

    /// Nobody, at a socket whose clients have queues of their own.
    pub fn for_receivers() -> Waiting {
        Waiting::ForReceivers { pauses: Box::default(), failed: false }
    }

    /// Adds a client that could not be sent to, and had not been `failures` times before, one after the other.
    pub fn add(&mut self, client: &Origin, failures: u8) {
        match self {
            Waiting::ForSocket(clients) => clients.push(client.clone()),
            Waiting::ForReceivers { pauses, failed } => {
                let pause = usize::from(failures).min(PAUSES - 1);
                pauses[pause].push_back((Instant::now() + FIRST_PAUSE * (1 << pause), client.clone()));
                *failed = true;
            }
        }
    }

    /// Whether an event that says that the socket takes more is news.
    pub fn is_news(&mut self) -> bool {
        match self {
            Waiting::ForSocket(clients) => !clients.is_empty(),
            Waiting::ForReceivers { failed, .. } => !std::mem::take(failed),
        }
    }

    /// Removes those that need not wait any longer; `writable`: an event said that the socket takes more.
    pub fn take(&mut self, writable: bool, now: Instant, woken: &mut Vec<Origin>) {
        match self {
            Waiting::ForSocket(clients) if writable => woken.append(clients),
            Waiting::ForSocket(_) => {}
            Waiting::ForReceivers { pauses, .. } => {
                for (failures, waiting) in pauses.iter_mut().enumerate() {
                    let by_event = writable && failures < MOST_WOKEN;
                    let over = waiting.iter().take_while(|(until, _)| by_event || *until <= now).count();
                    woken.extend(waiting.drain(..over).map(|(_, client)| client));
                }
            }
        }
    }

    /// Whether nobody waits, and no event of a failed send is to come.
    pub fn is_empty(&self) -> bool {
        match self {
            Waiting::ForSocket(clients) => clients.is_empty(),
            Waiting::ForReceivers { pauses, failed } => !failed && pauses.iter().all(VecDeque::is_empty),
        }
    }

    /// When the first of them is to be tried again though no event came.
    pub fn retry_at(&self) -> Option<Instant> {
        match self {
            Waiting::ForSocket(_) => None,
            Waiting::ForReceivers { pauses, .. } => pauses.iter().filter_map(|waiting| Some(waiting.front()?.0)).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn client(port: u16) -> Origin {
        Origin { peer: SocketAddr::from(([127, 0, 0, 1], port)).into(), local: None }
    }

    fn taken(waiting: &mut Waiting, writable: bool, now: Instant) -> Vec<Origin> {
        let mut woken = Vec::new();
        waiting.take(writable, now, &mut woken);
        woken
    }

    #[test]
    fn an_event_of_the_socket_wakes_those_who_wait_for_it_and_no_time_does() {
        let mut waiting = Waiting::for_socket();
        assert!(!waiting.is_news());
        (1..=3).for_each(|port| waiting.add(&client(port), 0));
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!((taken(&mut waiting, false, later), waiting.retry_at()), (vec![], None));
        assert!(waiting.is_news());
        assert_eq!(taken(&mut waiting, true, later), [1, 2, 3].map(client));
        assert_eq!(taken(&mut waiting, true, later), []);
    }

    #[test]
    fn the_event_of_a_failed_send_is_not_news() {
        let mut waiting = Waiting::for_receivers();
        waiting.add(&client(1), 0);
        waiting.add(&client(2), 0);
        assert!(!waiting.is_news());
        assert!(waiting.is_news());
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        for failures in 0..=u8::MAX {
            let mut waiting = Waiting::for_receivers();
            let before = Instant::now();
            waiting.add(&client(1), failures);
            let pause = Duration::from_millis(1 << failures.min(10));
            let until = waiting.retry_at().unwrap();
            assert!(until >= before + pause && until <= Instant::now() + pause, "{failures}");
            assert_eq!(taken(&mut waiting, false, until - Duration::from_nanos(1)), []);
            assert_eq!(taken(&mut waiting, false, until), [client(1)]);
            assert_eq!(waiting.retry_at(), None);
        }
    }

    #[test]
    fn events_wake_only_those_who_have_not_failed_for_long() {
        let mut waiting = Waiting::for_receivers();
        (0..8).for_each(|failures| waiting.add(&client(failures.into()), failures));
        // The clock has not moved as far as anybody waits.
        assert_eq!(taken(&mut waiting, true, Instant::now() - Duration::from_secs(1)), [0, 1, 2, 3].map(client));
        let later = Instant::now() + Duration::from_secs(2);
        assert_eq!(taken(&mut waiting, false, later), [4, 5, 6, 7].map(client));
    }
}
