//! Planted bugs: each breaks one promise in the simulated shell, never in a core, so that the checkers can prove that they
//! would notice.

/// What the shell does wrong, now and then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// A copy goes to a neighbour that is not its next hop.
    WrongNextHop,
    /// A unit is handled twice where it arrives.
    SkipDedup,
    /// A unit is handed to a session's outsider too.
    DeliverToStranger,
    /// A node is not told of an attachment.
    ForgetMember,
    /// Old LSAs come back with a forged newer version, and are not checked.
    AcceptStaleLsa,
    /// What an endpoint has delivered is lost before its user sees it.
    DropReliable,
    /// What an endpoint has delivered is shown to its user twice.
    DeliverTwice,
    /// Two lines are shown in the wrong order.
    Reorder,
    /// When a node dies, an endpoint of another is disconnected too.
    MoveOthers,
    /// An attachment that is lost stays in the registry.
    ForgetToLeave,
    /// The broker's store keeps a session without its owner's entry for it.
    OrphanSession,
    /// The broker's store loses a look-up that was answered.
    ForgetLookup,
    /// The broker's store loses failed logins.
    ForgetLockout,
    /// The broker is asked without a look at how often one network calls.
    ForgetLimits,
    /// A node lets everybody in whose ticket can be read.
    AdmitWithoutTicket,
    /// Guests get what members get.
    LobbyHearsAll,
    /// An endpoint whose state was restored from a clone goes on where the other one does.
    ReuseNonce,
    /// A leader's endpoint is not told that its user removed a member.
    KeepRemoved,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 18] = [
        Bug::WrongNextHop,
        Bug::SkipDedup,
        Bug::DeliverToStranger,
        Bug::ForgetMember,
        Bug::AcceptStaleLsa,
        Bug::DropReliable,
        Bug::DeliverTwice,
        Bug::Reorder,
        Bug::MoveOthers,
        Bug::ForgetToLeave,
        Bug::OrphanSession,
        Bug::ForgetLookup,
        Bug::ForgetLockout,
        Bug::ForgetLimits,
        Bug::AdmitWithoutTicket,
        Bug::LobbyHearsAll,
        Bug::ReuseNonce,
        Bug::KeepRemoved,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Bug::WrongNextHop => "wrong-next-hop",
            Bug::SkipDedup => "skip-dedup",
            Bug::DeliverToStranger => "deliver-to-stranger",
            Bug::ForgetMember => "forget-member",
            Bug::AcceptStaleLsa => "accept-stale-lsa",
            Bug::DropReliable => "drop-reliable",
            Bug::DeliverTwice => "deliver-twice",
            Bug::Reorder => "reorder",
            Bug::MoveOthers => "move-others",
            Bug::ForgetToLeave => "forget-to-leave",
            Bug::OrphanSession => "orphan-session",
            Bug::ForgetLookup => "forget-lookup",
            Bug::ForgetLockout => "forget-lockout",
            Bug::ForgetLimits => "forget-limits",
            Bug::AdmitWithoutTicket => "admit-without-ticket",
            Bug::LobbyHearsAll => "lobby-hears-all",
            Bug::ReuseNonce => "reuse-nonce",
            Bug::KeepRemoved => "keep-removed",
        }
    }
}
