//! What the access log says of a session.

use crate::access_log::{AccessLog, Event, Facts};
use crate::base::text::ShortText;
use crate::endpoint::Endpoint;
use crate::session::{Session, ToldClient};

/// Writes a line of a session of the thread of this number, at this time in microseconds since the thread's origin.
pub fn write<E: Endpoint>(log: &AccessLog, session: &Session<E>, event: Event, thread: usize, now_us: u64) {
    let summary = session.summary();
    let names = session.names();
    let told = session.told_client().map(|told| ToldClient(told).to_string());
    let mut id = ShortText::<64>::default();
    id.add_number(thread as u64);
    id.add_byte(b'-');
    id.add_number(summary.begun);
    let facts = Facts {
        event,
        service: &summary.service.name,
        session: id.as_str(),
        client: told.as_deref().unwrap_or(&names.client),
        peer: &names.client,
        listener: &names.listener,
        remote: &names.remote,
        remote_name: summary.remote.map_or("", |remote| &remote.name),
        source: &names.own,
        duration: now_us.saturating_sub(summary.begun),
        connected_after: summary.connected_after.map(u64::from),
        bytes: summary.bytes,
        datagrams: summary.datagrams,
        dropped: summary.dropped,
        tries: summary.tries,
    };
    log.sink.add(|now, line| log.format.write(&facts, now, line));
}
