//! What a node could tell whoever takes it: its memory while it serves, its state, its log and every frame it saw.
//! Each place is searched for something that must be there first, so that a search that finds nothing is believed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{FILE_BYTES, Stage, end, pair, wait_arrived, wait_under_way};
use crate::demo::STEP;
use crate::demo::party::Node;

/// Less than any memory of a running relayd.
const MEMORY_BYTES_MIN: u64 = 8 << 20;

/// \[SES-1\] Neither the words of a code, nor chat, nor file names, nor contents are anywhere at the node.
pub(super) fn nothing_to_see(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (file, hash) = stage.file()?;
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let (mut ada, mut bob, code) = pair(&party)?;
    for speaker in 0..2 {
        let people = [&mut ada, &mut bob];
        let text = stage.canaries.chat(&people[speaker].name);
        people[speaker].line(&format!("/say {text}"))?;
        for reader in people {
            reader
                .wait(STEP, "the chat", |event| event["event"] == "chat" && event["text"] == text.as_str())?;
        }
    }
    ada.line("/invite provider")?;
    let open_code = ada.code("provider")?;
    let codes = [code.as_str(), open_code.as_str()];
    ada.line(&format!("/send \"{}\" to {}", file.display(), bob.number))?;
    wait_under_way(&mut bob)?;
    search_memory(stage, &node, &codes).context("while a file is under way")?;
    wait_arrived(&mut ada, &mut bob, &hash)?;
    search_memory(stage, &node, &codes).context("after the file")?;
    end(&mut ada, &mut bob)?;
    search_memory(stage, &node, &codes).context("after the session")?;
    node.stop()?;

    search_state(stage, &node, &codes)?;
    // What must be there: the log is written at all, and at this level.
    search_file(stage, &stage.folder.join("relayd-1.log"), b"DEBUG", &codes)?;
    let tap = stage.canaries.search(&stage.tap(), &codes)?;
    ensure!(tap.bytes > FILE_BYTES, "the tap holds {} bytes only: it has not seen the file", tap.bytes);
    ensure!(tap.planted > 0, "the tap's search does not find the mark in the clear");
    ensure!(tap.leaked.is_empty(), "in the tap: {}", tap.leaked.join(", "));
    Ok(())
}

/// All of the live node's memory that can be read.
fn search_memory(stage: &Stage<'_>, node: &Node<'_>, codes: &[&str]) -> anyhow::Result<()> {
    let mut memory = Memory::of(node.id()).context("the node's memory cannot be read")?;
    let found = stage.canaries.search_for(node.account().as_bytes(), &mut memory, codes)?;
    ensure!(found.bytes > MEMORY_BYTES_MIN, "only {} bytes of the node's memory were read", found.bytes);
    ensure!(
        found.planted > 0,
        "the account's address is not found in the node's memory: nothing else would be"
    );
    ensure!(found.leaked.is_empty(), "in the node's memory: {}", found.leaked.join(", "));
    Ok(())
}

/// Each file of the node's state; the account's address is in one of them at least.
fn search_state(stage: &Stage<'_>, node: &Node<'_>, codes: &[&str]) -> anyhow::Result<()> {
    let mut planted = 0;
    let mut folders = vec![stage.folder.join("node-1"), stage.folder.join("mesh")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let mut file = File::open(entry.path())?;
                let found = stage.canaries.search_for(node.account().as_bytes(), &mut file, codes)?;
                planted += found.planted;
                ensure!(
                    found.leaked.is_empty(),
                    "in {}: {}",
                    entry.path().display(),
                    found.leaked.join(", ")
                );
            }
        }
    }
    ensure!(planted > 0, "the account's address is in no file of the node: nothing else would be found");
    Ok(())
}

fn search_file(stage: &Stage<'_>, path: &Path, planted: &[u8], codes: &[&str]) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let found = stage.canaries.search_for(planted, &mut file, codes)?;
    ensure!(found.planted > 0, "{} does not hold what it must", path.display());
    ensure!(found.leaked.is_empty(), "in {}: {}", path.display(), found.leaked.join(", "));
    Ok(())
}

/// The readable memory of a process, one region after the other.
struct Memory {
    memory: File,
    /// From, and up to; the last is the next.
    regions: Vec<(u64, u64)>,
}

impl Memory {
    fn of(id: u32) -> std::io::Result<Memory> {
        let process = PathBuf::from("/proc").join(id.to_string());
        let maps = fs::read_to_string(process.join("maps"))?;
        let mut regions: Vec<_> = maps.lines().filter_map(region).collect();
        regions.reverse();
        Ok(Memory { memory: File::open(process.join("mem"))?, regions })
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some((from, to)) = self.regions.pop() {
            let wanted = usize::try_from(to - from).unwrap_or(usize::MAX).min(buffer.len());
            self.memory.seek(SeekFrom::Start(from))?;
            // A region may be gone by now, or end earlier: whatever is unreadable to us is left out.
            let Ok(count @ 1..) = self.memory.read(&mut buffer[..wanted]) else { continue };
            if from + (count as u64) < to {
                self.regions.push((from + count as u64, to));
            }
            return Ok(count);
        }
        Ok(0)
    }
}

/// A line of maps, where it can be read: `from-to rw-p ...`.
fn region(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    // The kernel's own pages are no memory of the process.
    if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vsyscall]") {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_found_there() {
        let canaries = crate::demo::canary::Canaries::draw().unwrap();
        let said = std::hint::black_box(canaries.chat("Ada"));
        let mut memory = Memory::of(std::process::id()).unwrap();
        let found = canaries.search_for(said.as_bytes(), &mut memory, &[]).unwrap();
        assert!(found.planted > 0 && found.leaked.contains(&"the chat".to_owned()), "{:?}", found.leaked);
    }

    #[test]
    fn readable_regions_are_read_from_their_lines() {
        assert_eq!(region("1000-2fff rw-p 00000000 00:00 0  [heap]"), Some((0x1000, 0x2fff)));
        assert_eq!(region("1000-2fff ---p 00000000 00:00 0"), None);
        assert_eq!(region("1000-2fff r--p 00000000 00:00 0  [vvar]"), None);
    }
}
