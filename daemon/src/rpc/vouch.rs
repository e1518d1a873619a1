//! What one node saw of a caller whose call it hands to another \[GW-15\]: one form, read and written here.
//!
//! Believed on connections between nodes alone; who reads it must have asked for the connection first.

use std::net::{IpAddr, Ipv6Addr};

use proto_spec::Reader;
use sealcast_broker::AdminCaller;
use sealcast_trust::{AdminRole, CertificateRole};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::listener::Exporter;

/// Longest name of an administrator.
const NAME_LENGTH_MAX: usize = 64;

/// A caller as another node saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Vouch {
    /// An endpoint: its connection's exporter and its address.
    Endpoint { exporter: Exporter, address: IpAddr },
    /// An administrator.
    Admin(AdminCaller),
}

/// What the metadata of a call says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// Nothing.
    Absent,
    /// Something that is no vouching, or more than one.
    Malformed,
    /// This.
    By(Vouch),
}

impl Vouch {
    /// Adds it to a call's metadata.
    pub(super) fn put(&self, metadata: &mut MetadataMap) {
        metadata.insert_bin(sealcast_rpc::VOUCH_METADATA, MetadataValue::from_bytes(&self.to_bytes()));
    }

    /// Reads a call's metadata.
    pub(super) fn read(metadata: &MetadataMap) -> Vouched {
        let mut values = metadata.get_all_bin(sealcast_rpc::VOUCH_METADATA).iter();
        match (values.next(), values.next()) {
            // The same name without bytes behind it would be another entry.
            (None, _) => Vouched::Absent,
            (Some(value), None) => match value.to_bytes().ok().and_then(|bytes| Vouch::from_bytes(&bytes)) {
                Some(vouch) => Vouched::By(vouch),
                None => Vouched::Malformed,
            },
            _ => Vouched::Malformed,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Vouch::Endpoint { exporter, address } => {
                let address = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => *v6,
                };
                [&[1][..], exporter, &address.octets()].concat()
            }
            Vouch::Admin(AdminCaller::Certificate { role, name }) => {
                let role = match role {
                    AdminRole::AccountAdmin => 1,
                    AdminRole::NetworkAdmin => 2,
                    AdminRole::Auditor => 3,
                };
                // A certificate's name has at most 64 bytes [CRT-3].
                [&[2, role, name.len() as u8][..], name.as_bytes()].concat()
            }
            Vouch::Admin(AdminCaller::Local { uid }) => [&[3][..], &uid.to_be_bytes()].concat(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Vouch> {
        let mut reader = Reader::new(bytes);
        let vouch = match reader.u8().ok()? {
            1 => {
                let exporter = reader.array().ok()?;
                let address = Ipv6Addr::from(reader.array::<16>().ok()?);
                Vouch::Endpoint { exporter, address: IpAddr::V6(address).to_canonical() }
            }
            2 => {
                let role = match reader.u8().ok()? {
                    1 => AdminRole::AccountAdmin,
                    2 => AdminRole::NetworkAdmin,
                    3 => AdminRole::Auditor,
                    _ => return None,
                };
                let length = usize::from(reader.u8().ok()?);
                if length > NAME_LENGTH_MAX {
                    return None;
                }
                let name = std::str::from_utf8(reader.bytes(length).ok()?).ok()?;
                // Only what could stand in a certificate may stand in an audit.
                match CertificateRole::admin(role, name).ok()? {
                    CertificateRole::Admin { role, name } => {
                        Vouch::Admin(AdminCaller::Certificate { role, name })
                    }
                    _ => return None,
                }
            }
            3 => Vouch::Admin(AdminCaller::Local { uid: reader.u32().ok()? }),
            _ => return None,
        };
        reader.finish().ok()?;
        Some(vouch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Vouch> {
        let certificate =
            |role| Vouch::Admin(AdminCaller::Certificate { role, name: "ada@example.org".into() });
        let mut all: Vec<Vouch> = AdminRole::ALL.into_iter().map(certificate).collect();
        all.push(Vouch::Admin(AdminCaller::Local { uid: 1_000 }));
        for address in ["192.0.2.7", "2001:db8::7"] {
            all.push(Vouch::Endpoint { exporter: [7; 32], address: address.parse().unwrap() });
        }
        all
    }

    /// \[GW-15\]: reads back; no prefix or extension of one is one.
    #[test]
    fn reads_back_and_refuses_the_rest() {
        for vouch in all() {
            let bytes = vouch.to_bytes();
            assert_eq!(Vouch::from_bytes(&bytes), Some(vouch));
            for length in 0..bytes.len() {
                assert_eq!(Vouch::from_bytes(&bytes[..length]), None);
            }
            assert_eq!(Vouch::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
        assert_eq!(Vouch::from_bytes(&[4, 0]), None);
        assert_eq!(Vouch::from_bytes(b"\x02\x04\x01a"), None, "no such role");
        assert_eq!(Vouch::from_bytes(b"\x02\x01\x01\n"), None, "no such name");
    }

    #[test]
    fn one_is_enough() {
        let mut metadata = MetadataMap::new();
        assert_eq!(Vouch::read(&metadata), Vouched::Absent);
        for vouch in all() {
            vouch.put(&mut metadata);
            assert_eq!(Vouch::read(&metadata), Vouched::By(vouch), "the later replaces the earlier");
        }
        metadata.append_bin(sealcast_rpc::VOUCH_METADATA, MetadataValue::from_bytes(&all()[0].to_bytes()));
        assert_eq!(Vouch::read(&metadata), Vouched::Malformed);
        let mut short = MetadataMap::new();
        short.insert_bin(sealcast_rpc::VOUCH_METADATA, MetadataValue::from_bytes(&[1, 2]));
        assert_eq!(Vouch::read(&short), Vouched::Malformed);
    }
}
