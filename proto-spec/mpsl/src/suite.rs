//! The two suites' packet protection over one type. Owns key schedules and tags; never chooses a suite, never makes a
//! nonce and allocates nothing for a packet.

use aes::Aes128;
use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use cipher::{InnerIvInit, StreamCipherCore};
use ctr::{CtrCore, flavors};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use thiserror::Error;
use zeroize::ZeroizeOnDrop;

/// Length of a nonce: `stream32 | counter64` in records, `0[4] | counter64` pairwise.
pub const NONCE_LENGTH: usize = 12;
/// The longer of the two tags.
pub const TAG_LENGTH_MAX: usize = 20;
/// The longer of the two keys.
pub const KEY_LENGTH_MAX: usize = 36;

const GCM_SIV_KEY: usize = 32;
const GCM_SIV_TAG: usize = 16;
const CLASSIC_ENC_KEY: usize = 16;
const HMAC_SHA1_TAG: usize = 20;

/// A suite, as in the registry \[SUI-1\]. A program speaks the one it was built for; nothing negotiates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM-SIV (RFC 8452) \[SUI-2\].
    Modern = 1,
    /// AES-128 in counter mode, then HMAC-SHA-1 \[SUI-3\]: the historical suite.
    Classic = 2,
}

impl Suite {
    /// Both suites.
    pub const ALL: [Suite; 2] = [Suite::Modern, Suite::Classic];

    /// `None` for values that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Modern),
            2 => Some(Self::Classic),
            _ => None,
        }
    }

    /// The value on the wire.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The suite's name in vectors and benchmarks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Classic => "classic",
        }
    }

    /// Length of a packet key in bytes.
    pub const fn key_length(self) -> usize {
        match self {
            Self::Modern => GCM_SIV_KEY,
            Self::Classic => CLASSIC_ENC_KEY + HMAC_SHA1_TAG,
        }
    }

    /// Length of a tag in bytes.
    pub const fn tag_length(self) -> usize {
        match self {
            Self::Modern => GCM_SIV_TAG,
            Self::Classic => HMAC_SHA1_TAG,
        }
    }
}

/// Sealed bytes that do not open: altered, made by somebody else, or for another place. Says no more on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("does not open under this key")]
pub struct OpenFailed;

/// The tag of one packet; 16 or 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    bytes: [u8; TAG_LENGTH_MAX],
    length: usize,
}

impl Tag {
    fn new(tag: &[u8]) -> Self {
        let mut bytes = [0; TAG_LENGTH_MAX];
        bytes[..tag.len()].copy_from_slice(tag);
        Tag { bytes, length: tag.len() }
    }
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A key ready for use: its schedules are computed once. Erased when dropped.
pub struct PacketKey(Schedule);

enum Schedule {
    Modern(Aes256GcmSiv),
    Classic { encryption: Aes128, mac: Hmac<Sha1> },
}

impl PacketKey {
    /// Sets up `key` for `suite`.
    ///
    /// # Panics
    /// If the key is not [`Suite::key_length`] long: our own bug, keys are derived at that length.
    pub fn new(suite: Suite, key: &[u8]) -> Self {
        assert_eq!(key.len(), suite.key_length(), "packet key of another suite");
        PacketKey(match suite {
            Suite::Modern => {
                Schedule::Modern(Aes256GcmSiv::new_from_slice(key).expect("length asserted above"))
            }
            Suite::Classic => {
                let (encryption, mac) = key.split_at(CLASSIC_ENC_KEY);
                Schedule::Classic {
                    encryption: Aes128::new_from_slice(encryption).expect("16 bytes by the split"),
                    mac: Hmac::new_from_slice(mac).expect("HMAC takes keys of any length"),
                }
            }
        })
    }

    /// The suite it was set up for.
    pub const fn suite(&self) -> Suite {
        match self.0 {
            Schedule::Modern(_) => Suite::Modern,
            Schedule::Classic { .. } => Suite::Classic,
        }
    }

    /// Encrypts `buffer` in place and returns the tag. The caller answers for the nonce being new under this key, and
    /// for associated data of one length that holds the nonce's content \[SUI-4\].
    pub fn seal_in_place(&self, nonce: &[u8; NONCE_LENGTH], associated: &[u8], buffer: &mut [u8]) -> Tag {
        match &self.0 {
            Schedule::Modern(cipher) => {
                let tag = cipher
                    .encrypt_inout_detached(&(*nonce).into(), associated, buffer.into())
                    .expect("packets are far below RFC 8452's 2^36 bytes");
                Tag::new(&tag)
            }
            Schedule::Classic { encryption, mac } => {
                apply_counter_mode(encryption, nonce, buffer);
                Tag::new(&classic_mac(mac, associated, buffer).finalize().into_bytes())
            }
        }
    }

    /// Checks the tag and decrypts `buffer` in place. On failure the buffer holds no plaintext.
    ///
    /// # Errors
    /// [`OpenFailed`] when the tag is of another length or does not belong to this key, nonce, data and buffer.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8],
    ) -> Result<(), OpenFailed> {
        match &self.0 {
            Schedule::Modern(cipher) => {
                let tag: &[u8; GCM_SIV_TAG] = tag.try_into().map_err(|_| OpenFailed)?;
                cipher
                    .decrypt_inout_detached(&(*nonce).into(), associated, buffer.into(), &(*tag).into())
                    .map_err(|_| OpenFailed)
            }
            Schedule::Classic { encryption, mac } => {
                // verify_slice would accept no truncation either, but says so only in its documentation.
                if tag.len() != HMAC_SHA1_TAG {
                    return Err(OpenFailed);
                }
                classic_mac(mac, associated, buffer).verify_slice(tag).map_err(|_| OpenFailed)?;
                apply_counter_mode(encryption, nonce, buffer);
                Ok(())
            }
        }
    }

    /// Seals `out[start..]` in place and appends the tag.
    pub fn seal_tail(&self, nonce: &[u8; NONCE_LENGTH], associated: &[u8], out: &mut Vec<u8>, start: usize) {
        let tag = self.seal_in_place(nonce, associated, &mut out[start..]);
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens `ciphertext | tag` in place and returns the plaintext, which is its beginning.
    ///
    /// # Errors
    /// [`OpenFailed`], also when `sealed` is shorter than a tag.
    pub fn open_sealed<'a>(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenFailed> {
        let length = sealed.len().checked_sub(self.suite().tag_length()).ok_or(OpenFailed)?;
        let (buffer, tag) = sealed.split_at_mut(length);
        self.open_in_place(nonce, associated, buffer, tag)?;
        Ok(buffer)
    }
}

impl std::fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PacketKey({}, ..)", self.suite().name())
    }
}

// The schedules erase themselves: features `zeroize` of aes, hmac and sha1. \[HSK-14\]
impl ZeroizeOnDrop for PacketKey {}

/// Counter block `nonce96 | block32`, block numbers from 1 (the shape of RFC 3686).
fn apply_counter_mode(key: &Aes128, nonce: &[u8; NONCE_LENGTH], buffer: &mut [u8]) {
    let mut block = [0u8; 16];
    block[..NONCE_LENGTH].copy_from_slice(nonce);
    block[15] = 1;
    CtrCore::<&Aes128, flavors::Ctr32BE>::inner_iv_init(key, &block.into())
        .apply_keystream_partial(buffer.into());
}

fn classic_mac(mac: &Hmac<Sha1>, associated: &[u8], ciphertext: &[u8]) -> Hmac<Sha1> {
    let mut mac = mac.clone();
    mac.update(associated);
    mac.update(ciphertext);
    mac
}
