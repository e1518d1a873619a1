//! What the overlay counted; names never change once released.

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each with its name, in a fixed order.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Messages that could not be read.
    messages_malformed,
    /// Messages from nodes without a link.
    messages_unlinked,
    /// Messages above a neighbour's rate.
    messages_shed,
    /// Signatures that were wrong.
    signatures_wrong,
    /// Certificates that were refused: expired, revoked, another mesh's.
    certificates_refused,
    /// LSAs made by this node.
    lsas_made,
    /// LSAs accepted.
    lsas_accepted,
    /// LSAs known already, recognised before their signature was checked.
    lsas_duplicate,
    /// LSAs older than one held.
    lsas_stale,
    /// LSAs above their origin's rate.
    lsas_parked,
    /// LSAs refused: too many nodes, too old, a number in use, a clone.
    lsas_refused,
    /// LSAs that ran out.
    lsas_aged,
    /// Own LSAs jumped past.
    lsas_jumped,
    /// Computations of routes.
    spf_runs,
    /// Control messages passed on.
    unicast_forwarded,
    /// Control messages without a way.
    unicast_unroutable,
    /// Control messages whose hops ran out.
    unicast_hop_limit,
    /// Memberships accepted.
    memberships_accepted,
    /// Memberships that were no newer.
    memberships_stale,
    /// Memberships refused: unknown node, too many sessions or nodes.
    memberships_refused,
    /// Memberships dropped as a live home left them out.
    memberships_omitted,
    /// Memberships dropped as their node left.
    memberships_departed,
    /// Requests to the shell that found no room.
    requests_shed,
    /// Tombstones taken in.
    tombstones_kept,
    /// Tombstones that found no room.
    tombstones_shed,
    /// Links closed by this node.
    links_closed,
}
