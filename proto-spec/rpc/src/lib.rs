//! gRPC types of gateway, broker and administration, generated from `proto/sealcast.proto`, and nothing else.

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod generated {
    tonic::include_proto!("sealcast.v1");
}

pub use generated::*;

/// Metadata key of the credential that authenticates an endpoint's call \[GW-6\].
pub const CREDENTIAL_METADATA: &str = "sealcast-credential-bin";
/// Metadata key of what one node saw of the caller whose call it hands to another \[GW-15\].
pub const VOUCH_METADATA: &str = "sealcast-vouch-bin";
