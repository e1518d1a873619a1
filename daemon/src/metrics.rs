//! What the node counts, in Prometheus' text form. Labels are bounded sets of ours; never a name, an address or an id.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use proto_spec::trunk::TrunkRefusal;
use proto_spec::{Refusal, TrafficClass};
use sealcast_attach::{ClassCount, DropReason};

/// What became of an accepted connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Accepted {
    /// An attachment.
    Attach,
    /// gRPC of an endpoint.
    Grpc,
    /// gRPC of an administrator.
    Admin,
    /// HTTP/1.1 over TLS: the page.
    Http,
    /// A probe, answered.
    Probe,
    /// Plaintext HTTP, redirected.
    Redirect,
    /// Neither TLS nor probe nor HTTP.
    Unknown,
    /// Closed by the peer before it said what it is.
    Closed,
    /// No progress in time.
    TooSlow,
    /// The handshake failed, or was too long.
    TlsFailed,
    /// Too many from one address, or half-open ones.
    Limited,
    /// Too many gRPC connections.
    GrpcFull,
    /// Not an administrator of this mesh.
    AdminRefused,
    /// The system could not accept it.
    Failed,
}

impl Accepted {
    const ALL: [Accepted; 14] = [
        Self::Attach,
        Self::Grpc,
        Self::Admin,
        Self::Http,
        Self::Probe,
        Self::Redirect,
        Self::Unknown,
        Self::Closed,
        Self::TooSlow,
        Self::TlsFailed,
        Self::Limited,
        Self::GrpcFull,
        Self::AdminRefused,
        Self::Failed,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Grpc => "grpc",
            Self::Admin => "admin",
            Self::Http => "http",
            Self::Probe => "probe",
            Self::Redirect => "redirect",
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::TooSlow => "too_slow",
            Self::TlsFailed => "tls_failed",
            Self::Limited => "limited",
            Self::GrpcFull => "grpc_full",
            Self::AdminRefused => "admin_refused",
            Self::Failed => "failed",
        }
    }
}

/// Which way something went on a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TrunkDirection {
    /// From the neighbour.
    In,
    /// To the neighbour.
    Out,
}

