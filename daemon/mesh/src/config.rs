//! Every bound and interval of the overlay, named and with its reason. What an operator sets is in [`Config`].

use std::time::Duration;

use proto_spec::lsa::Roles;
use proto_spec::mesh::{MESH_NODES_MAX, SESSION_NODES_MAX};
use proto_spec::{NodeNumber, WallTime};
use serde::{Deserialize, Serialize};

/// Links beyond `links_max` that a node still accepts, so that newcomers always find a way in.
pub const LINKS_SPARE: usize = 4;
/// The most links that an operator may ask for: with the spare ones they fit an LSA.
pub const LINKS_MAX: usize = proto_spec::lsa::LSA_LINKS_MAX - LINKS_SPARE;
/// Ring neighbours on each side \[LNK-3\]: four links leave the ring connected when any two nodes fail.
pub const RING_REACH: usize = 2;
/// Links chosen for nearness after the ring \[LNK-3\].
pub const NEAR_LINKS: usize = 4;
/// A link that was down before carries traffic again after this long \[LNK-2\].
pub const LINK_HOLD: Duration = Duration::from_secs(2);
/// What is remembered of links that went down: longer than any hold, shorter than a night.
pub const LINK_MEMORY: Duration = Duration::from_secs(600);
/// One surplus link may be dropped in this time \[LNK-4\].
pub const LINK_DROP_INTERVAL: Duration = Duration::from_secs(60);
/// The node with the higher number waits this long for the other to dial.
pub const DIAL_YIELD: Duration = Duration::from_secs(2);
/// First wait after a dial.
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait between dials of one node: bounds how long a healed partition stays apart.
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Seeds are dialled this often while there is no link at all.
pub const SEED_INTERVAL: Duration = Duration::from_secs(5);
/// And this often while one of them is not among the nodes within reach.
pub const SEED_INTERVAL_LINKED: Duration = Duration::from_secs(30);
/// Seeds that a configuration may name.
pub const SEEDS_MAX: usize = 32;
/// Added to each link's cost, in tenths of a millisecond \[LNK-1\].
pub const HOP_COST: u32 = 10;
/// Cost of a link without a measured round trip, in tenths of a millisecond.
pub const COST_UNMEASURED: u16 = 1_000;
/// The highest cost of a link, measured or set: it fits twice into a sum.
pub const COST_MAX: u16 = u16::MAX / 2;
/// Links whose cost may be set: far more than a node has.
pub const LINK_COSTS_MAX: usize = 1_024;
/// Messages a second that one neighbour may send; above it they are dropped, and digests repair.
pub const LINK_MESSAGES_RATE: u32 = 2_000;
/// Burst of the same: the whole link state of the largest mesh twice over.
pub const LINK_MESSAGES_BURST: u32 = 4 * MESH_NODES_MAX as u32;
/// Malformed or forged messages that end a link.
pub const LINK_FAULTS_MAX: u32 = 16;

/// At most one LSA of a node in this time \[LSA-4\].
pub const LSA_INTERVAL: Duration = Duration::from_secs(5);
/// Changes are gathered this long before an LSA is made.
pub const LSA_GATHER: Duration = Duration::from_millis(50);
/// LSAs that may come sooner, for a lost link or a change of drain state: so many at once \[LSA-4\].
pub const LSA_URGENT_BURST: u32 = 5;
/// And one more in each second.
pub const LSA_URGENT_RATE: u32 = 1;
/// An LSA is made anew this often \[LSA-5\].
pub const LSA_REFRESH: Duration = Duration::from_secs(600);
/// An LSA that was not renewed for this long since its receipt is forgotten \[LSA-5\]: three refreshes and some.
pub const LSA_AGE_MAX: Duration = Duration::from_secs(2_100);
/// LSAs a second that are accepted from one origin \[LSA-13\].
pub const LSA_ACCEPT_RATE: u32 = 1;
/// Burst of the same: more than a node that keeps the rules ever sends.
pub const LSA_ACCEPT_BURST: u32 = 10;
/// LSAs a second of nodes not heard of before, all together \[LSA-13\].
pub const LSA_NEWCOMERS_RATE: u32 = 50;
/// Burst of the same: a whole mesh met at once.
pub const LSA_NEWCOMERS_BURST: u32 = MESH_NODES_MAX as u32;
/// LSAs that wait for their origin's rate, one of each origin.
pub const LSA_PARKED_MAX: usize = 256;
/// LSAs that wait for the chain that signs them.
pub const LSA_CHAINLESS_MAX: usize = 256;
/// Neighbours compare what they hold this often \[LSA-8\].
pub const DIGEST_INTERVAL: Duration = Duration::from_secs(30);
/// Certificate chains of nodes kept: one for each LSA, and room for renewals.
pub const CHAINS_MAX: usize = MESH_NODES_MAX + 256;
/// Past instances of a node that are remembered to recognise a clone \[LSA-12\].
pub const INSTANCES_RETIRED_MAX: usize = 4;
/// How long a cloned identity stays out \[LSA-12\].
pub const QUARANTINE: Duration = Duration::from_secs(600);
/// Certificates that revocation lists may name.
pub const REVOKED_MAX: usize = 4_096;
/// Clocks may disagree this much where signed times are judged.
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(300);
/// Nodes whose clocks are known to be too far away: more say nothing that these do not.
pub const CLOCKS_MAX: usize = 64;
/// How long a node's clock counts as too far away since it was last looked at: links are tried much more often.
pub const CLOCK_KEEP: Duration = Duration::from_secs(600);
/// How often ages are looked at.
pub const AGE_INTERVAL: Duration = Duration::from_secs(10);

