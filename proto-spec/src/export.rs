//! A mesh as a file, for the simulator and for other tools \[EXP-1\]. Names nobody: numbers, places in the operator's words,
//! round trips and loads.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::NodeNumber;
use crate::lsa::{DrainState, LSA_TEXT_LENGTH_MAX};
use crate::mesh::MESH_NODES_MAX;

/// The form that this code writes and reads.
pub const EXPORT_VERSION: u32 = 1;
/// Links of one export: 16 a node, each counted once.
pub const EXPORT_LINKS_MAX: usize = MESH_NODES_MAX * 16;
/// Longest text: a full export has below 10 MiB.
pub const EXPORT_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// Why a text is no export.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Not JSON, an unknown field, a value of another type.
    #[error("the export cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Made by a newer program.
    #[error("the export has version {0}, this program reads {EXPORT_VERSION}: update it")]
    Version(u32),
    /// It contradicts itself.
    #[error("the export cannot be: {0}")]
    Wrong(&'static str),
}

/// A mesh as one node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshExport {
    /// [`EXPORT_VERSION`].
    pub version: u32,
    /// The mesh's name.
    pub mesh: String,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub taken_ms: u64,
    /// By which node.
    pub taken_by: u16,
    /// Ascending by number.
    pub nodes: Vec<ExportNode>,
    /// Ascending by their ends.
    pub links: Vec<ExportLink>,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportNode {
    /// Its number.
    pub number: u16,
    /// What it does besides relaying.
    pub roles: Vec<ExportRole>,
    /// How far it is on its way out.
    pub drain: DrainState,
    /// Where it stands, in the operator's words.
    pub region: String,
    /// What fails together with it, in the operator's words.
    pub failure_domain: String,
    /// Attachments that it admits at most.
    pub capacity: u32,
    /// Its program and version.
    pub software: String,
    /// Its load, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<ExportLoad>,
}

/// A role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportRole {
    /// Makes sessions and tickets.
    Broker,
    /// Accepts endpoints.
    Gateway,
}

/// A node's load by its last report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportLoad {
    /// Attachments.
    pub attachments: u32,
    /// Bytes in its queues.
    pub queue_bytes: u64,
    /// Bytes that it forwarded in one second.
    pub forwarded_bytes: u64,
    /// Whether it refuses new attachments.
    pub full: bool,
    /// How old the report was, in milliseconds.
    pub age_ms: u64,
}

/// One link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportLink {
    /// The end with the lower number.
    pub a: u16,
    /// The other end.
    pub b: u16,
    /// Its round trip in microseconds.
    pub rtt_us: u32,
}

impl MeshExport {
    /// Reads an export and holds it to its own rules \[EXP-2\].
    ///
    /// # Errors
    /// [`ExportError`]; nothing of a refused export is to be used.
    pub fn from_text(text: &str) -> Result<MeshExport, ExportError> {
        if text.len() > EXPORT_LENGTH_MAX {
            return Err(ExportError::Wrong("it is longer than any export"));
        }
        /// Read first, so that a newer form is called that and not a wrong field.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != EXPORT_VERSION {
            return Err(ExportError::Version(version));
        }
        let export: MeshExport = serde_json::from_str(text)?;
        export.check()?;
        Ok(export)
    }

    /// As text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("an export is plain data")
    }

    fn check(&self) -> Result<(), ExportError> {
        if self.nodes.len() > MESH_NODES_MAX {
            return Err(ExportError::Wrong("it has more nodes than a mesh may have"));
        }
        if self.links.len() > EXPORT_LINKS_MAX {
            return Err(ExportError::Wrong("it has more links than a mesh may have"));
        }
        if !self.nodes.is_sorted_by(|a, b| a.number < b.number) {
            return Err(ExportError::Wrong("its nodes do not ascend"));
        }
        if !self.links.is_sorted_by(|a, b| (a.a, a.b) < (b.a, b.b)) {
            return Err(ExportError::Wrong("its links do not ascend"));
        }
        let long = |text: &String| text.len() > LSA_TEXT_LENGTH_MAX;
        for node in &self.nodes {
            if NodeNumber::new(node.number).is_none() {
                return Err(ExportError::Wrong("node numbers run from 1"));
            }
            if [&node.region, &node.failure_domain, &node.software].into_iter().any(long) {
                return Err(ExportError::Wrong("a text is longer than a node can say"));
            }
        }
        let known: BTreeSet<u16> = self.nodes.iter().map(|node| node.number).collect();
        for link in &self.links {
            if link.a >= link.b || !known.contains(&link.a) || !known.contains(&link.b) {
                return Err(ExportError::Wrong(
                    "a link joins two different nodes of it, the lower one first",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> ExportNode {
        ExportNode {
            number,
            roles: vec![ExportRole::Broker, ExportRole::Gateway],
            drain: DrainState::Serving,
            region: "north".into(),
            failure_domain: format!("rack {number}"),
            capacity: 10_000,
            software: "relayd 1".into(),
            load: (number == 1).then_some(ExportLoad {
                attachments: 12,
                queue_bytes: 3,
                forwarded_bytes: 4,
                full: false,
                age_ms: 500,
            }),
        }
    }

    fn export() -> MeshExport {
        MeshExport {
            version: EXPORT_VERSION,
            mesh: "m".into(),
            taken_ms: 1,
            taken_by: 1,
            nodes: (1..=3).map(node).collect(),
            links: vec![ExportLink { a: 1, b: 2, rtt_us: 10_000 }, ExportLink { a: 2, b: 3, rtt_us: 5_000 }],
        }
    }

    /// \[EXP-1\]
    #[test]
    fn reads_back() {
        let text = export().to_text();
        assert_eq!(MeshExport::from_text(&text).unwrap(), export());
        assert!(text.contains("\"drain\": \"serving\"") && text.contains("\"broker\""), "{text}");
    }

    /// \[EXP-2\]: what contradicts itself, or comes from a newer program, is refused.
    #[test]
    fn refuses_what_it_cannot_be() {
        let bad: [fn(&mut MeshExport); 7] = [
            |export| export.nodes.swap(0, 1),
            |export| export.nodes[0].number = 0,
            |export| export.nodes[0].region = "r".repeat(LSA_TEXT_LENGTH_MAX + 1),
            |export| export.links.swap(0, 1),
            |export| export.links[1] = ExportLink { a: 2, b: 4, rtt_us: 1 },
            |export| export.links[1] = ExportLink { a: 2, b: 2, rtt_us: 1 },
            |export| export.links[1] = export.links[0],
        ];
        for (index, spoil) in bad.into_iter().enumerate() {
            let mut export = export();
            spoil(&mut export);
            assert!(
                matches!(MeshExport::from_text(&export.to_text()), Err(ExportError::Wrong(_))),
                "{index}"
            );
        }
        let newer = export().to_text().replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(MeshExport::from_text(&newer), Err(ExportError::Version(2))));
        let unknown = export().to_text().replace("\"taken_by\"", "\"colour\": 1, \"taken_by\"");
        assert!(matches!(MeshExport::from_text(&unknown), Err(ExportError::Unreadable(_))));
    }
}