impl TrunkDirection {
    const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A label whose values are ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Fixed(&'static str);

impl EncodeLabelValue for Fixed {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabel {
    reason: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabel {
    method: Fixed,
    code: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct MethodLabel {
    method: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ClassLabel {
    class: Fixed,
    direction: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DropLabel {
    class: Fixed,
    reason: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DirectionLabel {
    direction: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CertificateLabel {
    certificate: Fixed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct BuildLabel {
    version: Fixed,
}

/// The data plane as it stands when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct DataPlane {
    /// Open attachments.
    pub attachments: u64,
    /// Sessions with an attachment here.
    pub sessions: u64,
    /// Bytes in all queues.
    pub queue_bytes: u64,
    /// Relayed frames and bytes by class.
    pub traffic: [ClassCount; 4],
    /// Refusals since start.
    pub refusals: Vec<(Refusal, u64)>,
    /// Dropped frames since start.
    pub drops: Vec<(TrafficClass, DropReason, u64)>,
    /// Frames dropped on the way to other nodes since start.
    pub hop_drops: Vec<(TrafficClass, &'static str, u64)>,
}

type Count = Counter<u64, AtomicU64>;

/// The node's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Family<OutcomeLabel, Count>,
    calls: Family<CallLabel, Count>,
    call_seconds: Family<MethodLabel, Histogram, fn() -> Histogram>,
    refusals: Family<ReasonLabel, Count>,
    attachments: Gauge,
    sessions: Gauge,
    queue_bytes: Gauge,
    class_frames: Family<ClassLabel, Count>,
    class_bytes: Family<ClassLabel, Count>,
    drops: Family<DropLabel, Count>,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    ready: Gauge,
    trunks: Gauge,
    trunk_refusals: Family<ReasonLabel, Count>,
    trunk_refusals_by: Family<ReasonLabel, Count>,
    trunk_ends: Family<ReasonLabel, Count>,
    trunk_frames: Family<ClassLabel, Count>,
    trunk_bytes: Family<ClassLabel, Count>,
    trunk_drops: Family<DropLabel, Count>,
    trunk_messages_dropped: Family<DirectionLabel, Count>,
    /// Two scrapes at once would interleave what they copy.
    scrape: Mutex<()>,
}

fn call_histogram() -> Histogram {
    Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
}

impl Metrics {
    /// All at zero; every outcome of a connection is there from the start.
    pub fn new() -> Arc<Metrics> {
        let mut registry = Registry::with_prefix("relayd");
        let metrics = Metrics {
            connections: Family::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(call_histogram as fn() -> Histogram),
            refusals: Family::default(),
            attachments: Gauge::default(),
            sessions: Gauge::default(),
            queue_bytes: Gauge::default(),
            class_frames: Family::default(),
            class_bytes: Family::default(),
            drops: Family::default(),
            certificate_expiry: Family::default(),
            ready: Gauge::default(),
            trunks: Gauge::default(),
            trunk_refusals: Family::default(),
            trunk_refusals_by: Family::default(),
            trunk_ends: Family::default(),
            trunk_frames: Family::default(),
            trunk_bytes: Family::default(),
            trunk_drops: Family::default(),
            trunk_messages_dropped: Family::default(),
            scrape: Mutex::new(()),
            registry: Registry::default(),
        };
        registry.register("connections", "Accepted connections by outcome", metrics.connections.clone());
        registry.register("grpc_calls", "gRPC calls by method and code", metrics.calls.clone());
        registry.register_with_unit(
            "grpc_call",
            "Time of gRPC calls by method",
            Unit::Seconds,
            metrics.call_seconds.clone(),
        );
        registry.register("refusals", "Refused or ended attachments by reason", metrics.refusals.clone());
        registry.register("attachments", "Open attachments", metrics.attachments.clone());
        registry.register("sessions", "Sessions with an attachment here", metrics.sessions.clone());
        registry.register_with_unit("queue", "Bytes in all queues", Unit::Bytes, metrics.queue_bytes.clone());
        registry.register(
            "frames",
            "Relayed data frames by class and direction",
            metrics.class_frames.clone(),
        );
        registry.register_with_unit(
            "frames",
            "Relayed bytes by class and direction",
            Unit::Bytes,
            metrics.class_bytes.clone(),
        );
        registry.register("dropped_frames", "Dropped frames by class and reason", metrics.drops.clone());
        registry.register_with_unit(
            "certificate_expiry",
            "Unix time at which a certificate of this node ends",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        registry.register("ready", "1 while the node takes new attachments", metrics.ready.clone());
        metrics.register_trunks(&mut registry);
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: Fixed(env!("CARGO_PKG_VERSION")) }).set(1);
        registry.register("build_info", "Version of this program", build);
        for outcome in Accepted::ALL {
            let _ = metrics.connections.get_or_create(&OutcomeLabel { outcome: Fixed(outcome.label()) });
        }
        Arc::new(Metrics { registry, ..metrics })
    }

    fn register_trunks(&self, registry: &mut Registry) {
        registry.register("trunks", "Trunks whose link is up", self.trunks.clone());
        registry.register(
            "trunk_refusals",
            "Connections of other nodes that this one refused, by reason",
            self.trunk_refusals.clone(),
        );
        registry.register(
            "trunk_refusals_by_others",
            "Connections that other nodes refused this one, by reason",
            self.trunk_refusals_by.clone(),
        );
        registry.register("trunk_ends", "Trunks that went down, by reason", self.trunk_ends.clone());
        registry.register(
            "trunk_frames",
            "Data frames on trunks by class and direction",
            self.trunk_frames.clone(),
        );
        registry.register_with_unit(
            "trunk_frames",
            "Bytes of data frames on trunks by class and direction",
            Unit::Bytes,
            self.trunk_bytes.clone(),
        );
        registry.register(
            "trunk_dropped_frames",
            "Frames dropped at the queues of trunks by class and reason",
            self.trunk_drops.clone(),
        );
        registry.register(
            "trunk_dropped_messages",
            "Messages between nodes dropped for want of room by direction",
            self.trunk_messages_dropped.clone(),
        );
        for refusal in TrunkRefusal::ALL {
            let _ = self.trunk_refusals.get_or_create(&ReasonLabel { reason: Fixed(refusal.label()) });
        }
    }

    /// How many trunks have their link up.
    pub fn trunks(&self, count: usize) {
        self.trunks.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// This node refuses another's connection \[TRK-5\].
    pub fn trunk_refused(&self, reason: TrunkRefusal) {
        self.trunk_refusals.get_or_create(&ReasonLabel { reason: Fixed(reason.label()) }).inc();
    }

    /// Another node refuses this one's; `None` where it gave no reason.
    pub fn trunk_refused_by(&self, reason: Option<TrunkRefusal>) {
        let reason = Fixed(reason.map_or("unspecified", TrunkRefusal::label));
        self.trunk_refusals_by.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A trunk went down; `reason` is a name of ours.
    pub fn trunk_ended(&self, reason: &'static str) {
        self.trunk_ends.get_or_create(&ReasonLabel { reason: Fixed(reason) }).inc();
    }

    /// Data frames went over a trunk.
    pub fn trunk_traffic(&self, class: TrafficClass, direction: TrunkDirection, frames: u64, bytes: u64) {
        let label = ClassLabel { class: Fixed(class.name()), direction: Fixed(direction.label()) };
        self.trunk_frames.get_or_create(&label).inc_by(frames);
        self.trunk_bytes.get_or_create(&label).inc_by(bytes);
    }

    /// Data frames were dropped at a trunk's queue.
    pub fn trunk_dropped(&self, class: TrafficClass, reason: DropReason, frames: u64) {
        let label = DropLabel { class: Fixed(class.name()), reason: Fixed(reason.label()) };
        self.trunk_drops.get_or_create(&label).inc_by(frames);
    }

    /// A message between nodes found no room.
    pub fn trunk_message_dropped(&self, direction: TrunkDirection) {
        self.trunk_messages_dropped
            .get_or_create(&DirectionLabel { direction: Fixed(direction.label()) })
            .inc();
    }

    /// Counts what became of a connection.
    pub fn accepted(&self, outcome: Accepted) {
        self.connections.get_or_create(&OutcomeLabel { outcome: Fixed(outcome.label()) }).inc();
    }

    /// Counts a call; `method` and `code` are names of ours.
    pub fn called(&self, method: &'static str, code: &'static str, took: Duration) {
        self.calls.get_or_create(&CallLabel { method: Fixed(method), code: Fixed(code) }).inc();
        self.call_seconds.get_or_create(&MethodLabel { method: Fixed(method) }).observe(took.as_secs_f64());
    }

    /// When a certificate of this node ends, in Unix seconds.
    pub fn certificate_ends(&self, certificate: &'static str, unix_seconds: u64) {
        let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
        self.certificate_expiry
            .get_or_create(&CertificateLabel { certificate: Fixed(certificate) })
            .set(seconds);
    }

    /// Everything as text (OpenMetrics), with the data plane as it stands.
    pub fn render(&self, data: &DataPlane, ready: bool) -> String {
        let _scrape = self.scrape.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.attachments.set(gauge(data.attachments));
        self.sessions.set(gauge(data.sessions));
        self.queue_bytes.set(gauge(data.queue_bytes));
        self.ready.set(i64::from(ready));
        for (refusal, count) in &data.refusals {
            let reason = Fixed(refusal.label());
            self.refusals.get_or_create(&ReasonLabel { reason }).inner().store(*count, Ordering::Relaxed);
        }
        for (class, count) in TrafficClass::ALL.into_iter().zip(&data.traffic) {
            let set = |family: &Family<ClassLabel, Count>, direction: &'static str, value: u64| {
                let label = ClassLabel { class: Fixed(class.name()), direction: Fixed(direction) };
                family.get_or_create(&label).inner().store(value, Ordering::Relaxed);
            };
            set(&self.class_frames, "in", count.frames_in);
            set(&self.class_frames, "out", count.frames_out);
            set(&self.class_bytes, "in", count.bytes_in);
            set(&self.class_bytes, "out", count.bytes_out);
        }
        let here = data.drops.iter().map(|(class, reason, count)| (*class, reason.label(), *count));
        for (class, reason, count) in here.chain(data.hop_drops.iter().copied()) {
            let label = DropLabel { class: Fixed(class.name()), reason: Fixed(reason) };
            self.drops.get_or_create(&label).inner().store(count, Ordering::Relaxed);
        }
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_rendered_with_bounded_labels() {
        let metrics = Metrics::new();
        metrics.accepted(Accepted::Probe);
        metrics.called("Login", "ok", Duration::from_millis(40));
        metrics.certificate_ends("node", 1_800_000_000);
        let data = DataPlane {
            attachments: 3,
            refusals: vec![(Refusal::TooSlow, 7)],
            drops: vec![(TrafficClass::Bulk, DropReason::ALL[0], 2)],
            ..DataPlane::default()
        };
        let text = metrics.render(&data, true);
        for line in [
            "relayd_connections_total{outcome=\"probe\"} 1",
            "relayd_connections_total{outcome=\"unknown\"} 0",
            "relayd_attachments 3",
            "relayd_refusals_total{reason=\"too_slow\"} 7",
            "relayd_certificate_expiry_seconds{certificate=\"node\"} 1800000000",
            "relayd_ready 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        // Rendered again, what was copied is not added up.
        assert!(metrics.render(&data, false).contains("relayd_refusals_total{reason=\"too_slow\"} 7"));
    }
}
