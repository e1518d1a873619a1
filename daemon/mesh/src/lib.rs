//! The overlay between nodes: link state, forwarding over many nodes, memberships, drain.
//!
//! Not built yet: a mesh is one node for now, and `relayd` fans out to its own members alone. The identifiers that it
//! needs (node numbers, `attach_seq`, standby, redirect, move and path hints) have their places in `proto-spec`.
