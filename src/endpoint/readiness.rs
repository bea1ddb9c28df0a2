//! What is known to be possible on an endpoint.

/// What is known to be possible on a side's endpoint, from events and from how the last calls went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read may have something to say.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// The peer has closed its writing half, so a short read is not the last thing to be read.
    pub read_closed: bool,
    /// The peer will take no more, and can read nothing any more: it has closed wholly.
    pub write_closed: bool,
    /// An error may be pending.
    pub error: bool,
    /// There is urgent data, at which reads stop short and splices stop for good, until a read says `WouldBlock`.
    pub urgent: bool,
}

impl Readiness {
    /// Adds what an event said.
    pub fn add(&mut self, event: Readiness) {
        self.readable |= event.readable;
        self.writable |= event.writable;
        self.read_closed |= event.read_closed;
        self.write_closed |= event.write_closed;
        self.error |= event.error;
        self.urgent |= event.urgent;
    }
}
