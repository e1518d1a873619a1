//! Tickets signed and checked: PASETO v4.public, offline, against `now.wall` handed in \[TKT-1\].
//!
//! A node holds one [`Verifier`] with the keys of every broker it accepts. Never checks the proof of possession
//! (`proof`) nor tombstones (the attach core).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::{Public, UntrustedToken};
use pasetors::version4::{PublicToken, V4};
use proto_spec::ticket::{
    Claims, Footer, TICKET_HEADER, TICKET_IMPLICIT, TICKET_LENGTH_MAX, TICKET_NODES_MAX, TicketKind,
};
use proto_spec::{Refusal, WallTime};
use thiserror::Error;

use crate::cert::{CertificateRole, Identity};
use crate::key::{BrokerSigner, KeyError};

/// The longest a lobby ticket may be valid \[TKT-5\].
pub const LOBBY_VALIDITY_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest a member ticket may be valid \[TKT-5\].
pub const MEMBER_VALIDITY_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// How far a broker's clock may run ahead of a node's \[TKT-5\].
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(5 * 60);
/// Brokers that a node accepts tickets from; a mesh has a handful.
pub const BROKERS_MAX: usize = 64;

/// Why a ticket is refused; the party who presents it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TicketError {
    /// Not a token, or claims that cannot be.
    #[error("the ticket cannot be read: ask for the session again")]
    Malformed,
    /// Not signed by a broker of this mesh, or altered.
    #[error("the ticket was not issued by a broker of this mesh, or it has been altered")]
    Foreign,
    /// Over, or its broker's certificate is.
    #[error("the ticket has expired: join the session again, and check this machine's clock")]
    Expired,
    /// Issued further ahead than clocks may differ.
    #[error(
        "the ticket comes from the future: the clocks of broker and node differ by more than five minutes"
    )]
    NotYetValid,
}

impl TicketError {
    /// The counter's label; never changes once released.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

impl From<TicketError> for Refusal {
    fn from(error: TicketError) -> Refusal {
        match error {
            TicketError::Malformed => Refusal::TicketMalformed,
            TicketError::Foreign => Refusal::TicketForeign,
            TicketError::Expired | TicketError::NotYetValid => Refusal::TicketExpired,
        }
    }
}

/// A broker as nodes know it: its key, how long its certificate lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerKey {
    key: [u8; 32],
    certificate: [u8; 32],
    not_before: WallTime,
    not_after: WallTime,
}

impl BrokerKey {
    /// From a broker's verified certificate.
    ///
    /// # Errors
    /// [`KeyError::NotABroker`] for any other certificate: a node's key signs no tickets.
    pub fn new(identity: &Identity) -> Result<BrokerKey, KeyError> {
        match identity.role {
            CertificateRole::Broker(_) => Ok(BrokerKey {
                key: identity.key,
                certificate: identity.certificate,
                not_before: identity.not_before,
                not_after: identity.not_after,
            }),
            _ => Err(KeyError::NotABroker),
        }
    }

    /// SHA-256 of the certificate.
    pub const fn certificate(&self) -> [u8; 32] {
        self.certificate
    }

