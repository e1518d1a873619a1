//! Lets what has a wire form stand in journals: it is written as the bytes of its one encoding.

use proto_spec::Wire;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value of the protocol inside a serialisable one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wired<T>(pub T);

impl<T: Wire> Serialize for Wired<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_bytes().serialize(serializer)
    }
}

impl<'de, T: Wire> Deserialize<'de> for Wired<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        T::from_bytes(&bytes).map(Wired).map_err(D::Error::custom)
    }
}
