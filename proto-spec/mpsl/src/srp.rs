//! SRP-6a over RFC 5054's 3,072-bit group with SHA-256 \[SRP-1\]. The arithmetic is the `srp` crate's; hashes, paddings
//! and every check of a foreign value are done here, on values of fixed length, because that crate panics on values
//! longer than the modulus and strips leading zeros. Proofs are the handshake's own (`handshake/transcript.rs`).

use crypto_bigint::BoxedUint;
use proto_spec::SessionNumber;
use proto_spec::mpsl::handshake::SRP_LENGTH;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use srp::groups::{G3072, Group};
use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::code::Words;

type Client = srp::Client<G3072, Sha256>;
type Server = srp::Server<G3072, Sha256>;

/// Bits of the group's modulus.
const GROUP_BITS: u32 = 3_072;
/// The group's generator.
const GENERATOR: u8 = 5;
/// Bytes of a secret exponent: 512 fresh bits each time \[SRP-2\].
const EXPONENT_LENGTH: usize = 64;

/// A public value that SRP refuses \[SRP-3\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SrpError {
    /// Not 384 bytes, or not between 0 and N.
    #[error("public value out of range")]
    OutOfRange,
    /// u = 0; happens with probability 2^-256 unless somebody has broken the hash.
    #[error("scrambling parameter is zero")]
    ZeroScrambler,
}

/// A checked A or B: 0 < value < N, 384 bytes \[SRP-3\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicValue([u8; SRP_LENGTH]);

impl PublicValue {
    /// Checks length and range before any arithmetic.
    ///
    /// # Errors
    /// [`SrpError::OutOfRange`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SrpError> {
        let bytes: [u8; SRP_LENGTH] = bytes.try_into().map_err(|_| SrpError::OutOfRange)?;
        // Big-endian arrays of one length compare as numbers; the value is public, time does not matter.
        if bytes.iter().all(|byte| *byte == 0) || bytes >= modulus() {
            return Err(SrpError::OutOfRange);
        }
        Ok(PublicValue(bytes))
    }

    /// PAD(value).
    pub const fn as_bytes(&self) -> &[u8; SRP_LENGTH] {
        &self.0
    }

    fn from_number(value: &BoxedUint) -> Self {
        PublicValue(pad(value))
    }

    fn number(&self) -> BoxedUint {
        number(&self.0)
    }
}

/// A secret exponent, a or b \[SRP-2\]. Erased when dropped.
pub struct Exponent(Zeroizing<BoxedUint>);

impl Exponent {
    /// 512 fresh bits.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0u8; EXPONENT_LENGTH]);
        rng.fill_bytes(bytes.as_mut_slice());
        Exponent(Zeroizing::new(
            BoxedUint::from_be_slice(bytes.as_slice(), 8 * EXPONENT_LENGTH as u32)
                .expect("64 bytes are 512 bits"),
        ))
    }
}

impl ZeroizeOnDrop for Exponent {}

/// The premaster secret S, padded to 384 bytes. Erased when dropped.
pub struct Premaster(Zeroizing<[u8; SRP_LENGTH]>);

impl Premaster {
    /// PAD(S).
    pub fn as_bytes(&self) -> &[u8; SRP_LENGTH] {
        &self.0
    }
}

impl ZeroizeOnDrop for Premaster {}

/// What a leader keeps of a code: salt and verifier, in memory alone \[SRP-4\]. Erased when dropped.
pub struct Verifier {
    salt: [u8; 32],
    v: Zeroizing<BoxedUint>,
}

impl Verifier {
    /// A verifier for a new code under a fresh salt \[SRP-4\].
    pub fn new(code: SessionNumber, words: &Words, rng: &mut impl CryptoRng) -> Self {
        let mut salt = [0u8; 32];
        rng.fill_bytes(&mut salt);
        let x = private_key(code, words, &salt);
        Verifier { salt, v: Zeroizing::new(Client::new().compute_g_x(&x)) }
    }

