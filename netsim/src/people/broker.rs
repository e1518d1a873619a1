//! The product's broker with what its shell holds for it: key, store, limiters. Who drives it stands in `calls`.
//!
//! Several brokers do not share a store yet; here they are one, whose store outlives its nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ed25519_dalek::SigningKey;
use proto_spec::frame::TicketFrame;
use proto_spec::mesh::LoadReport;
use proto_spec::ticket::Claims;
use proto_spec::tombstone::Tombstone;
use proto_spec::{NodeNumber, Now, Refusal, Timestamp, WallTime, Wire};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_attach::verify;
use sealcast_broker::{Broker as Core, Denial, LimitKind, Limiter, Seed};
use sealcast_endpoint_core::attach::ticket_claims;
use sealcast_trust::{BrokerKey, BrokerSigner, CertificateRole, Identity, Verifier, tombstone};
use sha2::{Digest as _, Sha256};

use super::store::Store;
use crate::check::delivery::PersonId;
use crate::sim::Random;

/// The mesh of every run.
const MESH: &str = "netsim";
/// Sessions that are opened by one account: half of what it may have.
const SESSIONS_PER_ACCOUNT: usize = 32;
/// Everybody's password.
pub(super) const PASSWORD: &str = "vq8-trombone-ledger";

#[derive(Debug)]
pub(crate) struct Broker {
    pub(super) core: Core,
    /// What nodes accept.
    pub(super) verifier: Verifier,
    pub(crate) store: Store,
    /// One for each process of a broker: a restart forgives.
    limiters: BTreeMap<(NodeNumber, u64), Limiter>,
    chance: ChaCha20Rng,
}

impl Broker {
    /// A broker whose certificate has this name.
    pub(crate) fn new(seed: u64, certificate: [u8; 32]) -> Broker {
        let mut random = Random::stream(seed, "broker", 0);
        let key = SigningKey::from_bytes(&random.seed());
        let identity = Identity {
            mesh: MESH.parse().expect("it is a name"),
            role: CertificateRole::Broker(NodeNumber::new(1).expect("1 is a number")),
            key: key.verifying_key().to_bytes(),
            certificate,
            not_before: WallTime(0),
            not_after: WallTime(u64::MAX),
        };
        let signer = BrokerSigner::new(&identity, key).expect("key and certificate belong together");
        let verifier = Verifier::new(MESH, [BrokerKey::new(&identity).expect("it is a broker's")]);
        Broker {
            core: Core::new(signer, verifier.clone(), verifier_of("nobody knows this one")),
            verifier,
            store: Store::default(),
            limiters: BTreeMap::new(),
            chance: ChaCha20Rng::from_seed(random.seed()),
        }
    }

    /// The randomness of one request.
    pub(super) fn seed(&mut self) -> Seed {
        Seed::draw(&mut self.chance)
    }

    pub(super) fn load_reported(&mut self, now: Timestamp, from: NodeNumber, report: LoadReport) {
        self.core.heard(from, report, now);
    }

    /// Whether one more call of a kind may come from an address to the broker in this process.
    pub(super) fn limited(
        &mut self,
        (at, boot): (NodeNumber, u64),
        kind: LimitKind,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Denial> {
        self.limiters.retain(|(node, of), _| *node != at || *of == boot);
        self.limiters.entry((at, boot)).or_default().check(kind, from, now)
    }

    /// Whether a tombstone is a broker's and not over.
    pub(crate) fn is_genuine(&self, tombstone: &Tombstone, wall: WallTime) -> bool {
        tombstone::verify(&tombstone.to_bytes(), &self.verifier, wall).is_ok()
    }

    /// What a node makes of a ticket frame; a `lax` one, by a planted bug, takes whatever can be read.
    pub(super) fn door(
        &self,
        lax: bool,
    ) -> impl Fn(&TicketFrame, &[u8; 32], Now) -> Result<Claims, Refusal> + '_ {
        move |frame, exporter, now| {
            verify::check(&self.verifier, frame, exporter, now.wall)
                .or_else(|refusal| ticket_claims(&frame.ticket).filter(|_| lax).ok_or(refusal))
        }
    }
}

/// The address of the account that opens a session, and by which its providers join it.
pub(super) fn account_of(session: usize) -> String {
    format!("provider-{}@netsim.example", session / SESSIONS_PER_ACCOUNT)
}

/// Whether a session is the first of its account.
pub(super) const fn begins_account(session: usize) -> bool {
    session.is_multiple_of(SESSIONS_PER_ACCOUNT)
}

/// What is stored in place of a password. The form is that of Argon2, whose cost would slow every login and show nothing.
pub(super) fn verifier_of(password: &str) -> String {
    let hash = Sha256::digest(password);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("$argon2id$netsim${digits}")
}

/// Where an endpoint calls from: everybody is a network of its own.
pub(super) fn network_of(who: PersonId) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | who as u32))
}
