//! What schedules of sources are meant to come by.

/// Something that happened in a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A datagram of a source came that has a session, and of one that has none and gets one.
    Known,
    New,
    /// The datagrams of one batch went to several sessions, one of them with others' between its own.
    Mixed,
    /// A session made room: as the thread had too many, and as the process had; two did for one batch.
    MadeRoom,
    MadeRoomForOthers,
    MadeRoomTwice,
    /// The one idle for longest did not make room: it had moved; all get datagrams of the same batch.
    NoRoomMoved,
    NoRoomTaken,
    /// A source's session would have made room, were it not for a later datagram of the batch.
    SparedForLater,
    /// A session that was still being connected made room.
    MadeRoomConnecting,
    /// No session was begun: as connecting had failed, as the socket is closed, as the thread drains.
    Paused,
    DoorClosed,
    ThreadClosed,
    /// A session was begun when a pause was over.
    AfterPause,
    /// A session ended as it started, for want of a client and of a remote; connecting failed later.
    ClientRefused,
    FailedAtOnce,
    FailedLater,
    TimedOut,
    /// Datagrams were kept until the remote was connected, and until it took more.
    KeptWhileConnecting,
    KeptWhileBlocked,
    /// More came than can be kept.
    Overflowed,
    /// A remote broke when it was sent a datagram that had just come.
    EndedByOffer,
    /// Datagrams went to a session of a service that has been replaced.
    OldService,
    /// A session ended for idleness: as ever; while it drained: with its thread, its service, or its socket.
    Idle,
    IdleDraining,
    /// The time of a replaced service was over.
    Retired,
    /// A session was ended that waited to run.
    EndedWaiting,
    /// A socket took no more answers, and later did.
    AnswersBlocked,
    AnswersResumed,
    /// A datagram was lost as it was read.
    LostOnRead,
}

impl Sight {
    pub const ALL: [Sight; 30] = [
        Sight::Known,
        Sight::New,
        Sight::Mixed,
        Sight::MadeRoom,
        Sight::MadeRoomForOthers,
        Sight::MadeRoomTwice,
        Sight::NoRoomMoved,
        Sight::NoRoomTaken,
        Sight::SparedForLater,
        Sight::MadeRoomConnecting,
        Sight::Paused,
        Sight::DoorClosed,
        Sight::ThreadClosed,
        Sight::AfterPause,
        Sight::ClientRefused,
        Sight::FailedAtOnce,
        Sight::FailedLater,
        Sight::TimedOut,
        Sight::KeptWhileConnecting,
        Sight::KeptWhileBlocked,
        Sight::Overflowed,
        Sight::EndedByOffer,
        Sight::OldService,
        Sight::Idle,
        Sight::IdleDraining,
        Sight::Retired,
        Sight::EndedWaiting,
        Sight::AnswersBlocked,
        Sight::AnswersResumed,
        Sight::LostOnRead,
    ];
}
