//! How often one network, and all of them, may look up numbers or log in \[GW-11\].
//!
//! In memory and sans-IO: a restart forgives. Whole networks count: /32 of IPv4, /64 of IPv6.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proto_spec::Timestamp;

use crate::config::{
    LIMITER_NETWORKS_MAX, LOGINS_GLOBAL_PER_MINUTE, LOGINS_PER_MINUTE, LOOKUPS_GLOBAL_PER_MINUTE,
    LOOKUPS_PER_MINUTE,
};
use crate::denial::Denial;

const MINUTE: Duration = Duration::from_secs(60);

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LimitKind {
    /// `Endpoint.Lookup`.
    Lookup,
    /// `Endpoint.Login`.
    Login,
}

impl LimitKind {
    const fn per_minute(self) -> u32 {
        match self {
            Self::Lookup => LOOKUPS_PER_MINUTE,
            Self::Login => LOGINS_PER_MINUTE,
        }
    }

    const fn global_per_minute(self) -> u32 {
        match self {
            Self::Lookup => LOOKUPS_GLOBAL_PER_MINUTE,
            Self::Login => LOGINS_GLOBAL_PER_MINUTE,
        }
    }
}

/// Parts of a token: so many that what comes in a millisecond is whole, whatever the rate.
const PARTS: u64 = MINUTE.as_millis() as u64;

/// A bucket that fills evenly, `per_minute` tokens deep.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u64,
    filled: Timestamp,
}

impl Bucket {
    const fn full(per_minute: u32, now: Timestamp) -> Bucket {
        Bucket { parts: per_minute as u64 * PARTS, filled: now }
    }

    fn fill(&mut self, per_minute: u32, now: Timestamp) {
        let elapsed_ms = now.since(self.filled).as_millis().min(MINUTE.as_millis()) as u64;
        if elapsed_ms > 0 {
            let per_minute = u64::from(per_minute);
            self.parts = (self.parts + elapsed_ms * per_minute).min(per_minute * PARTS);
            self.filled = now;
        }
    }

    /// When a whole token will be there, in milliseconds; 0 for now.
    fn wait_ms(&self, per_minute: u32) -> u32 {
        PARTS.saturating_sub(self.parts).div_ceil(u64::from(per_minute)) as u32
    }
}

/// The buckets of one broker.
#[derive(Debug, Default)]
pub struct Limiter {
    networks: BTreeMap<(LimitKind, u128), Bucket>,
    all: BTreeMap<LimitKind, Bucket>,
}

impl Limiter {
    /// Full buckets for everyone.
    pub fn new() -> Limiter {
        Limiter::default()
    }

    /// Takes one from the network's bucket and one from everyone's, or from neither.
    ///
    /// # Errors
    /// [`Denial::TooOften`] with when to come back.
    pub fn check(&mut self, kind: LimitKind, address: IpAddr, now: Timestamp) -> Result<(), Denial> {
        // Everyone's bucket comes first: what it refuses leaves no trace, so that no crowd can fill the map.
        let all = self.all.entry(kind).or_insert(Bucket::full(kind.global_per_minute(), now));
        all.fill(kind.global_per_minute(), now);
        let all_wait_ms = all.wait_ms(kind.global_per_minute());
        if all_wait_ms > 0 {
            return Err(Denial::TooOften { retry_after_ms: all_wait_ms });
        }
        let network = network(address);
        if !self.networks.contains_key(&(kind, network)) && self.networks.len() >= LIMITER_NETWORKS_MAX {
            self.forget_quietest(now);
        }
        let own = self.networks.entry((kind, network)).or_insert(Bucket::full(kind.per_minute(), now));
        own.fill(kind.per_minute(), now);
        let own_wait_ms = own.wait_ms(kind.per_minute());
        if own_wait_ms > 0 {
            return Err(Denial::TooOften { retry_after_ms: own_wait_ms });
        }
        own.parts -= PARTS;
        if let Some(all) = self.all.get_mut(&kind) {
            all.parts -= PARTS;
        }
        Ok(())
    }

