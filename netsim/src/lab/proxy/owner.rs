//! Whose a connection is, and where a program listens, by the word of the kernel. Reads /proc; changes nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The state of a listening socket in /proc/net/tcp.
const LISTEN: u8 = 0x0a;

/// A line of /proc/net/tcp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    inode: u64,
}

/// Which of these processes holds the end `local` of the connection to `remote`.
pub(super) fn of(local: SocketAddr, remote: SocketAddr, processes: impl Iterator<Item = u32>) -> Option<u32> {
    let entry = entries("self").into_iter().find(|entry| entry.local == local && entry.remote == remote)?;
    processes.into_iter().find(|process| sockets(*process).contains(&entry.inode))
}

/// The IPv4 addresses at which a process listens.
pub fn listening(process: u32) -> Vec<SocketAddr> {
    let own = sockets(process);
    let entries = entries(&process.to_string()).into_iter();
    entries
        .filter(|entry| entry.state == LISTEN && own.contains(&entry.inode))
        .map(|entry| entry.local)
        .collect()
}

fn entries(process: &str) -> Vec<Entry> {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    text.lines().skip(1).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let inode = words.nth(5)?.parse().ok()?;
    Some(Entry { local, remote, state, inode })
}

/// `0100007F:1F90`: the address as the machine holds it, the port as people write it.
fn address(word: &str) -> Option<SocketAddr> {
    let (ip, port) = word.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddr::new(IpAddr::V4(ip), u16::from_str_radix(port, 16).ok()?))
}

/// The inodes of a process's sockets; none if it is gone.
fn sockets(process: u32) -> BTreeSet<u64> {
    let Ok(folder) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return BTreeSet::new() };
    folder
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "   3: 0100007F:C5A8 0200007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 \
                    48213 1 0000000000000000 20 4 30 10 -1";
        if cfg!(target_endian = "little") {
            let found = entry(line).unwrap();
            assert_eq!(found.local, "127.0.0.1:50600".parse().unwrap());
            assert_eq!(found.remote, "127.0.0.2:8080".parse().unwrap());
            assert_eq!((found.state, found.inode), (1, 48_213));
        }
        assert_eq!(entry("nonsense"), None);
    }

    #[test]
    fn our_own_connections_and_listeners_are_ours() {
        let own = std::process::id();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let there = listener.local_addr().unwrap();
        let stream = TcpStream::connect(there).unwrap();
        assert!(listening(own).contains(&there));
        assert_eq!(of(stream.local_addr().unwrap(), there, [1, own].into_iter()), Some(own));
        assert_eq!(of(stream.local_addr().unwrap(), there, [1].into_iter()), None);
    }
}
