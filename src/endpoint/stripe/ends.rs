//! How lanes and stripes end, and what the log says of it.

use log::{info, warn};
use std::fmt;
use std::io;

use super::lane::{Lane, LaneEnd};
use super::{Slot, State, StripeEndpoint};
use crate::base::error::error_text;
use crate::endpoint::{Route, SideName};
use crate::stripe::engine::LaneReport;
use crate::stripe::frame::{CloseCode, Frame};

impl StripeEndpoint {
    /// A lane is no more: what it had is sent on others, and it is dialled again where we dial.
    pub(super) fn lane_ended(&mut self, number: usize, end: LaneEnd) {
        let Slot::Open(lane, _) = &self.slots[number] else { return };
        let (id, authentic, failed) = (self.id, lane.is_authentic(), lane.failed);
        match &end {
            LaneEnd::Closed => self.log_lane(number, lane, &"closed by the peer"),
            LaneEnd::Broken(error) => self.log_lane(number, lane, &error_text(error)),
            LaneEnd::Violation(violation) => warn!("stripe {id}: lane {number} broke the rules: {violation}"),
            LaneEnd::Forged(violation) => {
                let what = "what came was not sent by the peer, or was changed on the way";
                warn!("stripe {id}: lane {number} ends: {what}: {violation}");
            }
        }
        match (&mut self.dialer, end) {
            // Whoever has the key does so on purpose, or has an error; on another lane it would be no better.
            (_, LaneEnd::Violation(violation)) if authentic => {
                self.say_last(CloseCode::Violation);
                self.fail(io::ErrorKind::InvalidData, violation.to_string());
            }
            (Some(dialer), _) => {
                let attempt = dialer.wait(self.now, failed);
                self.forget_lane(number);
                self.slots[number] = Slot::Dialing(attempt);
            }
            (None, _) => self.forget_lane(number),
        }
    }

    /// Tells the peer on all lanes how the session ends.
    pub(super) fn say_last(&mut self, code: CloseCode) {
        for slot in &mut self.slots {
            if let Slot::Open(lane, _) = slot {
                lane.say_last(&Frame::Close(code));
            }
        }
    }

    /// Takes a lane away.
    pub(super) fn forget_lane(&mut self, number: usize) {
        self.sent_again += self.engine.lane_report(number).sent_again;
        self.engine.lane_down(number, self.now * 1000);
        self.slots[number] = Slot::Empty;
    }

    pub(super) fn log_lane(&self, number: usize, lane: &Lane, why: &dyn fmt::Display) {
        let (id, route) = (self.id, Route(&lane.line.socket, self.side()));
        info!("stripe {id}: lane {number} over {route}: {why}, {}", Account(&self.engine.lane_report(number)));
    }

    /// The side of the session that it is.
    pub(super) fn side(&self) -> SideName {
        if self.dialer.is_some() { SideName::Remote } else { SideName::Client }
    }

    pub(super) fn fail(&mut self, kind: io::ErrorKind, why: String) {
        if self.is_alive() {
            self.state = State::Failed(kind, why);
            self.hang_up();
        }
    }

    /// Closes all connections.
    pub(super) fn hang_up(&mut self) {
        if self.lanes().next().is_some() {
            info!("stripe {}: lanes at the end: {}", self.id, AtTheEnd(self));
        }
        for number in 0..self.slots.len() {
            if matches!(self.slots[number], Slot::Open(..)) {
                self.forget_lane(number);
            }
            self.slots[number] = Slot::Empty;
        }
    }

    pub(super) fn error(&self) -> Option<io::Error> {
        match &self.state {
            State::Failed(kind, why) => Some(io::Error::new(*kind, why.clone())),
            State::New | State::Joined | State::Over => None,
        }
    }
}

/// Whoever lets a stripe go ends it: the peer is told how.
impl Drop for StripeEndpoint {
    fn drop(&mut self) {
        let finished = self.engine.is_finished() || matches!(self.state, State::Over);
        if let Some(registered) = &mut self.registered {
            registered.finished = finished;
        }
        if self.is_alive() {
            self.say_last(if finished { CloseCode::Finished } else { CloseCode::Reset });
        }
        self.hang_up();
    }
}

/// The lanes that are open and what they have done, for the log: one line, however many they are.
struct AtTheEnd<'a>(&'a StripeEndpoint);

impl fmt::Display for AtTheEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AtTheEnd(stripe) = self;
        for (n, (number, lane)) in stripe.lanes().enumerate() {
            let route = Route(&lane.line.socket, stripe.side());
            let account = stripe.engine.lane_report(number);
            write!(f, "{}{number} {route}: {}", if n == 0 { "" } else { "; " }, Account(&account))?;
        }
        Ok(())
    }
}

/// What a lane has done, for the log.
struct Account<'a>(&'a LaneReport);

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LaneReport { sent, sent_again, received, round_trip, rate, .. } = self.0;
        write!(f, "sent {sent} bytes, received {received} bytes, {sent_again} bytes sent again")?;
        if let Some(round_trip) = round_trip {
            write!(f, ", round trip {} ms", round_trip.div_ceil(1000))?;
        }
        if let Some(rate) = rate {
            write!(f, ", {rate} bytes/s")?;
        }
        Ok(())
    }
}