    /// Forgets all networks whose buckets are full again; if none is, the one that has been quiet longest.
    fn forget_quietest(&mut self, now: Timestamp) {
        self.networks.retain(|_, bucket| now.since(bucket.filled) < MINUTE);
        if self.networks.len() >= LIMITER_NETWORKS_MAX {
            let quietest = self.networks.iter().min_by_key(|(_, bucket)| bucket.filled).map(|(key, _)| *key);
            quietest.map(|key| self.networks.remove(&key));
        }
    }
}

fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Outside 2000::/3 and so no /64 of anyone.
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(Duration::from_secs(seconds))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// \[GW-11\]: ten a minute from one network, the eleventh waits; others do not.
    #[test]
    fn ten_look_ups_a_minute_from_one_network() {
        let mut limiter = Limiter::new();
        for _ in 0..LOOKUPS_PER_MINUTE {
            limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(0)).unwrap();
        }
        let denial = limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(0)).unwrap_err();
        assert_eq!(denial, Denial::TooOften { retry_after_ms: 6_000 });
        assert!(
            limiter.check(LimitKind::Lookup, ip("::ffff:192.0.2.1"), at(5)).is_err(),
            "the same in disguise"
        );
        limiter.check(LimitKind::Lookup, ip("192.0.2.2"), at(0)).unwrap();
        limiter.check(LimitKind::Login, ip("192.0.2.1"), at(0)).unwrap();
        limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(6)).unwrap();
        assert!(limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(6)).is_err());
    }

    /// \[GW-11\]
    #[test]
    fn a_whole_prefix_of_ipv6_is_one_network() {
        let mut limiter = Limiter::new();
        for host in 0..LOOKUPS_PER_MINUTE {
            limiter.check(LimitKind::Lookup, ip(&format!("2001:db8::{host}")), at(0)).unwrap();
        }
        assert!(limiter.check(LimitKind::Lookup, ip("2001:db8::ffff"), at(0)).is_err());
        limiter.check(LimitKind::Lookup, ip("2001:db8:0:1::1"), at(0)).unwrap();
    }

    /// \[GW-11\]
    #[test]
    fn all_networks_together_are_limited() {
        let mut limiter = Limiter::new();
        for network in 0..LOOKUPS_GLOBAL_PER_MINUTE {
            limiter
                .check(LimitKind::Lookup, IpAddr::from((0x0a00_0000 + network).to_be_bytes()), at(0))
                .unwrap();
        }
        assert!(limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(0)).is_err());
        limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(1)).unwrap();
    }

    #[test]
    fn frequent_refused_calls_do_not_starve_the_bucket() {
        let mut limiter = Limiter::new();
        for _ in 0..LOOKUPS_PER_MINUTE {
            limiter.check(LimitKind::Lookup, ip("192.0.2.1"), at(0)).unwrap();
        }
        let ms = |ms| Timestamp(Duration::from_millis(ms));
        let allowed =
            (1..=60_000).filter(|t| limiter.check(LimitKind::Lookup, ip("192.0.2.1"), ms(*t)).is_ok());
        assert_eq!(allowed.count(), LOOKUPS_PER_MINUTE as usize);
    }

    #[test]
    fn memory_is_bounded() {
        let mut limiter = Limiter::new();
        // Slow enough for everyone's bucket, so that every network is remembered at first.
        let apart = Duration::from_secs(60) / LOGINS_GLOBAL_PER_MINUTE;
        for network in 0..LIMITER_NETWORKS_MAX as u32 + 10 {
            let now = Timestamp(apart * network);
            limiter.check(LimitKind::Login, IpAddr::from(network.to_be_bytes()), now).unwrap();
        }
        assert!(limiter.networks.len() <= LIMITER_NETWORKS_MAX);
        limiter.forget_quietest(Timestamp(apart * (LIMITER_NETWORKS_MAX as u32 + 10)));
        assert!(limiter.networks.len() <= LOGINS_GLOBAL_PER_MINUTE as usize);
    }
}
