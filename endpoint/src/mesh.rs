//! A mesh as an endpoint reaches it.

use std::path::PathBuf;

use proto_spec::invite::Invite;

use crate::Error;

/// A mesh: its addresses, its certificate authority, and what worked last time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mesh {
    _invite: Invite,
}

impl Mesh {
    /// A mesh by its invite. `cache` is a file in which the last working address is remembered, `None` to remember
    /// nothing.
    ///
    /// # Errors
    /// [`Error`] of kind `Invalid` if the invite's certificates cannot be used.
    pub fn from_invite(invite: Invite, cache: Option<PathBuf>) -> Result<Mesh, Error> {
        let _ = cache;
        Ok(Mesh { _invite: invite })
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self._invite.mesh
    }
}
