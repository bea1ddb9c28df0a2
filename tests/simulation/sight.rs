//! What schedules are meant to come by, counted so that none of it is missed.

use std::collections::BTreeMap;

/// Something that happened in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A flow of messages became bulk and read into a pipe, and did so again after it had fallen back.
    CopyThenPipe,
    CopyThenPipeAgain,
    /// A bulk flow carried little at a time and was copied again.
    PipeThenCopy,
    /// A bulk flow was copied because no pipe could be had.
    PipeRefused,
    /// The same through a buffer larger than those for messages.
    LargeBuffer,
    /// A pipe could be opened after that.
    PipeOpenedAfterRefusal,
    /// A pipe had no slot left for what could still be read.
    PipeFullOfPieces,
    /// A pipe held more than its slots hold by their nominal size.
    PipeOverfull,
    /// A pipe was partly emptied, and after a block further.
    PipeResumed,
    /// A source finished while its bytes were in a pipe.
    FinishWithPipe,
    /// Sessions that ended while their bytes were in a pipe.
    ResetWithPipe,
    ErrorWithPipe,
    IdleTimeoutWithPipe,
    DrainWithPipe,
    /// A bulk session waited behind others when the turn's budget was spent.
    BulkPostponed,
    /// A client's socket could not be used.
    ClientRefused,
    /// A drain ended a session at once, of the thread and of a service, which was of no concern to those of others.
    EndlessDrained,
    EndlessRetired,
    OthersNotRetired,
    /// A session ended as the time of its service was over, and one waited to run then.
    RetiredInTheEnd,
    RetiredWhileWaiting,
    /// A client came to the slot of one that ended in this way.
    SlotTakenOver,
    /// A remote could not be connected to, and another was tried.
    NextRemote,
    /// A session waited as there was no remote, as all had as many sessions as they may have, or as some were busy.
    NoRemoteYet,
    RemotesFull,
    RemotesBusy,
    /// And dialled after that.
    RemoteAfterNone,
    RoomAfterFull,
    BusyAgain,
    /// No remote could be connected to: all had been tried, or the time for all was over.
    AllTried,
    RetryTimeout,
    /// A remote was found down: a session that was being connected to it went to another, and one that was joined to it
    /// ended.
    LeftForAnother,
    RemoteReset,
    /// A client's header was read, alone, with what follows it behind it, with the end, or with a reset.
    HeaderAlone,
    HeaderWithMore,
    HeaderWithEnd,
    HeaderThenBroken,
    /// A client was reset as what it began with is no header, ended or broke before it was whole, or came too late.
    HeaderBad,
    HeaderCut,
    HeaderBroken,
    HeaderLate,
    /// A remote took its header in pieces, and one got it together with what the client sent.
    HeaderSentInPieces,
    HeaderSentWithMore,
}

impl Sight {
    pub const ALL: [Sight; 43] = [
        Sight::CopyThenPipe,
        Sight::CopyThenPipeAgain,
        Sight::PipeThenCopy,
        Sight::PipeRefused,
        Sight::LargeBuffer,
        Sight::PipeOpenedAfterRefusal,
        Sight::PipeFullOfPieces,
        Sight::PipeOverfull,
        Sight::PipeResumed,
        Sight::FinishWithPipe,
        Sight::ResetWithPipe,
        Sight::ErrorWithPipe,
        Sight::IdleTimeoutWithPipe,
        Sight::DrainWithPipe,
        Sight::BulkPostponed,
        Sight::ClientRefused,
        Sight::EndlessDrained,
        Sight::EndlessRetired,
        Sight::OthersNotRetired,
        Sight::RetiredInTheEnd,
        Sight::RetiredWhileWaiting,
        Sight::SlotTakenOver,
        Sight::NextRemote,
        Sight::NoRemoteYet,
        Sight::RemotesFull,
        Sight::RemotesBusy,
        Sight::RemoteAfterNone,
        Sight::RoomAfterFull,
        Sight::BusyAgain,
        Sight::AllTried,
        Sight::RetryTimeout,
        Sight::LeftForAnother,
        Sight::RemoteReset,
        Sight::HeaderAlone,
        Sight::HeaderWithMore,
        Sight::HeaderWithEnd,
        Sight::HeaderThenBroken,
        Sight::HeaderBad,
        Sight::HeaderCut,
        Sight::HeaderBroken,
        Sight::HeaderLate,
        Sight::HeaderSentInPieces,
        Sight::HeaderSentWithMore,
    ];
}

/// How often each was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sights<S = Sight>(BTreeMap<S, u64>);

impl<S> Default for Sights<S> {
    fn default() -> Sights<S> {
        Sights(BTreeMap::new())
    }
}

impl<S: Ord + Copy> Sights<S> {
    pub fn note(&mut self, sight: S) {
        *self.0.entry(sight).or_default() += 1;
    }

    pub fn add(&mut self, others: &Sights<S>) {
        for (sight, count) in &others.0 {
            *self.0.entry(*sight).or_default() += count;
        }
    }

    /// The first of all that was never seen.
    pub fn missing(&self, all: &[S]) -> Option<S> {
        all.iter().copied().find(|sight| !self.0.contains_key(sight))
    }
}
