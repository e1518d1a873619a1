//! Argon2id, two at once, off the runtime's threads \[GW-12\]. Never decides anything: a hash, or whether a password fits one.

use std::sync::Arc;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, CustomizedPasswordHasher, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory of one hash in KiB: OWASP's first choice for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Hashes at once: 38 MiB and two cores at most, so that logins cannot starve relaying.
const AT_ONCE: usize = 2;
/// Logins that may wait for their turn: two seconds' worth.
const WAITING_MAX: usize = 64;

/// Why nothing was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many logins at this moment: try again in a few seconds")]
    Busy,
    /// A stored hash that is none, or the system gave no memory.
    #[error("the password could not be checked: see the node's log")]
    Failed,
}

/// The only place where passwords are hashed.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Passwords {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)),
        }
    }
}

impl Passwords {
    /// The PHC string of a password under 16 bytes of salt.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: Zeroizing<String>, salt: [u8; 16]) -> Result<String, PasswordError> {
        self.run(move || {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants in bounds");
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            argon2
                .hash_password_customized(password.as_bytes(), &salt, None, None, params)
                .map(|hash| hash.to_string())
                .map_err(|error| failed(&error))
        })
        .await
    }

    /// Whether a password fits a PHC string; takes as long for one that does not.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn fits(&self, password: Zeroizing<String>, hash: String) -> Result<bool, PasswordError> {
        self.run(move || {
            let parsed = PasswordHash::new(&hash).map_err(|error| failed(&error))?;
            match Argon2::default().verify_password(password.as_bytes(), &parsed) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(failed(&error)),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordError::Failed)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            // Held by the work itself: a caller that gives up does not start a third one.
            drop(running);
            result
        });
        done.await.map_err(|_| PasswordError::Failed)?
    }
}

fn failed(error: &dyn std::fmt::Display) -> PasswordError {
    tracing::error!(%error, "Argon2 failed");
    PasswordError::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[GW-12\]: the cost that was decided, and a salt of its own.
    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::default();
        let password = |text: &str| Zeroizing::new(text.to_owned());
        let hash = passwords.hash(password("vq8-trombone-ledger"), [7; 16]).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(passwords.fits(password("vq8-trombone-ledger"), hash.clone()).await, Ok(true));
        assert_eq!(passwords.fits(password("vq8-trombone-ledgeR"), hash).await, Ok(false));
        assert_eq!(passwords.fits(password("x"), "not a hash".into()).await, Err(PasswordError::Failed));
    }

    #[tokio::test]
    async fn those_beyond_the_waiting_room_are_sent_away() {
        let passwords = Passwords::default();
        let _all =
            Arc::clone(&passwords.waiting).try_acquire_many_owned((AT_ONCE + WAITING_MAX) as u32).unwrap();
        let busy = passwords.hash(Zeroizing::new("x".into()), [0; 16]).await;
        assert_eq!(busy, Err(PasswordError::Busy));
    }
}
