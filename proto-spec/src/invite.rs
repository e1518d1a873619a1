//! The invite file: how an endpoint finds its mesh \[INV-1\]. Public; holds no secret.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest invite file in bytes.
pub const INVITE_LENGTH_MAX: usize = 64 * 1024;

/// A mesh, its addresses and its CA, as TOML.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Format of the file, 1.
    pub version: u32,
    /// The mesh's name.
    pub mesh: String,
    /// Where its nodes are.
    pub nodes: Vec<InviteNode>,
    /// Root certificates of the mesh CA, PEM. Empty: the nodes present publicly trusted certificates.
    pub ca: String,
}

/// One node as an endpoint reaches it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteNode {
    /// Host name or IP address, as its certificate names it.
    pub host: String,
    /// TCP ports, all tried.
    #[serde(default = "default_ports")]
    pub ports: Vec<u16>,
}

/// The ports tried when an invite names none, in the order of preference \[INV-2\].
pub const DEFAULT_PORTS: [u16; 3] = [8200, 443, 80];

fn default_ports() -> Vec<u16> {
    DEFAULT_PORTS.to_vec()
}

/// Why an invite cannot be used.
#[derive(Debug, Error)]
pub enum InviteError {
    /// Longer than [`INVITE_LENGTH_MAX`].
    #[error("the invite is longer than {INVITE_LENGTH_MAX} bytes: it is not an invite file")]
    TooLong,
    /// Not the TOML of an invite.
    #[error("the invite cannot be read: {0}")]
    Malformed(#[from] toml::de::Error),
    /// A later format.
    #[error("the invite has format {0}, this program reads format 1: update the program")]
    Version(u32),
    /// Nobody to connect to.
    #[error("the invite names no node, or a node without ports: ask your administrator for a new one")]
    NoNodes,
}

impl Invite {
    /// Reads an invite file.
    ///
    /// # Errors
    /// [`InviteError`] says what to do about it.
    pub fn parse(text: &str) -> Result<Invite, InviteError> {
        if text.len() > INVITE_LENGTH_MAX {
            return Err(InviteError::TooLong);
        }
        let invite: Invite = toml::from_str(text)?;
        if invite.version != 1 {
            return Err(InviteError::Version(invite.version));
        }
        if invite.nodes.is_empty() || invite.nodes.iter().any(|node| node.ports.is_empty()) {
            return Err(InviteError::NoNodes);
        }
        Ok(invite)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("an invite is plain data")
    }
}
