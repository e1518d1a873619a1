//! Property 5: when a node dies, only its own endpoints move.

use proto_spec::NodeNumber;

use super::Property;
use crate::people::Stay;
use crate::sim::World;

impl World {
    /// An endpoint is attached anew, to another node or the same: the one that it left must have given it a reason.
    pub(crate) fn check_move(&mut self, who: &str, left: Stay, to: NodeNumber) {
        let host = &self.hosts[&left.node];
        let died = host.node.is_none() || host.boot != left.boot;
        if died || left.excused || host.service.is_slow() {
            return;
        }
        self.checkers.moved_beyond += 1;
        let what =
            format!("{who} attached anew to node {to} although node {}, where it was, stands", left.node);
        if self.checkers.allow.moved_beyond == 0 {
            self.violated(Property::Moves, what);
        }
    }
}
