//! The hybrid key agreement beside SRP: X25519 and ML-KEM-768, both fresh for each handshake. Owns the checks of
//! foreign keys \[SRP-3\]; never combines the secrets, that is the transcript's work.

use ml_kem::{Decapsulate, DecapsulationKey, Encapsulate, EncapsulationKey, KeyExport, MlKem768, TryKeyInit};
use proto_spec::mpsl::handshake::{KEM_CIPHERTEXT_LENGTH, KEM_KEY_LENGTH};
use rand_core::CryptoRng;
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A foreign key that is refused \[SRP-3\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KemError {
    /// The X25519 result is all zeros: the peer's key has small order.
    #[error("X25519 key of small order")]
    ZeroX25519,
    /// The ML-KEM key fails the modulus check of FIPS 203, section 7.2.
    #[error("invalid ML-KEM key")]
    InvalidKemKey,
}

/// The two shared secrets. Erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SharedSecrets {
    pub(crate) x25519: [u8; 32],
    pub(crate) ml_kem: [u8; 32],
}

/// The joiner's ephemeral keys.
pub(crate) struct JoinerKeys {
    x25519: StaticSecret,
    ml_kem: DecapsulationKey<MlKem768>,
}

impl JoinerKeys {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let x25519 = x25519_secret(rng);
        let mut seed = ml_kem::Seed::default();
        rng.fill_bytes(seed.as_mut_slice());
        let ml_kem = DecapsulationKey::<MlKem768>::from_seed(seed);
        seed.as_mut_slice().zeroize();
        JoinerKeys { x25519, ml_kem }
    }

    pub(crate) fn x25519_public(&self) -> [u8; 32] {
        PublicKey::from(&self.x25519).to_bytes()
    }

    pub(crate) fn ml_kem_public(&self) -> [u8; KEM_KEY_LENGTH] {
        self.ml_kem.encapsulation_key().to_bytes().into()
    }

    /// Uses what the leader sent.
    pub(crate) fn agree(
        &self,
        x25519: &[u8; 32],
        ciphertext: &[u8; KEM_CIPHERTEXT_LENGTH],
    ) -> Result<SharedSecrets, KemError> {
        let x25519 = agree_x25519(&self.x25519, x25519)?;
        let mut shared = self.ml_kem.decapsulate(&(*ciphertext).into());
        let ml_kem = shared.into();
        shared.as_mut_slice().zeroize();
        Ok(SharedSecrets { x25519: *x25519, ml_kem })
    }
}

/// What the leader sends to a joiner's keys, and the secrets it shares with it.
pub(crate) struct LeaderShare {
    pub(crate) x25519_public: [u8; 32],
    pub(crate) ciphertext: [u8; KEM_CIPHERTEXT_LENGTH],
    pub(crate) secrets: SharedSecrets,
}

/// Answers the joiner's keys.
pub(crate) fn answer(
    x25519: &[u8; 32],
    kem_key: &[u8; KEM_KEY_LENGTH],
    rng: &mut impl CryptoRng,
) -> Result<LeaderShare, KemError> {
    let kem_key =
        EncapsulationKey::<MlKem768>::new_from_slice(kem_key).map_err(|_| KemError::InvalidKemKey)?;
    let secret = x25519_secret(rng);
    let agreed = agree_x25519(&secret, x25519)?;
    let (ciphertext, mut shared) = kem_key.encapsulate_with_rng(rng);
    let secrets = SharedSecrets { x25519: *agreed, ml_kem: shared.into() };
    shared.as_mut_slice().zeroize();
    Ok(LeaderShare {
        x25519_public: PublicKey::from(&secret).to_bytes(),
        ciphertext: ciphertext.into(),
        secrets,
    })
}

fn x25519_secret(rng: &mut impl CryptoRng) -> StaticSecret {
    let mut bytes = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(bytes.as_mut_slice());
    StaticSecret::from(*bytes)
}

fn agree_x25519(secret: &StaticSecret, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, KemError> {
    let shared = secret.diffie_hellman(&PublicKey::from(*public));
    if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(KemError::ZeroX25519) }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn both_sides_share_the_same_secrets() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let joiner = JoinerKeys::generate(&mut rng);
        let share = answer(&joiner.x25519_public(), &joiner.ml_kem_public(), &mut rng).unwrap();
        let secrets = joiner.agree(&share.x25519_public, &share.ciphertext).unwrap();
        assert_eq!(secrets.x25519, share.secrets.x25519);
        assert_eq!(secrets.ml_kem, share.secrets.ml_kem);
    }

    /// \[SRP-3\]: keys of small order and ML-KEM keys with a coefficient not below q are refused.
    #[test]
    fn bad_keys_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let joiner = JoinerKeys::generate(&mut rng);
        let mut order_one = [0u8; 32];
        order_one[0] = 1;
        for zero in [[0u8; 32], order_one] {
            let answered = answer(&zero, &joiner.ml_kem_public(), &mut rng);
            assert!(matches!(answered, Err(KemError::ZeroX25519)));
            let share = answer(&joiner.x25519_public(), &joiner.ml_kem_public(), &mut rng).unwrap();
            assert!(matches!(joiner.agree(&zero, &share.ciphertext), Err(KemError::ZeroX25519)));
        }
        let mut key = joiner.ml_kem_public();
        // The first two 12-bit coefficients: 4,095, above q = 3,329.
        key[..3].fill(0xff);
        assert!(matches!(answer(&joiner.x25519_public(), &key, &mut rng), Err(KemError::InvalidKemKey)));
    }

    /// \[HSK-14\]: ephemeral secrets are erased when dropped.
    #[test]
    fn secrets_are_erased() {
        fn erased<T: ZeroizeOnDrop>() {}
        erased::<StaticSecret>();
        erased::<DecapsulationKey<MlKem768>>();
        erased::<SharedSecrets>();
    }
}
