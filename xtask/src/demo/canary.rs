//! Marks in everything that is said and sent, and the search for them in what the node saw. The marks are drawn for
//! each run; one is told to the node in the clear on purpose, and the search has to find it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use memchr::memmem::Finder;

/// A mark is repeated in files at this distance, so that most of them lie inside one frame.
const MARK_EVERY: usize = 1 << 20;
/// Samples of the random parts of each file, and their length: too long to be met by chance.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 16;
/// How much is searched at a time.
const CHUNK: usize = 4 << 20;

/// The marks of this run.
pub(crate) struct Canaries {
    /// In the clear, to prove the search: at most 16 characters.
    planted: String,
    /// At the beginning of every chat line.
    chat: String,
    /// In the names of the files.
    name: String,
    /// In the files.
    content: Vec<u8>,
    samples: std::cell::RefCell<Vec<Vec<u8>>>,
}

/// What the search found.
pub(crate) struct Found {
    /// How much was searched.
    pub(crate) bytes: u64,
    /// How often the mark in the clear was there.
    pub(crate) planted: u64,
    /// How many secrets were looked for.
    pub(crate) secrets: usize,
    /// Which of them were there.
    pub(crate) leaked: Vec<String>,
}

impl Found {
    /// Together with what was found elsewhere.
    pub(crate) fn and(mut self, other: Found) -> Found {
        self.bytes += other.bytes;
        self.planted += other.planted;
        self.leaked.extend(other.leaked);
        self
    }
}

impl Canaries {
    pub(crate) fn draw() -> anyhow::Result<Canaries> {
        let mut random = [0u8; 24];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut random))
            .context("the system gives no randomness")?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Canaries {
            planted: format!("canary{}", &hex[..10]),
            chat: format!("said-{}", &hex[10..26]),
            name: format!("named-{}", &hex[26..36]),
            content: format!("content-{}", &hex[36..48]).into_bytes(),
            samples: std::cell::RefCell::default(),
        })
    }

    /// What endpoints tell the node in the clear.
    pub(crate) fn software(&self) -> String {
        self.planted.clone()
    }

    /// A line of chat with a mark.
    pub(crate) fn chat(&self, who: &str) -> String {
        format!("{} by {who}: the red lamp is on", self.chat)
    }

    /// A file's name with a mark.
    pub(crate) fn file_name(&self, what: &str) -> String {
        format!("{}-{what}.bin", self.name)
    }

    /// Writes a random file with marks in it; gives its BLAKE3.
    pub(crate) fn write_file(&self, path: &Path, bytes: u64) -> anyhow::Result<blake3::Hash> {
        let mut random = File::open("/dev/urandom").context("the system gives no randomness")?;
        let mut out = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0u8; MARK_EVERY];
        let blocks = bytes / MARK_EVERY as u64;
        let middle = MARK_EVERY / 2;
        for index in 0..blocks {
            random.read_exact(&mut block)?;
            block[middle..middle + self.content.len()].copy_from_slice(&self.content);
            if index % (blocks / SAMPLES as u64).max(1) == 0 {
                self.samples.borrow_mut().push(block[..SAMPLE_BYTES].to_vec());
            }
            hasher.update(&block);
            out.write_all(&block).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(hasher.finalize())
    }

    /// Searches what a node saw, for the mark in the clear and for every secret.
    pub(crate) fn search(&self, tap: &Path, codes: &[&str]) -> anyhow::Result<Found> {
        File::open(tap)
            .and_then(|mut tap| self.search_for(self.planted.as_bytes(), &mut tap, codes))
            .with_context(|| format!("{} cannot be searched", tap.display()))
    }

    /// Searches anything, for something that may be in the clear and for every secret.
    pub(crate) fn search_for(
        &self,
        planted: &[u8],
        source: &mut impl Read,
        codes: &[&str],
    ) -> std::io::Result<Found> {
        search_all(source, planted, &self.secrets(codes))
    }

    fn secrets(&self, codes: &[&str]) -> Vec<(String, Vec<u8>)> {
        let mut secrets: Vec<(String, Vec<u8>)> = vec![
            ("the chat".into(), self.chat.clone().into_bytes()),
            ("a file's name".into(), self.name.clone().into_bytes()),
            ("a mark in a file".into(), self.content.clone()),
        ];
        for sample in self.samples.borrow().iter() {
            secrets.push(("random bytes of a file".into(), sample.clone()));
        }
        for code in codes {
            // The number is the broker's to know; the words are not.
            let words = code.split_once(' ').map_or(*code, |(_, words)| words);
            for form in [words.to_owned(), words.replace('-', " "), words.replace('-', "")] {
                secrets.push(("the words of a code".into(), form.into_bytes()));
            }
        }
        secrets
    }
}

