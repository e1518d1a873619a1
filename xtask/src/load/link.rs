//! One endpoint's connection under load: attached to a relayd, or to the bare reference relay, behind one face.

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use ed25519_dalek::Signer as _;
use proto_spec::frame::{
    ControlFrame, DataHeader, FrameHeader, FrameType, HEADER_LENGTH, Hello, Ping, TicketFrame,
    attach_proof_message,
};
use proto_spec::{AttachSeq, TrafficClass};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::mesh::{Mesh, Stream, exporter};
use super::tickets::Seat;

/// Plaintext read at once.
const READ_BYTES: usize = 64 * 1024;

/// What a link is for; the bare relay is told in its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Side {
    /// Sends.
    Sender = b'S',
    /// Receives.
    Receiver = b'R',
}

/// A connected endpoint.
pub(crate) struct Link {
    pub(crate) stream: Stream,
    buffer: BytesMut,
    /// Bytes of bulk that may be sent; without bound at the bare relay.
    pub(crate) credit: u64,
}

impl Link {
    /// Attaches to a relayd and waits until it may send.
    pub(crate) async fn attach(mesh: &Mesh, seat: &Seat, attach_seq: u64, standby: bool) -> Result<Link> {
        let stream = mesh.connect(proto_spec::alpn::ATTACH, None).await?;
        let exporter = exporter(&stream, b"EXPORTER-sealcast-attach")?;
        let hash = Sha256::digest(seat.ticket.as_bytes()).into();
        let attach_seq = AttachSeq(attach_seq);
        let proof = seat.key.sign(&attach_proof_message(&exporter, &hash, attach_seq)).to_bytes();
        let mut bytes = Vec::new();
        ControlFrame::Hello(Hello::ours("load generator")).put(&mut bytes);
        ControlFrame::Ticket(TicketFrame { ticket: seat.ticket.clone(), attach_seq, standby, proof })
            .put(&mut bytes);
        let mut link = Link { stream, buffer: BytesMut::new(), credit: 0 };
        link.stream.write_all(&bytes).await?;
        while link.credit == 0 {
            link.read(|_| {}).await.context("attaching")?;
        }
        Ok(link)
    }

    /// Connects to the bare relay.
    pub(crate) async fn bare(mesh: &Mesh, side: Side) -> Result<Link> {
        let mut stream = mesh.connect(b"bare/1", None).await?;
        stream.write_all(&[side as u8]).await?;
        // The relay answers with the same byte once it is ready for this link.
        stream.read_exact(&mut [0]).await?;
        Ok(Link { stream, buffer: BytesMut::new(), credit: u64::MAX })
    }

    /// Reads once; hands whole data frames on, minds credit and pings.
    pub(crate) async fn read(&mut self, mut data: impl FnMut(&[u8])) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the relay closed the connection");
        }
        self.take_frames(&mut data).await
    }

    async fn take_frames(&mut self, data: &mut impl FnMut(&[u8])) -> Result<()> {
        while let Some(header) = FrameHeader::peek(&self.buffer)? {
            if self.buffer.len() < header.frame_length() {
                break;
            }
            let frame = self.buffer.split_to(header.frame_length());
            if header.frame_type == FrameType::Data {
                data(&frame);
                continue;
            }
            match ControlFrame::decode(header.frame_type, &frame[HEADER_LENGTH..])? {
                ControlFrame::Credit(credit) if credit.class == TrafficClass::Bulk => {
                    self.credit = credit.limit_bytes
                }
                ControlFrame::Ping(Ping { token }) => {
                    let mut bytes = Vec::new();
                    ControlFrame::Pong(Ping { token }).put(&mut bytes);
                    self.stream.write_all(&bytes).await?;
                    self.stream.flush().await?;
                }
                ControlFrame::Error(error) => bail!("the relay refuses: {}", error.refusal),
                _ => {}
            }
        }
        Ok(())
    }

    /// Says goodbye and waits for the end, so that the next run starts clean.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// The packet of a data frame.
pub(crate) fn packet(frame: &[u8]) -> Result<&[u8]> {
    Ok(DataHeader::parse(&frame[HEADER_LENGTH..])?.1)
}
