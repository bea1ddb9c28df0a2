//! What schedules of datagrams are meant to come by.

/// Something that happened in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A frame's length, and its datagram, came in parts.
    SplitLength,
    SplitDatagram,
    /// A stream of frames ended in a length, in a datagram, and between two frames.
    EndInLength,
    EndInDatagram,
    EndBetweenFrames,
    /// A read brought more datagrams than one write encodes.
    ManyFrames,
    /// A datagram of the largest size came in a frame, and went out in one.
    LargestCame,
    LargestWent,
    /// A stream took part of a frame's length, of its datagram, or of bytes, and later the rest.
    ResumedLength,
    ResumedDatagram,
    ResumedBytes,
    /// An empty datagram was passed on as one, and to a stream, which takes nothing of it.
    EmptyPassed,
    EmptyToStream,
    /// One read of a stream became several datagrams.
    CutIntoChunks,
    /// A read said that there may be more, that there is not, and the latter though there was.
    More,
    Last,
    LastThoughMore,
    /// A datagram socket ended.
    EndOfDatagrams,
    /// Both sides ended: one was told that the other had, or was not before it ended itself.
    EndAnswered,
    EndTogether,
    /// One side ended, and the other cannot be told, or took it as broken.
    EndUntold,
    FinishFailed,
    /// Something was delivered from a side that had been told an end.
    AnswerToEnd,
    /// Nothing more moved after an end was told; that after something had; and that while something was kept.
    EndInSilence,
    SilenceAfterAnswer,
    /// Another end came while an answer could still come.
    BrokenWhileEnding,
    DrainWhileEnding,
    /// A read brought nothing but what had to be dropped.
    NothingButDrops,
    /// A datagram could not be read, or not be sent, each for reasons of its own.
    TooLongToRead,
    ErrorOnRead,
    TooLongToSend,
    ErrorOnSend,
    /// An error was told that concerns a datagram which had been sent before.
    LateError,
    /// Nobody was there to send to.
    NoPeer,
    /// A datagram socket was full.
    Full,
    /// Datagrams were offered while the remote was connecting, and then delivered.
    KeptWhileConnecting,
    KeptThenDelivered,
    /// The same several times before any was delivered.
    KeptTwice,
    /// Datagrams offered found no room, before and after the remote was connected.
    RefusedWhileConnecting,
    RefusedWhileOpen,
    /// A run spent its budget.
    Spent,
    /// Another address was dialled though datagrams were kept.
    NextAddressWithKept,
    /// Sessions that ended while something was kept.
    ResetWithKept,
    ErrorWithKept,
    IdleTimeoutWithKept,
    DrainWithKept,
    ConnectFailedWithKept,
    /// A session that no datagram ever moved in ended for idleness.
    IdleFromTheStart,
    /// What a side that took nothing more had said before was delivered.
    LastWords,
    /// Offering datagrams ended a session.
    BrokenByOffer,
}

impl Sight {
    pub const ALL: [Sight; 50] = [
        Sight::SplitLength,
        Sight::SplitDatagram,
        Sight::EndInLength,
        Sight::EndInDatagram,
        Sight::EndBetweenFrames,
        Sight::ManyFrames,
        Sight::LargestCame,
        Sight::LargestWent,
        Sight::ResumedLength,
        Sight::ResumedDatagram,
        Sight::ResumedBytes,
        Sight::EmptyPassed,
        Sight::EmptyToStream,
        Sight::CutIntoChunks,
        Sight::More,
        Sight::Last,
        Sight::LastThoughMore,
        Sight::EndOfDatagrams,
        Sight::EndAnswered,
        Sight::EndTogether,
        Sight::EndUntold,
        Sight::FinishFailed,
        Sight::AnswerToEnd,
        Sight::EndInSilence,
        Sight::SilenceAfterAnswer,
        Sight::BrokenWhileEnding,
        Sight::DrainWhileEnding,
        Sight::NothingButDrops,
        Sight::TooLongToRead,
        Sight::ErrorOnRead,
        Sight::TooLongToSend,
        Sight::ErrorOnSend,
        Sight::LateError,
        Sight::NoPeer,
        Sight::Full,
        Sight::KeptWhileConnecting,
        Sight::KeptThenDelivered,
        Sight::KeptTwice,
        Sight::RefusedWhileConnecting,
        Sight::RefusedWhileOpen,
        Sight::Spent,
        Sight::NextAddressWithKept,
        Sight::ResetWithKept,
        Sight::ErrorWithKept,
        Sight::IdleTimeoutWithKept,
        Sight::DrainWithKept,
        Sight::ConnectFailedWithKept,
        Sight::IdleFromTheStart,
        Sight::LastWords,
        Sight::BrokenByOffer,
    ];
}
