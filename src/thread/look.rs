//! How a thread is asked what it is doing, and what it finds out to answer.

use std::sync::OnceLock;
use std::time::Duration;

use super::mailbox::Mailbox;
use super::sessions::Sessions;
use crate::counters::{SessionRow, ThreadSnapshot, ThreadStatus, add_going_on};
use crate::endpoint::Endpoint;
use crate::session::{Session, Summary};

/// The request for a snapshot of a thread.
#[derive(Debug)]
pub struct Look {
    /// The number that the answer has.
    pub number: u64,
    /// How many sessions are asked for.
    pub most_rows: usize,
    /// Who asks.
    pub to: Mailbox<ThreadSnapshot>,
}

/// What each thread said when it ended, so that what it has counted is not lost.
#[derive(Debug)]
pub struct LastLooks(Vec<OnceLock<ThreadSnapshot>>);

impl LastLooks {
    /// For so many threads, none of which has ended.
    pub fn new(threads: usize) -> LastLooks {
        LastLooks((0..threads).map(|_| OnceLock::new()).collect())
    }

    /// What the thread of this number said when it ended; `None`: it has not.
    pub fn of(&self, number: usize) -> Option<&ThreadSnapshot> {
        self.0.get(number)?.get()
    }

    /// A thread ends.
    pub(crate) fn leave(&self, snapshot: ThreadSnapshot) {
        if let Some(place) = self.0.get(snapshot.number) {
            let _ = place.set(snapshot);
        }
    }
}

impl<E: Endpoint> Sessions<E> {
    /// What is known of the sessions of the thread with this number: of all together, and of so many of them each.
    pub fn seen(&self, number: usize, most_rows: usize) -> ThreadSnapshot {
        let mut services = self.counters.seen();
        let mut by_bytes = Vec::new();
        for (key, session) in self.iter() {
            let summary = session.summary();
            add_going_on(&mut services, &summary);
            if most_rows > 0 {
                by_bytes.push((moved(&summary), key));
            }
        }
        if by_bytes.len() > most_rows {
            by_bytes.select_nth_unstable_by(most_rows, |a, b| b.cmp(a));
            by_bytes.truncate(most_rows);
        }
        let row = |(_, key)| Some(self.row(number, self.get(key)?));
        let rows = by_bytes.into_iter().filter_map(row).collect();
        let both = |counts: [usize; 2]| counts.map(|count| count as u64);
        let pipes = &self.pools.pipes;
        let thread = ThreadStatus {
            name: format!("io-{number}"),
            has_answered: true,
            sessions: services.values().map(|service| service.sessions).sum(),
            buffers: both(self.pools.buffers()),
            pipes: both([pipes.in_use(), pipes.count()]),
            kept: self.pools.kept.used() as u64,
            lost: self.lost(),
            ..ThreadStatus::default()
        };
        ThreadSnapshot { number, look: 0, thread, services, rows }
    }

    fn row(&self, number: usize, session: &Session<E>) -> SessionRow {
        let summary = session.summary();
        let names = session.names();
        let age = Duration::from_micros(self.now_us().saturating_sub(summary.begun));
        let idle = session.last_moved().map(|moved| Duration::from_millis(self.now().saturating_sub(moved)));
        SessionRow {
            id: format!("{number}-{}", summary.begun),
            service: summary.service.name.clone(),
            client: names.client,
            listener: names.listener,
            remote: names.remote,
            remote_name: summary.remote.map_or_else(String::new, |remote| remote.name.clone()),
            phase: session.phase_word(),
            age,
            idle: idle.unwrap_or(age),
            bytes: summary.bytes,
            datagrams: summary.datagrams,
        }
    }
}

/// By this those sessions are found that are shown where there are too many.
fn moved(summary: &Summary<'_>) -> u64 {
    summary.bytes[0] + summary.bytes[1]
}
