//! The other nodes of a mesh for trying: each says in a file of the shared folder where it is, so that the next one
//! finds it and the invite names all. Files alone; a node that was killed leaves its note behind, as a real one leaves
//! its address in an invite.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use proto_spec::invite::InviteNode;
use serde::{Deserialize, Serialize};

use crate::app::Addresses;
use crate::state::write_file;

/// Notes looked at; a loopback mesh for trying has a handful.
const NOTES_MAX: usize = 32;

/// Where one node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// Its number.
    pub(super) node: u16,
    /// Host for endpoints.
    pub(super) host: String,
    /// Ports for endpoints.
    pub(super) ports: Vec<u16>,
    /// `host:port` for other nodes.
    pub(super) trunk: String,
}

impl Note {
    /// What a node that is bound tells the others.
    pub(super) fn of(node: u16, host: &str, addresses: &Addresses) -> Note {
        Note {
            node,
            host: host.to_owned(),
            ports: addresses.endpoints.iter().map(SocketAddr::port).collect(),
            trunk: addresses.trunk.map(|trunk| trunk.to_string()).unwrap_or_default(),
        }
    }

    /// As an invite names it.
    pub(super) fn to_invite(&self) -> InviteNode {
        InviteNode { host: self.host.clone(), ports: self.ports.clone() }
    }
}

/// The folder with one note a node.
pub(super) struct Company(PathBuf);

impl Company {
    pub(super) fn new(folder: &Path) -> Company {
        Company(folder.join("nodes"))
    }

    /// Everybody's note, ascending by node; what cannot be read is nobody's.
    pub(super) fn notes(&self) -> Vec<Note> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let tomls = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
        let mut notes: Vec<Note> = tomls
            .take(NOTES_MAX)
            .filter_map(|path| toml::from_str(&std::fs::read_to_string(path).ok()?).ok())
            .collect();
        notes.sort_by_key(|note| note.node);
        notes
    }

    /// Leaves a node's own note in place of an earlier one.
    pub(super) fn leave(&self, note: &Note) -> anyhow::Result<()> {
        super::make_folder(&self.0)?;
        let path = self.0.join(format!("{}.toml", note.node));
        write_file(&path, toml::to_string(note)?.as_bytes(), 0o644)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_in_order_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let company = Company::new(folder.path());
        assert_eq!(company.notes(), []);
        let note = |node: u16, port: u16| Note {
            node,
            host: "127.0.0.1".into(),
            ports: vec![port],
            trunk: format!("127.0.0.1:{}", port + 1),
        };
        for written in [note(10, 1_000), note(2, 2_000), note(2, 3_000)] {
            company.leave(&written).unwrap();
        }
        std::fs::write(folder.path().join("nodes/9.toml"), "nonsense").unwrap();
        assert_eq!(company.notes(), [note(2, 3_000), note(10, 1_000)]);
        assert_eq!(company.notes()[0].to_invite().ports, [3_000]);
    }
}
