//! Credentials: what a login leaves on this machine, bound to a key that never leaves it.

use std::fmt;
use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use sealcast_rpc as rpc;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::config::SMALL_FILE_BYTES_MAX;
use crate::gateway::Gateway;
use crate::{Error, ErrorKind, Mesh, disk};

/// Longest label in bytes; the gateway's limit.
const LABEL_BYTES_MAX: usize = 64;

/// A revocable credential of one account at one mesh. The key is erased from memory when dropped; `Debug` shows none.
#[derive(Clone)]
pub struct Credential {
    mesh: String,
    email: String,
    display_name: String,
    provider: bool,
    id: [u8; 16],
    key: SigningKey,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(for mesh {})", self.mesh)
    }
}

/// The file's form; the key as hexadecimal seed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    mesh: String,
    email: String,
    display_name: String,
    provider: bool,
    id: String,
    key: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Credential {
    /// The mesh it is for.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// The e-mail address that logged in.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The account's display name.
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// Whether the account may open sessions.
    pub const fn is_provider(&self) -> bool {
        self.provider
    }

    /// Reads a credential file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`] of kind `Invalid` when it can be read by others than its owner, or is no credential.
    pub fn load(path: &Path) -> Result<Option<Credential>, Error> {
        let failed = |why: String| {
            let path = path.display();
            Error::new(
                ErrorKind::Invalid,
                format!("{path} cannot be used as credential ({why}): log in again"),
            )
        };
        let text = disk::read_small(path, SMALL_FILE_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
        let Some(text) = text.map(Zeroizing::new) else { return Ok(None) };
        if disk::is_open_to_others(path).map_err(|error| failed(error.to_string()))? {
            return Err(failed("others may read it; its mode should be 0600".to_owned()));
        }
        let stored: Stored = toml::from_str(&text).map_err(|_| failed("it is malformed".to_owned()))?;
        if stored.version != 1 {
            return Err(failed(format!("its format is {}, this program reads 1", stored.version)));
        }
        let mut id = [0u8; 16];
        let mut seed = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(&stored.id, &mut id)
            .and_then(|()| hex::decode_to_slice(stored.key.as_bytes(), seed.as_mut()))
            .map_err(|_| failed("it is malformed".to_owned()))?;
        Ok(Some(Credential {
            mesh: stored.mesh.clone(),
            email: stored.email.clone(),
            display_name: stored.display_name.clone(),
            provider: stored.provider,
            id,
            key: SigningKey::from_bytes(&seed),
        }))
    }

    /// Writes the credential file, mode 0600, in one step; makes its folder (0700).
    ///
    /// # Errors
    /// [`Error`] of kind `Failed` when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let seed = Zeroizing::new(self.key.to_bytes());
        let stored = Stored {
            version: 1,
            mesh: self.mesh.clone(),
            email: self.email.clone(),
            display_name: self.display_name.clone(),
            provider: self.provider,
            id: hex::encode(self.id),
            key: hex::encode(seed.as_slice()),
        };
        let text = Zeroizing::new(toml::to_string(&stored).expect("a credential is plain data"));
        disk::write_private(path, text.as_bytes()).map_err(|error| {
            Error::new(ErrorKind::Failed, format!("{} cannot be written: {error}", path.display()))
        })
    }

    /// Removes the credential file, if it is there.
    ///
    /// # Errors
    /// [`Error`] of kind `Failed` when it cannot be removed.
    pub fn remove(path: &Path) -> Result<(), Error> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Failed, format!("{} cannot be removed: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// The metadata that authenticates calls on the connection of this exporter \[GW-6\].
    pub(crate) fn proof(&self, exporter: &[u8; 32]) -> Vec<u8> {
        let mut message = b"sealcast credential 1".to_vec();
        message.extend_from_slice(exporter);
        message.extend_from_slice(&self.id);
        let mut proof = self.id.to_vec();
        proof.extend_from_slice(&self.key.sign(&message).to_bytes());
        proof
    }
}

/// E-mail address and password for a credential; `label` is how the user will recognise it in a list.
///
/// # Errors
/// `Denied` for a wrong pair (or an unknown address: same answer), `Limited` while locked, `Unreachable`.
pub async fn login(mesh: &Mesh, email: &str, password: &str, label: &str) -> Result<Credential, Error> {
    let seed = crate::random::<32>()?;
    let key = SigningKey::from_bytes(&seed);
    let mut label = label.to_owned();
    while label.len() > LABEL_BYTES_MAX {
        label.pop();
    }
    let request = rpc::LoginRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        credential_key: key.verifying_key().to_bytes().to_vec(),
        label,
    };
    let reply = Gateway::new(mesh.clone(), None).login(request).await?;
    let id = reply.credential_id.try_into().map_err(|_| crate::gateway::misbehaved("credential id"))?;
    Ok(Credential {
        mesh: mesh.name().to_owned(),
        email: email.to_owned(),
        display_name: reply.display_name,
        provider: reply.roles.contains(&(rpc::Role::Provider as i32)),
        id,
        key,
    })
}

/// Revokes the credential at the broker.
///
/// # Errors
/// `Denied` when it was revoked already, `Unreachable`.
pub async fn logout(mesh: &Mesh, credential: &Credential) -> Result<(), Error> {
    Gateway::new(mesh.clone(), Some(credential.clone())).logout().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Credential {
        Credential {
            mesh: "home".into(),
            email: "ada@example.net".into(),
            display_name: "Ada".into(),
            provider: true,
            id: [7; 16],
            key: SigningKey::from_bytes(&[9; 32]),
        }
    }

    #[test]
    fn a_credential_survives_its_file_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/credential.toml");
        assert!(Credential::load(&path).unwrap().is_none());
        sample().save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Credential::load(&path).unwrap().unwrap();
        assert_eq!(loaded.proof(&[1; 32]), sample().proof(&[1; 32]));
        assert_eq!((loaded.email(), loaded.mesh(), loaded.is_provider()), ("ada@example.net", "home", true));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Credential::load(&path).unwrap_err().kind(), ErrorKind::Invalid);
        Credential::remove(&path).unwrap();
        Credential::remove(&path).unwrap();
        assert!(Credential::load(&path).unwrap().is_none());
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", sample());
        assert!(!shown.contains("09") && !shown.contains("ada"), "{shown}");
    }

    /// \[GW-6\]: the proof is for one connection.
    #[test]
    fn a_proof_is_bound_to_its_connection() {
        assert_ne!(sample().proof(&[1; 32]), sample().proof(&[2; 32]));
        assert_eq!(sample().proof(&[1; 32]).len(), 80);
    }
}
