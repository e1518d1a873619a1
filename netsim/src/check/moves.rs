//! Property 5: when a node dies, only its own endpoints move.

use proto_spec::NodeNumber;

use super::Property;
use crate::people::Stay;
use crate::sim::World;

impl World {
    /// An endpoint is active on another node than before: the one that it left must have given it a reason.
    pub(crate) fn check_move(&mut self, who: &str, left: Stay, to: NodeNumber) {
        let what = format!("{who} moved to node {to} although node {}, where it was, stands", left.node);
        self.check_reason(left, what);
    }

    /// An endpoint lost its attachment: the node must have given it a reason.
    pub(crate) fn check_loss(&mut self, who: &str, left: Stay) {
        let what = format!("{who} lost its attachment although node {} stands", left.node);
        self.check_reason(left, what);
    }

    fn check_reason(&mut self, left: Stay, what: String) {
        let host = &self.hosts[&left.node];
        let died = host.node.is_none() || host.boot != left.boot;
        if died || left.excused {
            return;
        }
        self.checkers.moved_beyond += 1;
        if self.checkers.allow.moved_beyond == 0 {
            self.violated(Property::Moves, what);
        }
    }
}
