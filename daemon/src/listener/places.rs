//! Places of gRPC connections: so many in all, and so many from one address, as a client that answers pings may stay for
//! ever. Never waits: who finds no place is closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use sealcast_attach::address::AddressKey;

/// The places of all endpoints' listeners of a node.
#[derive(Debug)]
pub struct Places {
    in_all_max: usize,
    of_address_max: usize,
    /// Only addresses that hold a place, so that the map is bounded by the places.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    by_address: BTreeMap<AddressKey, usize>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    key: AddressKey,
}

impl Places {
    /// All of them free.
    pub fn new(in_all_max: usize, of_address_max: usize) -> Arc<Places> {
        Arc::new(Places { in_all_max, of_address_max, taken: Mutex::default() })
    }

    /// A place for a connection from `address`, if there is one.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let key = AddressKey::of(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.by_address.get(&key).copied().unwrap_or(0);
        if taken.in_all >= self.in_all_max || of_address >= self.of_address_max {
            return None;
        }
        taken.in_all += 1;
        taken.by_address.insert(key, of_address + 1);
        Some(Place { places: Arc::clone(self), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At each limit and one beyond; a place that was given back is there again, and nothing is remembered of it.
    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.take(ip("2001:db8::1")).unwrap();
        let second = places.take(ip("2001:db8::2")).unwrap();
        assert!(places.take(ip("2001:db8::3")).is_none(), "its /64 has two");
        let third = places.take(ip("192.0.2.1")).unwrap();
        assert!(places.take(ip("192.0.2.2")).is_none(), "three are all");
        drop(first);
        let fourth = places.take(ip("2001:db8::3")).unwrap();
        drop((second, third, fourth));
        let taken = places.taken.lock().unwrap();
        assert!(taken.in_all == 0 && taken.by_address.is_empty());
    }
}