    /// The salt, which M2 tells.
    pub const fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// B = k v + g^b.
    pub fn public_value(&self, b: &Exponent) -> PublicValue {
        PublicValue::from_number(&Server::new().compute_b_pub(&b.0, &multiplier(), &self.v))
    }

    /// The leader's S = (A v^u)^b.
    ///
    /// # Errors
    /// [`SrpError::ZeroScrambler`].
    pub fn premaster(
        &self,
        b: &Exponent,
        a_public: &PublicValue,
        b_public: &PublicValue,
    ) -> Result<Premaster, SrpError> {
        let u = scrambler(a_public, b_public)?;
        let s = Zeroizing::new(Server::new().compute_premaster_secret(&a_public.number(), &self.v, &u, &b.0));
        Ok(Premaster(Zeroizing::new(pad(&s))))
    }
}

impl ZeroizeOnDrop for Verifier {}

/// The joiner's A = g^a.
pub fn client_public_value(a: &Exponent) -> PublicValue {
    PublicValue::from_number(&Client::new().compute_g_x(&a.0))
}

/// The joiner's S = (B - k g^x)^(a + u x).
///
/// # Errors
/// [`SrpError::ZeroScrambler`].
pub fn client_premaster(
    a: &Exponent,
    a_public: &PublicValue,
    b_public: &PublicValue,
    salt: &[u8; 32],
    code: SessionNumber,
    words: &Words,
) -> Result<Premaster, SrpError> {
    let u = scrambler(a_public, b_public)?;
    let x = private_key(code, words, salt);
    let s = Zeroizing::new(Client::new().compute_premaster_secret(
        &b_public.number(),
        &multiplier(),
        &x,
        &a.0,
        &u,
    ));
    Ok(Premaster(Zeroizing::new(pad(&s))))
}

/// x = H(salt | H(I ":" P)); I is the nine digits \[SRP-1\].
fn private_key(code: SessionNumber, words: &Words, salt: &[u8; 32]) -> Zeroizing<BoxedUint> {
    let mut inner = Sha256::new();
    inner.update(code.value().to_string());
    inner.update(b":");
    inner.update(words.phrase().as_bytes());
    let mut outer = Sha256::new();
    outer.update(salt);
    outer.update(inner.finalize());
    Zeroizing::new(hash_number(outer))
}

/// k = H(N | PAD(g)) \[SRP-1\].
fn multiplier() -> BoxedUint {
    let mut generator = [0u8; SRP_LENGTH];
    generator[SRP_LENGTH - 1] = GENERATOR;
    hash_number(Sha256::new().chain_update(modulus()).chain_update(generator))
}

/// u = H(PAD(A) | PAD(B)) \[SRP-1\] \[SRP-3\].
fn scrambler(a: &PublicValue, b: &PublicValue) -> Result<BoxedUint, SrpError> {
    let u = hash_number(Sha256::new().chain_update(a.as_bytes()).chain_update(b.as_bytes()));
    if bool::from(u.is_zero()) { Err(SrpError::ZeroScrambler) } else { Ok(u) }
}

fn hash_number(hash: Sha256) -> BoxedUint {
    let mut digest = hash.finalize();
    let number = BoxedUint::from_be_slice(&digest, 256).expect("SHA-256 has 256 bits");
    zeroize::Zeroize::zeroize(digest.as_mut_slice());
    number
}

fn number(bytes: &[u8; SRP_LENGTH]) -> BoxedUint {
    BoxedUint::from_be_slice(bytes, GROUP_BITS).expect("384 bytes are 3,072 bits")
}

/// The number in 384 bytes, leading zeros kept.
fn pad(value: &BoxedUint) -> [u8; SRP_LENGTH] {
    let bytes = Zeroizing::new(value.to_be_bytes().into_vec());
    bytes.as_slice().try_into().expect("elements of the group have the group's precision")
}