/// The BLAKE3 of a file.
pub(crate) fn hash_file(path: &Path) -> anyhow::Result<blake3::Hash> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0u8; MARK_EVERY];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(&block[..count]),
        };
    }
}

fn search_all(
    source: &mut impl Read,
    planted: &[u8],
    secrets: &[(String, Vec<u8>)],
) -> std::io::Result<Found> {
    let planted = Finder::new(planted);
    let finders: Vec<Finder<'_>> = secrets.iter().map(|(_, bytes)| Finder::new(bytes)).collect();
    let longest =
        secrets.iter().map(|(_, bytes)| bytes.len()).chain([planted.needle().len()]).max().unwrap_or(1);
    let mut hit = vec![false; finders.len()];
    let (mut bytes, mut count) = (0u64, 0u64);
    // Each chunk begins with the end of the one before, so that nothing hides between two.
    let mut buffer = vec![0u8; CHUNK];
    let mut kept = 0;
    loop {
        let read = source.read(&mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        let chunk = &buffer[..kept + read];
        // What lies wholly in the kept part was counted with the chunk before.
        count += planted.find_iter(chunk).filter(|at| at + planted.needle().len() > kept).count() as u64;
        for (hit, finder) in hit.iter_mut().zip(&finders) {
            *hit = *hit || finder.find(chunk).is_some();
        }
        let end = kept + read;
        kept = end.min(longest - 1);
        buffer.copy_within(end - kept..end, 0);
    }
    let leaked = secrets.iter().zip(hit).filter(|(_, hit)| *hit).map(|((what, _), _)| what.clone()).collect();
    Ok(Found { bytes, planted: count, secrets: secrets.len(), leaked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_what_is_there_wherever_it_lies() {
        let secrets =
            [("one".to_owned(), b"secret-one".to_vec()), ("two".to_owned(), b"secret-two-long".to_vec())];
        for at in
            [0, 1, CHUNK - 16, CHUNK - 9, CHUNK - 1, CHUNK, CHUNK + 3, 2 * CHUNK - 14 - 5, 2 * CHUNK + 7]
        {
            let mut bytes = vec![b'x'; 3 * CHUNK];
            bytes[at..at + 10].copy_from_slice(b"secret-one");
            bytes[at + 20..at + 26].copy_from_slice(b"canary");
            let found = search_all(&mut bytes.as_slice(), b"canary", &secrets).unwrap();
            assert_eq!(
                (found.bytes, found.planted, found.leaked),
                (bytes.len() as u64, 1, vec!["one".to_owned()])
            );
        }
    }

    #[test]
    fn a_written_file_would_be_found_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let canaries = Canaries::draw().unwrap();
        let hash = canaries.write_file(&path, 4 << 20).unwrap();
        assert_eq!(hash_file(&path).unwrap(), hash);
        let found = canaries.search(&path, &["483-920-117 lucky-otter-plaza"]).unwrap();
        // Its marks and all of its samples, but neither chat nor name nor code.
        assert_eq!((found.planted, found.leaked.len()), (0, 1 + SAMPLES));
        assert!(canaries.software().len() <= 16);
    }
}
