//! The identity in a certificate: one URI among the subject's alternative names \[CRT-3\].
//!
//! `sealcast://MESH/node/7`, `sealcast://MESH/broker/7`, `sealcast://MESH/admin/ROLE/NAME`. Text that any certificate
//! viewer shows; one spelling each, so that no two certificates name the same thing differently.

use std::fmt;
use std::str::FromStr;

use proto_spec::NodeNumber;
use thiserror::Error;

/// How every identity starts.
pub(super) const SCHEME: &str = "sealcast://";

/// A name that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not a mesh's name.
    #[error(
        "a mesh's name has 1 to 63 lower-case letters, digits, hyphens and dots, and starts with a letter or digit"
    )]
    Mesh,
    /// Not an admin's name.
    #[error(
        "an admin's name has 1 to 64 lower-case letters, digits, hyphens, dots, underscores and at signs"
    )]
    Admin,
    /// Not an admin's role.
    #[error("an admin's role is account-admin, network-admin or auditor")]
    Role,
}

/// A mesh's name: 1 to 63 of `a-z 0-9 - .`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MeshName(String);

impl MeshName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MeshName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        if first && text.len() <= 63 && text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.')) {
            Ok(MeshName(text.to_owned()))
        } else {
            Err(NameError::Mesh)
        }
    }
}

/// What an administrator may do \[GW-2\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AdminRole {
    /// Accounts and their passwords.
    AccountAdmin,
    /// Nodes, sessions.
    NetworkAdmin,
    /// Reads the audit and what exists; changes nothing.
    Auditor,
}

impl AdminRole {
    /// All of them.
    pub const ALL: [AdminRole; 3] = [Self::AccountAdmin, Self::NetworkAdmin, Self::Auditor];

    /// As written in certificates and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountAdmin => "account-admin",
            Self::NetworkAdmin => "network-admin",
            Self::Auditor => "auditor",
        }
    }
}

impl FromStr for AdminRole {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(NameError::Role)
    }
}

/// As what a certificate was issued.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CertificateRole {
    /// A relay node with its number in the mesh.
    Node(NodeNumber),
    /// A broker that signs tickets, embedded in the node of this number.
    Broker(NodeNumber),
    /// An administrator.
    Admin {
        /// What it may do.
        role: AdminRole,
        /// Who it is, for the audit.
        name: String,
    },
}

impl CertificateRole {
    /// An administrator's role with a name that has been checked.
    ///
    /// # Errors
    /// [`NameError::Admin`] for a name that would not fit into a certificate.
    pub fn admin(role: AdminRole, name: &str) -> Result<CertificateRole, NameError> {
        let fits = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b'@')
        };
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(NameError::Admin);
        }
        Ok(CertificateRole::Admin { role, name: name.to_owned() })
    }

    /// The number of a node or broker.
    pub const fn node_number(&self) -> Option<NodeNumber> {
        match self {
            Self::Node(number) | Self::Broker(number) => Some(*number),
            Self::Admin { .. } => None,
        }
    }
}

impl fmt::Display for CertificateRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(f, "node/{number}"),
            Self::Broker(number) => write!(f, "broker/{number}"),
            Self::Admin { role, name } => write!(f, "admin/{}/{name}", role.name()),
        }
    }
}

/// The identity as a URI.
#[cfg(feature = "issuing")]
pub(crate) fn to_uri(mesh: &MeshName, role: &CertificateRole) -> String {
    format!("{SCHEME}{mesh}/{role}")
}

/// Reads a URI; `None` for every spelling but the one that [`to_uri`] writes.
pub(super) fn from_uri(uri: &str) -> Option<(MeshName, CertificateRole)> {
    let mut parts = uri.strip_prefix(SCHEME)?.splitn(4, '/');
    let mesh = parts.next()?.parse().ok()?;
    let kind = parts.next()?;
    let first = parts.next()?;
    let role = match (kind, parts.next()) {
        ("node", None) => CertificateRole::Node(number(first)?),
        ("broker", None) => CertificateRole::Broker(number(first)?),
        ("admin", Some(name)) => CertificateRole::admin(first.parse().ok()?, name).ok()?,
        _ => return None,
    };
    Some((mesh, role))
}

fn number(text: &str) -> Option<NodeNumber> {
    let number = text.parse::<u16>().ok().and_then(NodeNumber::new)?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[CRT-3\]: one spelling each.
    #[test]
    fn identities_have_one_spelling() {
        for good in [
            "sealcast://mesh.example/node/7",
            "sealcast://m/broker/65535",
            "sealcast://m/admin/auditor/alice@example.org",
        ] {
            let (mesh, role) = from_uri(good).unwrap();
            assert_eq!(format!("{SCHEME}{mesh}/{role}"), good);
        }
        for bad in [
            "sealcast://m/node/0",
            "sealcast://m/node/07",
            "sealcast://m/node/+7",
            "sealcast://m/node/65536",
            "sealcast://m/node/7/",
            "sealcast://m/node/7/8",
            "sealcast://m/node",
            "sealcast:///node/7",
            "sealcast://M/node/7",
            "sealcast://-m/node/7",
            "sealcast://m/root/7",
            "sealcast://m/admin/owner/alice",
            "sealcast://m/admin/auditor",
            "sealcast://m/admin/auditor/",
            "sealcast://m/admin/auditor/a/b",
            "https://m/node/7",
        ] {
            assert_eq!(from_uri(bad), None, "{bad}");
        }
        assert_eq!("x".repeat(64).parse::<MeshName>(), Err(NameError::Mesh));
        assert!("x".repeat(63).parse::<MeshName>().is_ok());
    }
}