/// Wait between a change of link state and the computation of routes \[SPF-3\]: LSAs come in groups.
pub const SPF_DELAY: Duration = Duration::from_millis(20);
/// Routes are computed at most once in this time \[SPF-3\].
pub const SPF_HOLD: Duration = Duration::from_millis(250);

/// Requests to the shell (sign, verify) that may be open; above it what asks for another is dropped and comes again.
pub const REQUESTS_MAX: usize = 8_192;

/// Sessions that a node carries or is home of: ten thousand attachments, and two homes each for a hundred thousand
/// sessions in a mesh of three nodes.
pub const SESSIONS_MAX: usize = 131_072;
/// Other nodes whose memberships of one session are kept: with this node's own they fit an egress set's limit.
pub const MEMBERSHIPS_MAX: usize = SESSION_NODES_MAX - 1;
/// A membership that was not acknowledged is sent again after this long.
pub const TELL_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// And at the latest after this long.
pub const TELL_BACKOFF_MAX: Duration = Duration::from_secs(16);
/// A home says what it holds this often \[MBR-6\].
pub const HOME_DIGEST_INTERVAL: Duration = Duration::from_secs(10);
/// A membership that a live home leaves out for this long is gone \[MBR-7\].
pub const OMITTED_MAX: Duration = Duration::from_secs(30);
/// A home that has said nothing for this long is told again.
pub const HOME_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Memberships of a node that left the roster are kept this long, for its return.
pub const DEPARTED_KEEP: Duration = Duration::from_secs(60);
/// A withdrawal is remembered this long, by its owner and the others, so that no copy of the membership that was out of
/// reach meanwhile returns.
pub const WITHDRAWN_KEEP: Duration = Duration::from_secs(75);
/// What a node holds of a session of which it is neither carrier nor home goes after this long.
pub const LINGER: Duration = Duration::from_secs(60);
/// How often sessions are looked through.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(5);
/// A moved endpoint is called ready after this long, whoever has not acknowledged \[MBR-10\].
pub const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// Moves of one session that may wait for acknowledgements on one node.
pub const READY_WAITS_MAX: usize = 64;
/// Tombstones kept: as many as a node's attachments side keeps.
pub const TOMBSTONES_MAX: usize = 100_000;
/// Copies of tombstones that wait for an acknowledgement.
pub const TOMBSTONE_COPIES_MAX: usize = 4_096;
/// Times that one copy is sent.
pub const TOMBSTONE_TRIES_MAX: u32 = 30;
/// Brokers that get load reports.
pub const LOAD_BROKERS_MAX: usize = 32;

/// A node that was told by another that its certificate is revoked, and that has no link that carries traffic, leaves after
/// this long \[LSA-15\]: by then a link that shows otherwise is there, its hold included, and a list that is new is
/// everywhere \[REV-4\].
pub const REVOKED_WORD_WAIT: Duration = Duration::from_secs(5);
/// A drained node carries on until routes have been stable for this long \[DRN-3\].
pub const DRAIN_STABLE: Duration = Duration::from_secs(1);
/// And no longer than this.
pub const DRAIN_GRACE_MAX: Duration = Duration::from_secs(10);
/// Bytes of one journal segment.
pub const JOURNAL_SEGMENT_BYTES: usize = 16 * 1024 * 1024;

const _: () = {
    assert!(LINKS_MAX >= 16 && LINKS_MAX + LINKS_SPARE <= proto_spec::lsa::LSA_LINKS_MAX);
    assert!(MEMBERSHIPS_MAX <= proto_spec::egress::EGRESS_NODES_MAX);
    assert!(LSA_AGE_MAX.as_secs() > 3 * LSA_REFRESH.as_secs());
    assert!(WITHDRAWN_KEEP.as_secs() > DEPARTED_KEEP.as_secs());
    assert!(REVOKED_WORD_WAIT.as_secs() > LINK_HOLD.as_secs());
    assert!(OMITTED_MAX.as_secs() >= 2 * HOME_DIGEST_INTERVAL.as_secs());
};

