//! Wrapping of group secrets with AES-256 Key Wrap (RFC 3394). Only 32-byte secrets in exactly 40 bytes: the library
//! beneath would also unwrap `A6 x 8` to an empty key \[PWM-4\].

use aes_kw::{KeyInit, KwAes256};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of a wrapped group secret in bytes.
pub const WRAPPED_LENGTH: usize = 40;

/// Length of a group secret in bytes.
pub const SECRET_LENGTH: usize = 32;

/// A key that wraps one group secret for one member \[PWM-3\]. Erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Kek([u8; 32]);

/// A wrapped key that is not one of ours: another length, another key, or altered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("wrapped key does not open")]
pub struct UnwrapFailed;

impl Kek {
    /// From derived bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Kek(bytes)
    }

    /// Wraps a group secret.
    pub fn wrap(&self, secret: &[u8; SECRET_LENGTH]) -> [u8; WRAPPED_LENGTH] {
        let mut out = [0u8; WRAPPED_LENGTH];
        self.cipher().wrap_key(secret, &mut out).expect("32 bytes wrap into 40");
        out
    }

    /// Unwraps a group secret.
    ///
    /// # Errors
    /// [`UnwrapFailed`] unless it is exactly 40 bytes, wrapped under this key.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; SECRET_LENGTH]>, UnwrapFailed> {
        let wrapped: &[u8; WRAPPED_LENGTH] = wrapped.try_into().map_err(|_| UnwrapFailed)?;
        let mut secret = Zeroizing::new([0u8; SECRET_LENGTH]);
        self.cipher().unwrap_key(wrapped, secret.as_mut_slice()).map_err(|_| UnwrapFailed)?;
        Ok(secret)
    }

    /// The key's bytes, for vectors.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> KwAes256 {
        KwAes256::new(&self.0.into())
    }
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kek(..)")
    }
}
