//! A node's LSA together with the message in which it travels: encoded once, however many neighbours get it, and known
//! again without being decoded \[LSA-7\].

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use proto_spec::lsa::Lsa;
use proto_spec::mesh::MeshMessage;
use proto_spec::{DecodeError, Wire};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An LSA and its message. A copy is a reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CarriedLsa {
    lsa: Arc<Lsa>,
    message: Bytes,
}

impl CarriedLsa {
    /// One that this node has made.
    pub(crate) fn made(lsa: Lsa) -> CarriedLsa {
        let message = MeshMessage::Lsa(lsa);
        let bytes = message.to_bytes().into();
        let MeshMessage::Lsa(lsa) = message else { unreachable!("it is what was just made") };
        CarriedLsa { lsa: Arc::new(lsa), message: bytes }
    }

    /// One that came in this message.
    pub(crate) fn received(lsa: Lsa, message: Bytes) -> CarriedLsa {
        CarriedLsa { lsa: Arc::new(lsa), message }
    }

    /// The encoded `MeshMessage`.
    pub(crate) const fn message(&self) -> &Bytes {
        &self.message
    }

    /// Whether another says the same to whoever looks for ways and homes: all but what says when and by which process it
    /// was made.
    pub(crate) fn says_the_same(&self, other: &CarriedLsa) -> bool {
        let (one, other) = (&self.lsa.body, &other.lsa.body);
        let same_links = one.links == other.links && one.drain == other.drain && one.roles == other.roles;
        let same_place = one.region == other.region
            && one.failure_domain == other.failure_domain
            && one.addresses == other.addresses
            && one.trunk_addresses == other.trunk_addresses;
        same_links && same_place && one.chain == other.chain
    }
}

impl Deref for CarriedLsa {
    type Target = Lsa;

    fn deref(&self) -> &Lsa {
        &self.lsa
    }
}

impl Serialize for CarriedLsa {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.message.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CarriedLsa {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let message = Bytes::deserialize(deserializer)?;
        match MeshMessage::from_bytes(&message) {
            Ok(MeshMessage::Lsa(lsa)) => Ok(CarriedLsa::received(lsa, message)),
            Ok(_) => Err(D::Error::custom(DecodeError::Malformed("LSA message"))),
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}