/// What an operator sets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Links that the node aims for, at most [`LINKS_MAX`].
    pub links_max: usize,
    /// The only nodes that it may be linked with; `None` for all.
    pub neighbors_allowed: Option<Vec<NodeNumber>>,
    /// Costs of links that are set and not measured \[LNK-1\], by neighbour, in tenths of a millisecond; at most
    /// [`LINK_COSTS_MAX`].
    pub link_costs: Vec<(NodeNumber, u16)>,
    /// Where to find the mesh, as `host:port`; at most [`SEEDS_MAX`].
    pub seeds: Vec<String>,
    /// What the node does.
    pub roles: Roles,
    /// Attachments that it admits.
    pub capacity: u32,
    /// Where it stands.
    pub region: String,
    /// What fails together with it.
    pub failure_domain: String,
    /// Where endpoints reach it, as `host:port`.
    pub addresses: Vec<String>,
    /// Where other nodes reach it, as `host:port`.
    pub trunk_addresses: Vec<String>,
    /// Program and version.
    pub software: String,
    /// Wire versions that it speaks, oldest and newest.
    pub wire_versions: (u16, u16),
}

impl Default for Config {
    fn default() -> Config {
        Config {
            links_max: 16,
            neighbors_allowed: None,
            link_costs: Vec::new(),
            seeds: Vec::new(),
            roles: Roles::GATEWAY,
            capacity: 10_000,
            region: String::new(),
            failure_domain: String::new(),
            addresses: Vec::new(),
            trunk_addresses: Vec::new(),
            software: String::new(),
            wire_versions: (proto_spec::frame::WIRE_VERSION, proto_spec::frame::WIRE_VERSION),
        }
    }
}

impl Config {
    /// What a link with this neighbour costs by the operator's word, if it is set.
    pub fn link_cost(&self, neighbor: NodeNumber) -> Option<u16> {
        self.link_costs.iter().find(|(node, _)| *node == neighbor).map(|(_, cost)| *cost)
    }

    /// Refuses what cannot work; the sentence names the key to change.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn validate(&self) -> Result<(), String> {
        use proto_spec::lsa::{
            LSA_ADDRESS_LENGTH_MAX, LSA_ADDRESSES_MAX, LSA_TEXT_LENGTH_MAX, LSA_TRUNK_ADDRESSES_MAX,
        };
        if !(1..=LINKS_MAX).contains(&self.links_max) {
            return Err(format!("links_max must be 1 to {LINKS_MAX}"));
        }
        if self.link_costs.len() > LINK_COSTS_MAX {
            return Err(format!("link_costs: at most {LINK_COSTS_MAX}"));
        }
        if self.link_costs.iter().any(|(_, cost)| !(1..=COST_MAX).contains(cost)) {
            return Err(format!("link_costs: each must be 1 to {COST_MAX} tenths of a millisecond"));
        }
        if self.seeds.len() > SEEDS_MAX {
            return Err(format!("seeds: at most {SEEDS_MAX}"));
        }
        if self.addresses.len() > LSA_ADDRESSES_MAX {
            return Err(format!("addresses: at most {LSA_ADDRESSES_MAX}"));
        }
        if self.trunk_addresses.len() > LSA_TRUNK_ADDRESSES_MAX {
            return Err(format!("trunk_addresses: at most {LSA_TRUNK_ADDRESSES_MAX}"));
        }
        let texts = [
            ("region", &self.region),
            ("failure_domain", &self.failure_domain),
            ("software", &self.software),
        ];
        let fits = |text: &str, limit| text.len() <= limit && !text.chars().any(char::is_control);
        for (name, text) in texts {
            if !fits(text, LSA_TEXT_LENGTH_MAX) {
                return Err(format!("{name}: at most {LSA_TEXT_LENGTH_MAX} bytes of plain text"));
            }
        }
        for (name, addresses) in [("addresses", &self.addresses), ("trunk_addresses", &self.trunk_addresses)]
        {
            if addresses.iter().any(|address| !fits(address, LSA_ADDRESS_LENGTH_MAX)) {
                return Err(format!("{name}: at most {LSA_ADDRESS_LENGTH_MAX} bytes of plain text each"));
            }
        }
        Ok(())
    }
}

/// Who the node is, by its certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub node: NodeNumber,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// The name of its leaf certificate in revocation lists: its SHA-256.
    pub certificate: [u8; 32],
    /// Start of the certificate's validity.
    pub issued: WallTime,
    /// Its end.
    pub expires: WallTime,
    /// The chain in DER, leaf first.
    pub chain: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert!(refused(|config| config.links_max = 0).contains("links_max"));
        assert!(refused(|config| config.links_max = LINKS_MAX + 1).contains("links_max"));
        let node = NodeNumber::new(2).unwrap();
        let costs = |link_costs| Config { link_costs, ..Config::default() }.validate();
        for refused in [vec![(node, 0)], vec![(node, COST_MAX + 1)], vec![(node, 1); LINK_COSTS_MAX + 1]] {
            assert!(costs(refused).unwrap_err().contains("link_costs"));
        }
        for cost in [1, COST_MAX] {
            assert_eq!(costs(vec![(node, cost); LINK_COSTS_MAX]), Ok(()));
        }
        assert!(refused(|config| config.region = "\n".into()).contains("region"));
        assert!(refused(|config| config.addresses = vec!["a".into(); 9]).contains("addresses"));
        assert!(refused(|config| config.trunk_addresses = vec!["a".into(); 5]).contains("trunk_addresses"));
        assert!(refused(|config| config.trunk_addresses = vec!["\n".into()]).contains("trunk_addresses"));
    }
}
