//! From a group secret and a roster to one key per sender \[GRP-10\]. Keeps nothing: the secret is the caller's to erase.

use ed25519_dalek::VerifyingKey;
use proto_spec::mpsl::roster::Roster;
use proto_spec::{EpochId, SenderNumber, SessionId};
use sha2::{Digest, Sha256};

use super::roster::RosterError;
use crate::keys::Prk;
use crate::record::open::ReceiveKey;
use crate::suite::{PacketKey, Suite};
use crate::wrap::SECRET_LENGTH;

/// All keys of one epoch as one member needs them.
pub(crate) struct EpochKeys {
    pub(crate) id: EpochId,
    pub(crate) roster_hash: [u8; 32],
    /// To seal with.
    pub(crate) own: PacketKey,
    /// To open with, in the roster's order.
    pub(crate) others: Vec<ReceiveKey>,
}

impl EpochKeys {
    /// Derives the keys of everybody in the roster for the member `own`.
    ///
    /// # Errors
    /// [`RosterError`] if a member's key is no Ed25519 key or `own` is not in the roster.
    pub(crate) fn derive(
        suite: Suite,
        session: SessionId,
        roster: &Roster,
        roster_hash: [u8; 32],
        secret: &[u8; SECRET_LENGTH],
        own: SenderNumber,
    ) -> Result<EpochKeys, RosterError> {
        let salt = [&session.0[..], &roster.epoch.to_u64().to_be_bytes(), &roster_hash].concat();
        let prk = Prk::extract(&salt, &[secret]);
        let mut own_key = None;
        let mut others = Vec::with_capacity(roster.members.len());
        for member in &roster.members {
            let number = member.number.value().to_be_bytes();
            let key = prk.packet_key(suite, &[b"sender", &number, &member.key, &[suite.value()]]);
            if member.number == own {
                own_key = Some(key);
                continue;
            }
            let verifying = VerifyingKey::from_bytes(&member.key)
                .ok()
                .filter(|key| !key.is_weak())
                .ok_or(RosterError::BadKey(member.number))?;
            others.push(ReceiveKey { sender: member.number, verifying, key });
        }
        let own = own_key.ok_or(RosterError::NotInRoster)?;
        Ok(EpochKeys { id: roster.epoch, roster_hash, own, others })
    }
}

/// Commits a roster to the secret, so that nobody is given another secret under the same roster \[GRP-2\].
pub(crate) fn commitment(secret: &[u8; SECRET_LENGTH]) -> [u8; 32] {
    Sha256::new().chain_update(b"mpsl group secret").chain_update(secret).finalize().into()
}