    pub(crate) const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether the broker's certificate is valid at `now`.
    pub fn valid_at(&self, now: WallTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Signs a ticket.
///
/// # Panics
/// If the claims break \[TKT-3\] or \[TKT-5\]: our own bug, as no input of a peer gets here unchecked.
pub fn issue(claims: &Claims, signer: &BrokerSigner) -> String {
    assert_eq!(claims.mesh, signer.mesh(), "a ticket for another mesh");
    assert!(well_formed(claims), "a ticket that no node would take: {claims:?}");
    let payload = serde_json::to_vec(claims).expect("claims are plain data");
    let footer =
        serde_json::to_vec(&Footer { broker: signer.certificate() }).expect("a footer is plain data");
    let key = AsymmetricSecretKey::<V4>::from(&signer.keypair_bytes()[..]).expect("a key pair of Ed25519");
    let token = PublicToken::sign(&key, &payload, Some(&footer), Some(TICKET_IMPLICIT))
        .expect("signing fails on an empty payload only");
    assert!(token.len() <= TICKET_LENGTH_MAX, "a ticket of {} bytes", token.len());
    token
}

/// Checks tickets offline.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    mesh: String,
    brokers: BTreeMap<[u8; 32], BrokerKey>,
}

impl Verifier {
    /// Accepts the tickets of these brokers for this mesh; those above [`BROKERS_MAX`] are left out.
    pub fn new(mesh: &str, brokers: impl IntoIterator<Item = BrokerKey>) -> Verifier {
        let brokers =
            brokers.into_iter().take(BROKERS_MAX).map(|broker| (broker.certificate, broker)).collect();
        Verifier { mesh: mesh.to_owned(), brokers }
    }

    /// Accepts this broker's tickets too, whatever others it knows.
    #[must_use]
    pub fn and(mut self, broker: BrokerKey) -> Verifier {
        self.brokers.insert(broker.certificate, broker);
        self
    }

    /// Accepts nothing more that these certificates sign \[REV-4\].
    #[must_use]
    pub fn without(mut self, revoked: &BTreeSet<[u8; 32]>) -> Verifier {
        self.brokers.retain(|certificate, _| !revoked.contains(certificate));
        self
    }

    /// The mesh whose tickets are accepted.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// The broker whose certificate has this hash.
    pub fn broker(&self, certificate: &[u8; 32]) -> Option<&BrokerKey> {
        self.brokers.get(certificate)
    }

    /// Checks signature, broker, mesh, form and times \[TKT-2\] \[TKT-3\] \[TKT-4\] \[TKT-5\].
    ///
    /// # Errors
    /// [`TicketError`]; nothing of a refused ticket may be used, not even for a log.
    pub fn verify(&self, token: &str, now: WallTime) -> Result<Claims, TicketError> {
        if token.len() > TICKET_LENGTH_MAX || !token.starts_with(TICKET_HEADER) {
            return Err(TicketError::Malformed);
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| TicketError::Malformed)?;
        let footer: Footer =
            serde_json::from_slice(untrusted.untrusted_footer()).map_err(|_| TicketError::Malformed)?;
        let broker = self.brokers.get(&footer.broker).ok_or(TicketError::Foreign)?;
        let key = AsymmetricPublicKey::<V4>::from(&broker.key).map_err(|_| TicketError::Foreign)?;
        let trusted = PublicToken::verify(&key, &untrusted, None, Some(TICKET_IMPLICIT))
            .map_err(|_| TicketError::Foreign)?;
        let claims: Claims = serde_json::from_str(trusted.payload()).map_err(|_| TicketError::Malformed)?;
        if claims.mesh != self.mesh {
            return Err(TicketError::Foreign);
        }
        if !well_formed(&claims) {
            return Err(TicketError::Malformed);
        }
        if now >= claims.expires || now > broker.not_after {
            return Err(TicketError::Expired);
        }
        if claims.issued > now.plus(CLOCK_LEEWAY) || claims.issued < broker.not_before {
            return Err(TicketError::NotYetValid);
        }
        Ok(claims)
    }
}

/// The longest that a ticket of this kind may be valid.
pub const fn validity_max(kind: TicketKind) -> Duration {
    match kind {
        TicketKind::Lobby => LOBBY_VALIDITY_MAX,
        TicketKind::Member => MEMBER_VALIDITY_MAX,
    }
}

fn well_formed(claims: &Claims) -> bool {
    claims.nodes.len() <= TICKET_NODES_MAX
        && claims.issued < claims.expires
        && claims.expires <= claims.issued.plus(validity_max(claims.kind))
        && (claims.kind == TicketKind::Member || claims.number != claims.leader)
}
