//! Tombstones and checkpoints: signed, altered, foreign, over.

use std::time::Duration;

use proto_spec::checkpoint::Checkpoint;
use proto_spec::{SenderNumber, SessionId, Wire};
use sealcast_trust::audit::{sign_checkpoint, verify_checkpoint};
use sealcast_trust::ticket::{CLOCK_LEEWAY, MEMBER_VALIDITY_MAX};
use sealcast_trust::tombstone::{TombstoneError, sign, verify};
use sealcast_trust::{Head, Verifier};

use crate::mesh::{Mesh, NOW};

/// \[TMB-2\] \[TMB-3\]
#[test]
fn tombstones_hold_as_long_as_what_they_end() {
    let mesh = Mesh::new("m");
    let (signer, key) = mesh.broker();
    let verifier = mesh.verifier(key);
    let (session, number) = (SessionId([1; 16]), SenderNumber::new(4));
    let bytes = sign(&signer, session, number, NOW).to_bytes();
    let body = verify(&bytes, &verifier, NOW).unwrap();
    assert_eq!((body.session, body.number), (session, number));
    let end = NOW.plus(MEMBER_VALIDITY_MAX).plus(CLOCK_LEEWAY);
    assert!(verify(&bytes, &verifier, end.minus(Duration::from_millis(1))).is_ok());
    assert_eq!(verify(&bytes, &verifier, end), Err(TombstoneError::Over));
    for index in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[index] ^= 1;
        assert!(verify(&altered, &verifier, NOW).is_err(), "byte {index}");
        assert!(verify(&bytes[..index], &verifier, NOW).is_err());
    }
    let (_, other) = Mesh::new("m").broker();
    assert_eq!(verify(&bytes, &mesh.verifier(other), NOW), Err(TombstoneError::Foreign));
    assert_eq!(verify(&bytes, &Verifier::new("n", [key]), NOW), Err(TombstoneError::Foreign));
    assert_eq!(verify(&[0; 4096], &verifier, NOW), Err(TombstoneError::Malformed));
}

/// \[AUD-6\]
#[test]
fn checkpoints_are_their_brokers_word() {
    let mesh = Mesh::new("m");
    let (signer, key) = mesh.broker();
    let verifier = mesh.verifier(key);
    let checkpoint = sign_checkpoint(&signer, Head { index: 5, hash: [8; 32] }, NOW);
    assert!(verify_checkpoint(&checkpoint, &verifier).is_ok());
    let bytes = checkpoint.to_bytes();
    for index in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[index] ^= 1;
        if let Ok(altered) = Checkpoint::from_bytes(&altered) {
            assert!(verify_checkpoint(&altered, &verifier).is_err(), "byte {index}");
        }
    }
    assert!(verify_checkpoint(&checkpoint, &Verifier::new("n", [key])).is_err());
}
