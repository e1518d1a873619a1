//! Credentials: what a login leaves on this machine, bound to a key that never leaves it.

use std::path::Path;

use crate::{Error, Mesh};

/// A revocable credential of one account at one mesh. The key is erased from memory when dropped; `Debug` shows no key.
#[derive(Clone)]
pub struct Credential {}

impl Credential {
    /// The mesh it is for.
    pub fn mesh(&self) -> &str {
        unimplemented!()
    }

    /// The e-mail address that logged in.
    pub fn email(&self) -> &str {
        unimplemented!()
    }

    /// The account's display name.
    pub fn display_name(&self) -> &str {
        unimplemented!()
    }

    /// Whether the account may open sessions.
    pub fn is_provider(&self) -> bool {
        unimplemented!()
    }

    /// Reads a credential file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`] of kind `Invalid` when it can be read by others than its owner, or is no credential.
    pub fn load(path: &Path) -> Result<Option<Credential>, Error> {
        let _ = path;
        unimplemented!()
    }

    /// Writes the credential file, mode 0600, in one step; makes its folder (0700).
    ///
    /// # Errors
    /// [`Error`] of kind `Failed` when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let _ = path;
        unimplemented!()
    }

    /// Removes the credential file, if it is there.
    ///
    /// # Errors
    /// [`Error`] of kind `Failed` when it cannot be removed.
    pub fn remove(path: &Path) -> Result<(), Error> {
        let _ = path;
        unimplemented!()
    }
}

/// E-mail address and password for a credential; `label` is how the user will recognise it in a list.
///
/// # Errors
/// `Denied` for a wrong pair (or an unknown address: same answer), `Limited` while locked, `Unreachable`.
pub async fn login(mesh: &Mesh, email: &str, password: &str, label: &str) -> Result<Credential, Error> {
    let _ = (mesh, email, password, label);
    unimplemented!()
}

/// Revokes the credential at the broker.
///
/// # Errors
/// `Denied` when it was revoked already, `Unreachable`.
pub async fn logout(mesh: &Mesh, credential: &Credential) -> Result<(), Error> {
    let _ = (mesh, credential);
    unimplemented!()
}
