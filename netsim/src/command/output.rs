//! Where a result goes beside the terminal: opened before the work begins, so that a path that cannot be written is told
//! then and not after an hour.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{EXIT_USAGE, print};

/// A file, or stdout for `-`.
pub(super) struct Output {
    path: PathBuf,
    file: Option<File>,
}

impl Output {
    /// Opens a file without changing what is in it.
    ///
    /// # Errors
    /// The exit code, once it has been said why.
    pub(super) fn open(path: &Path) -> Result<Output, u8> {
        let path = path.to_owned();
        if path.as_os_str() == "-" {
            return Ok(Output { path, file: None });
        }
        match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
            Ok(file) => Ok(Output { path, file: Some(file) }),
            Err(error) => Err(refused(&path, &error)),
        }
    }

    /// Whether it is the terminal's own stdout.
    pub(super) const fn is_stdout(&self) -> bool {
        self.file.is_none()
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the text in place of whatever is there.
    ///
    /// # Errors
    /// The exit code, once it has been said why.
    pub(super) fn write(&mut self, text: &str) -> Result<(), u8> {
        match &mut self.file {
            None => {
                print(text.trim_end_matches('\n'));
                Ok(())
            }
            Some(file) => replace(file, text).map_err(|error| refused(&self.path, &error)),
        }
    }
}

fn replace(file: &mut File, text: &str) -> io::Result<()> {
    // Neither a pipe nor a device has a length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

fn refused(path: &Path, error: &io::Error) -> u8 {
    eprintln!("netsim: {}: {error}: name a file that can be written", path.display());
    EXIT_USAGE
}
