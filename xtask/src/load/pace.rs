//! A steady stream of packets that carry their time of sending.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::{SenderNumber, TrafficClass};
use tokio::io::AsyncWriteExt as _;
use tokio::time::MissedTickBehavior;

use super::link::{Link, packet};

/// Left after the last packet for the slowest receiver.
const TAIL: Duration = Duration::from_millis(500);

/// Latencies in microseconds, over all receivers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Sends a packet each millisecond for `duration`; every packet is flushed by itself.
pub(crate) async fn pace(
    mut sender: Link,
    number: SenderNumber,
    receivers: Vec<Link>,
    packet_bytes: usize,
    duration: Duration,
) -> Result<Latency> {
    let epoch = Instant::now();
    let expected = duration.as_millis() as u64;
    let tasks: Vec<_> =
        receivers.into_iter().map(|link| tokio::spawn(receive(link, epoch, expected))).collect();
    let header = DataHeader {
        class: TrafficClass::Bulk,
        sender: number,
        destination: Destination::All,
        replace: None,
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut frame = Vec::new();
    let mut sent_bytes = 0;
    for _ in 0..expected {
        ticks.tick().await;
        frame.clear();
        let at = epoch.elapsed().as_nanos() as u64;
        header.put(&mut frame, |out| {
            out.extend_from_slice(&at.to_be_bytes());
            out.resize(out.len() + packet_bytes - 8, 0x5a);
        });
        while sender.credit < sent_bytes + frame.len() as u64 {
            sender.read(|_| {}).await?;
        }
        sender.stream.write_all(&frame).await?;
        sender.stream.flush().await?;
        sent_bytes += frame.len() as u64;
    }
    let mut all = Histogram::<u64>::new(3)?;
    for task in tasks {
        all.add(tokio::time::timeout(duration + TAIL, task).await???)?;
    }
    sender.close().await;
    let at = |quantile| all.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Latency { p50_us: at(0.5), p99_us: at(0.99) })
}

async fn receive(mut link: Link, epoch: Instant, expected: u64) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::<u64>::new(3)?;
    while latencies.len() < expected {
        let mut arrived = Vec::new();
        link.read(|frame| {
            if let Some(at) = packet(frame).ok().and_then(|packet| packet.first_chunk::<8>()) {
                arrived.push(u64::from_be_bytes(*at));
            }
        })
        .await?;
        let now = epoch.elapsed().as_nanos() as u64;
        for at in arrived {
            latencies.record(now.saturating_sub(at).max(1))?;
        }
    }
    link.close().await;
    Ok(latencies)
}
