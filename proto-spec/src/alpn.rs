//! Application protocols negotiated in TLS \[CON-7\].

/// Framed attachment of an endpoint to a node.
pub const ATTACH: &[u8] = b"sealcast/1";
/// gRPC of gateway and administration, and of one node to another.
pub const GRPC: &[u8] = b"h2";
/// HTTP/1.1, for what later speaks it on the same port.
pub const HTTP1: &[u8] = b"http/1.1";
/// Control connection between two nodes \[TRK-1\].
pub const TRUNK: &[u8] = b"sealcast-trunk/1";
/// Data connection between two nodes \[TRK-1\].
pub const DATA: &[u8] = b"sealcast-data/1";