fn modulus() -> [u8; SRP_LENGTH] {
    let group = G3072::generator();
    group.params().modulus().to_be_bytes().as_ref().try_into().expect("the group's modulus has 3,072 bits")
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn words(text: &str) -> (SessionNumber, Words) {
        let code: crate::JoinCode = text.parse().unwrap();
        (code.number, code.words)
    }

    fn one() -> [u8; SRP_LENGTH] {
        let mut one = [0; SRP_LENGTH];
        one[SRP_LENGTH - 1] = 1;
        one
    }

    /// The group is the one that the clause names: its first and last words, its generator.
    #[test]
    fn group_is_rfc_5054s() {
        let n = modulus();
        assert_eq!(n[..12], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x0f, 0xda, 0xa2]);
        assert_eq!(n[376..], [0xff; 8]);
        let generator = G3072::generator().retrieve();
        assert_eq!(generator, BoxedUint::from_be_slice(&[GENERATOR], GROUP_BITS).unwrap());
    }

    /// \[SRP-3\]: A and B of 0, N, 2N, above N, short, long and empty are refused; the values at the edges are not.
    #[test]
    fn public_values_out_of_range_are_refused() {
        let n = modulus();
        // 2N has 3,073 bits: no 384 bytes say it, 385 are refused by their length.
        let shifted = (0..SRP_LENGTH).map(|at| (n[at] << 1) | n.get(at + 1).map_or(0, |next| next >> 7));
        let double: Vec<u8> = std::iter::once(1).chain(shifted).collect();
        let mut above = n;
        above[SRP_LENGTH - 9] += 1;
        let refused: [&[u8]; 9] = [
            &[0; SRP_LENGTH],
            &n,
            &above,
            &[0xff; SRP_LENGTH],
            &double,
            &n[1..],
            &[1; SRP_LENGTH - 1],
            &[1; SRP_LENGTH + 1],
            &[],
        ];
        for (at, value) in refused.iter().enumerate() {
            assert_eq!(PublicValue::parse(value), Err(SrpError::OutOfRange), "value {at}");
        }
        let mut below = n;
        below[SRP_LENGTH - 1] -= 1;
        assert!(PublicValue::parse(&below).is_ok());
        assert!(PublicValue::parse(&one()).is_ok());
    }

    /// \[SRP-1\] \[SRP-2\] \[SRP-4\]: both sides agree for the same code, and on nothing for another word, number or
    /// salt; exponents and salts are fresh each time.
    #[test]
    fn both_sides_agree_on_the_same_code_alone() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let (number, secret) = words("483920117 lucky abandon zoo");
        let verifier = Verifier::new(number, &secret, &mut rng);
        let (a, b) = (Exponent::generate(&mut rng), Exponent::generate(&mut rng));
        assert_ne!(*a.0, *b.0);
        let (a_public, b_public) = (client_public_value(&a), verifier.public_value(&b));
        assert!(PublicValue::parse(a_public.as_bytes()).is_ok());
        let leader = verifier.premaster(&b, &a_public, &b_public).unwrap();
        let joiner = |text, salt: &[u8; 32]| {
            let (number, secret) = words(text);
            *client_premaster(&a, &a_public, &b_public, salt, number, &secret).unwrap().0
        };
        assert_eq!(joiner("483920117 lucky abandon zoo", verifier.salt()), *leader.0);
        assert_ne!(joiner("483920117 lucky abandon zone", verifier.salt()), *leader.0);
        assert_ne!(joiner("483920118 lucky abandon zoo", verifier.salt()), *leader.0);
        assert_ne!(joiner("483920117 lucky abandon zoo", &[0; 32]), *leader.0);
        assert_ne!(Verifier::new(number, &secret, &mut rng).salt(), verifier.salt());
    }

    /// \[HSK-14\]: secrets are erased when dropped.
    #[test]
    fn secrets_are_erased() {
        fn erased<T: ZeroizeOnDrop>() {}
        erased::<Exponent>();
        erased::<Premaster>();
        erased::<Verifier>();
        erased::<Zeroizing<BoxedUint>>();
    }
}
