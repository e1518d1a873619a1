//! As much as goes through: one sender, its window governed by the slowest receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::{SenderNumber, TrafficClass};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use super::link::Link;

/// Bytes on their way at most: the same at every relay, and below any credit, so that neither queue decides.
const WINDOW_BYTES: u64 = 384 * 1024;
/// Frames are written together up to this.
const WRITE_BYTES: usize = 64 * 1024;

/// What one run brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// Bytes of frames that arrived, at all receivers together.
    pub(crate) delivered_bytes: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

struct Progress {
    received: Vec<AtomicU64>,
    moved: Notify,
    over: AtomicBool,
}

impl Progress {
    fn slowest(&self) -> u64 {
        self.received.iter().map(|received| received.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }
}

/// Waits until what the sender sends reaches every receiver: nodes learn of attachments at other nodes a moment later, and
/// this generator repairs nothing. Leaves nothing under way.
pub(crate) async fn reach(sender: &mut Link, number: SenderNumber, receivers: &mut [Link]) -> Result<()> {
    /// From one probe to the next.
    const PROBE: Duration = Duration::from_millis(20);
    let header = DataHeader {
        class: TrafficClass::Bulk,
        sender: number,
        destination: Destination::All,
        replace: None,
    };
    let mut probe = Vec::new();
    header.put(&mut probe, |out| out.push(0));
    let mut last = Vec::new();
    header.put(&mut last, |out| out.extend([0; 2]));
    for receiver in &mut *receivers {
        let mut heard = false;
        while !heard {
            sender.stream.write_all(&probe).await?;
            sender.stream.flush().await?;
            if let Ok(read) = tokio::time::timeout(PROBE, receiver.read(|_| heard = true)).await {
                read?;
            }
        }
    }
    // Frames of one sender and class stay in order: behind this one comes no probe.
    sender.stream.write_all(&last).await?;
    sender.stream.flush().await?;
    for receiver in receivers {
        let mut done = false;
        while !done {
            receiver.read(|frame| done |= frame.len() == last.len()).await?;
        }
    }
    Ok(())
}

/// Floods for `duration` and waits until everything has arrived.
pub(crate) async fn flood(
    sender: Link,
    number: SenderNumber,
    receivers: Vec<Link>,
    packet_bytes: usize,
    duration: Duration,
) -> Result<Flood> {
    let mut frame = Vec::new();
    let header = DataHeader {
        class: TrafficClass::Bulk,
        sender: number,
        destination: Destination::All,
        replace: None,
    };
    header.put(&mut frame, |out| out.resize(out.len() + packet_bytes, 0x5a));
    let progress = Arc::new(Progress {
        received: receivers.iter().map(|_| AtomicU64::new(0)).collect(),
        moved: Notify::new(),
        over: AtomicBool::new(false),
    });
    let started = Instant::now();
    let mut tasks = Vec::new();
    for (index, link) in receivers.into_iter().enumerate() {
        tasks.push(tokio::spawn(receive(link, index, Arc::clone(&progress))));
    }
    let sent = send(sender, &frame, duration, &progress).await?;
    while progress.slowest() < sent {
        progress.moved.notified().await;
    }
    let elapsed = started.elapsed();
    progress.over.store(true, Ordering::SeqCst);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(Flood { delivered_bytes: sent * progress.received.len() as u64, elapsed })
}

async fn receive(mut link: Link, index: usize, progress: Arc<Progress>) -> Result<()> {
    loop {
        let mut bytes = 0;
        let read = link.read(|frame| bytes += frame.len() as u64).await;
        if let Err(error) = read {
            if !progress.over.load(Ordering::SeqCst) {
                eprintln!("receiver {index}: {error:#}");
            }
            return Err(error);
        }
        progress.received[index].fetch_add(bytes, Ordering::Release);
        progress.moved.notify_one();
    }
}

async fn send(mut link: Link, frame: &[u8], duration: Duration, progress: &Progress) -> Result<u64> {
    let batch_frames = (WRITE_BYTES / frame.len()).max(1);
    let batch = frame.repeat(batch_frames);
    let end = Instant::now() + duration;
    let mut sent = 0u64;
    while Instant::now() < end {
        let allowed = link.credit.min(progress.slowest().saturating_add(WINDOW_BYTES)).saturating_sub(sent);
        let frames = (allowed / frame.len() as u64).min(batch_frames as u64) as usize;
        // Half a batch at least, or every returned frame would be answered by a small write.
        if frames * 2 < batch_frames {
            tokio::select! {
                read = link.read(|_| {}) => read?,
                () = progress.moved.notified() => {}
            }
            continue;
        }
        let bytes = &batch[..frames * frame.len()];
        link.stream.write_all(bytes).await?;
        link.stream.flush().await?;
        sent += bytes.len() as u64;
        // Credit that has come meanwhile is read when it is needed.
    }
    // Held until all has arrived: a sender that leaves takes its queued frames along.
    while progress.slowest() < sent {
        tokio::select! {
            read = link.read(|_| {}) => read?,
            () = progress.moved.notified() => {}
        }
    }
    link.close().await;
    progress.moved.notify_one();
    Ok(sent)
}
