//! Where in a configuration file a key stands, for errors that name it.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A file, a line and a key; without a file when nobody wrote one.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    line: Option<usize>,
    key: &'static str,
}

impl Place {
    /// Looks the dotted `key` up in the file's text; a key that is not written there has no line.
    pub fn of(path: &Path, text: &str, key: &'static str) -> Place {
        Place { path: path.to_owned(), line: line(text, key), key }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}:", self.path.display())?;
            self.line.map_or(Ok(()), |line| write!(f, "{line}:"))?;
            f.write_str(" ")?;
        }
        f.write_str(self.key)
    }
}

fn line(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table: &DeTable<'_> = document.get_ref();
    let mut start = None;
    for part in key.split('.') {
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
        start = Some(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    start.map(|start| text[..start].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_missing_keys_have_none() {
        let text = "a = 1\n[b]\nc = 2\n  d = 3\n";
        assert_eq!(line(text, "a"), Some(1));
        assert_eq!(line(text, "b.c"), Some(3));
        assert_eq!(line(text, "b.d"), Some(4));
        assert_eq!(line(text, "b.e"), None);
    }
}
