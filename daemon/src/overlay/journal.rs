//! Writes the core's journal to two alternating files. A disk that is full or broken ends the journal, never the node.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use proto_spec::Now;
use sealcast_mesh::journal::{Journal, JournalWrite};
use sealcast_mesh::{Input, Node, Output};

/// The two segments.
const FILES: [&str; 2] = ["journal-0", "journal-1"];

/// The journal of a node, for as long as it can be written.
#[derive(Debug)]
pub(super) struct JournalFiles {
    folder: PathBuf,
    journal: Journal,
    open: Option<(usize, File)>,
}

impl JournalFiles {
    pub(super) fn new(folder: PathBuf) -> JournalFiles {
        JournalFiles { folder, journal: Journal::default(), open: None }
    }

    /// Writes an input down, before it is handled.
    ///
    /// # Errors
    /// The system's: write no more.
    pub(super) fn record(&mut self, node: &Node, now: Now, input: &Input) -> io::Result<()> {
        let JournalWrite { segment, truncate, bytes } = self.journal.record(node, now, input);
        let file = match &mut self.open {
            Some((open, file)) if *open == segment && !truncate => file,
            open => &mut open.insert((segment, create(&self.folder, segment)?)).1,
        };
        file.write_all(&bytes)
    }

    /// Notes what came of it, for the record that follows.
    pub(super) fn put_out(&mut self, output: &Output) {
        self.journal.put_out(output);
    }
}

/// A segment begins with the core's whole state, its seed among it: nobody else reads it.
fn create(folder: &Path, segment: usize) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(FILES[segment]))
}
