//! How many connections one address may open, and how many may be half open \[ATT-14\]. An address counts as its /32
//! or /64. Sans-IO: the shell says when a connection was accepted and when its admission ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proto_spec::{Refusal, Timestamp};

use crate::bucket::TokenBucket;
use crate::config::{ADDRESSES_MAX, Limits};

/// An address as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressKey([u8; 8]);

impl AddressKey {
    /// The /32 of an IPv4 address (mapped ones too), the /64 of an IPv6 address.
    pub fn of(address: IpAddr) -> AddressKey {
        let mut key = [0u8; 8];
        match address.to_canonical() {
            // 0xffff never begins a unicast IPv6 address, so the two cannot meet.
            IpAddr::V4(v4) => {
                key[..2].copy_from_slice(&[0xff, 0xff]);
                key[4..].copy_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => key.copy_from_slice(&v6.octets()[..8]),
        }
        AddressKey(key)
    }
}

#[derive(Debug)]
struct Entry {
    accepts: TokenBucket,
    half_open: usize,
    /// Order of the last accept.
    seen: u64,
}

/// Accept rates and half-open counts of a node.
#[derive(Debug)]
pub struct AddressLimiter {
    limits: Arc<Limits>,
    entries: BTreeMap<AddressKey, Entry>,
    by_seen: BTreeMap<u64, AddressKey>,
    seen: u64,
    half_open: usize,
}

impl AddressLimiter {
    /// Nobody seen yet.
    pub fn new(limits: Arc<Limits>) -> AddressLimiter {
        AddressLimiter { limits, entries: BTreeMap::new(), by_seen: BTreeMap::new(), seen: 0, half_open: 0 }
    }

    /// Connections whose admission has not ended.
    pub fn half_open(&self) -> usize {
        self.half_open
    }

    /// A connection was accepted: counts it as half open until [`AddressLimiter::ended`].
    ///
    /// # Errors
    /// [`Refusal::NodeFull`] when too many are half open, [`Refusal::AddressLimited`] when too many come from this
    /// address. A refused connection is not counted and is closed at once.
    pub fn accept(&mut self, now: Timestamp, address: IpAddr) -> Result<AddressKey, Refusal> {
        if self.half_open >= self.limits.half_open_max {
            return Err(Refusal::NodeFull);
        }
        let key = AddressKey::of(address);
        self.seen += 1;
        let seen = self.seen;
        if let Some(entry) = self.entries.get_mut(&key) {
            self.by_seen.remove(&entry.seen);
            entry.seen = seen;
        } else {
            self.make_room();
            let burst = u64::from(self.limits.address_accepts_burst) * 60;
            let accepts = TokenBucket::new(u64::from(self.limits.address_accepts_per_minute), burst, now);
            self.entries.insert(key, Entry { accepts, half_open: 0, seen });
        }
        self.by_seen.insert(seen, key);
        let Some(entry) = self.entries.get_mut(&key) else { return Err(Refusal::Internal) };
        // A token is a sixtieth of a connection, so that the rate per minute is one per second.
        if entry.half_open >= self.limits.address_half_open_max || !entry.accepts.try_take(now, 60) {
            return Err(Refusal::AddressLimited);
        }
        entry.half_open += 1;
        self.half_open += 1;
        Ok(key)
    }

    /// A connection counted by [`AddressLimiter::accept`] was admitted, or closed before.
    pub fn ended(&mut self, key: AddressKey) {
        self.half_open = self.half_open.saturating_sub(1);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.half_open = entry.half_open.saturating_sub(1);
        }
    }

    /// Forgets the address seen longest ago; one with half-open connections counts anew then, under the global cap.
    fn make_room(&mut self) {
        if self.entries.len() >= ADDRESSES_MAX
            && let Some((_, key)) = self.by_seen.pop_first()
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limiter(change: impl FnOnce(&mut Limits)) -> AddressLimiter {
        let mut limits = Limits::default();
        change(&mut limits);
        AddressLimiter::new(Arc::new(limits))
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    /// [ATT-14] at the limit and one beyond, for a /64 and its neighbour.
    #[test]
    fn half_open_is_capped_by_address_and_in_all() {
        let mut limiter = limiter(|limits| {
            limits.address_half_open_max = 2;
            limits.half_open_max = 3;
        });
        let first = limiter.accept(at(0), "2001:db8::1".parse().unwrap()).unwrap();
        limiter.accept(at(0), "2001:db8::2".parse().unwrap()).unwrap();
        assert_eq!(limiter.accept(at(0), "2001:db8::3".parse().unwrap()), Err(Refusal::AddressLimited));
        limiter.accept(at(0), "2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert_eq!(limiter.accept(at(0), "192.0.2.1".parse().unwrap()), Err(Refusal::NodeFull));
        limiter.ended(first);
        limiter.accept(at(0), "2001:db8::3".parse().unwrap()).unwrap();
        assert_eq!(limiter.half_open(), 3);
    }

    /// [ATT-14]: burst, then the rate per minute; mapped IPv4 addresses are IPv4 addresses.
    #[test]
    fn accepts_are_rated_by_address() {
        let mut limiter = limiter(|limits| {
            limits.address_accepts_burst = 2;
            limits.address_accepts_per_minute = 60;
        });
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let plain: IpAddr = "192.0.2.1".parse().unwrap();
        for address in [mapped, plain] {
            let key = limiter.accept(at(0), address).unwrap();
            limiter.ended(key);
        }
        assert_eq!(limiter.accept(at(999), plain), Err(Refusal::AddressLimited));
        assert!(limiter.accept(at(1_000), plain).is_ok());
        assert!(limiter.accept(at(1_000), "192.0.2.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let mut limiter = limiter(|_| {});
        for index in 0..ADDRESSES_MAX as u32 + 10 {
            let key = limiter.accept(at(0), IpAddr::from(index.to_be_bytes())).unwrap();
            limiter.ended(key);
        }
        assert_eq!(limiter.entries.len(), ADDRESSES_MAX);
        assert_eq!(limiter.by_seen.len(), ADDRESSES_MAX);
        assert_eq!(limiter.half_open(), 0);
    }
}
