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
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 10] = [
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
        }
    }
}
