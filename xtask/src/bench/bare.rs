//! The bare reference relay: tokio and rustls with the same cipher suite, each read chunk shared among the receivers.
//! No framing, tickets, routing, classes or limits: what remains is what any relay must pay.
//!
//! A process of its own, so that its CPU time can be told apart. The first byte of a connection says what it is: `S`
//! sends to all, `R` receives.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Plaintext read at once, and gathered for one write.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks waiting for a receiver; a full channel holds the sender.
const QUEUE_CHUNKS: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// PEM chain to present
    #[arg(long)]
    certificate: PathBuf,
    /// Its key
    #[arg(long)]
    key: PathBuf,
}

type Receivers = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

/// Serves until killed; prints its port first.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&arguments.certificate, &arguments.key))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(certificate: &Path, key: &Path) -> Result<()> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crate::load::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"bare/1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    let receivers = Receivers::default();
    loop {
        let (socket, _) = listener.accept().await?;
        let (acceptor, receivers) = (acceptor.clone(), Arc::clone(&receivers));
        tokio::spawn(async move {
            // Ends with its connection; the generator notices.
            let _ = connection(&acceptor, socket, &receivers).await;
        });
    }
}

async fn connection(acceptor: &TlsAcceptor, socket: TcpStream, receivers: &Receivers) -> Result<()> {
    socket.set_nodelay(true)?;
    // The handshake's state does not stay with the connection.
    let mut stream = Box::pin(acceptor.accept(socket)).await?;
    let mut side = [0];
    stream.read_exact(&mut side).await?;
    match side[0] {
        b'S' => {
            answer(&mut stream, side).await?;
            send(stream, receivers).await
        }
        b'R' => {
            let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
            receivers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            answer(&mut stream, side).await?;
            receive(stream, receiver).await
        }
        _ => Ok(()),
    }
}

async fn answer(stream: &mut TlsStream<TcpStream>, side: [u8; 1]) -> Result<()> {
    stream.write_all(&side).await?;
    stream.flush().await.context("answering")
}

async fn send(mut stream: TlsStream<TcpStream>, receivers: &Receivers) -> Result<()> {
    let mut buffer = BytesMut::new();
    let to: Vec<_> = {
        let mut receivers = receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|receiver| !receiver.is_closed());
        receivers.clone()
    };
    loop {
        buffer.reserve(CHUNK_BYTES);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let chunk = buffer.split().freeze();
        for receiver in &to {
            // Fails when the receiver has gone: then there is nothing to do for it.
            let _ = receiver.send(chunk.clone()).await;
        }
    }
}

async fn receive(mut stream: TlsStream<TcpStream>, mut receiver: mpsc::Receiver<Bytes>) -> Result<()> {
    let mut probe = [0u8; 1];
    let mut chunks = Vec::new();
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut chunks, QUEUE_CHUNKS) => if count == 0 { return Ok(()) },
            // Nothing comes from a receiver but its end.
            _ = stream.read(&mut probe) => return Ok(()),
        }
        while !chunks.is_empty() {
            let mut written = {
                let slices: Vec<_> = chunks.iter().map(|chunk| std::io::IoSlice::new(chunk)).collect();
                stream.write_vectored(&slices).await?
            };
            let mut done = 0;
            for chunk in &mut chunks {
                let part = written.min(chunk.len());
                bytes::Buf::advance(chunk, part);
                written -= part;
                done += usize::from(chunk.is_empty());
                if written == 0 {
                    break;
                }
            }
            chunks.drain(..done);
        }
        stream.flush().await?;
        if chunks.capacity() > 0 && receiver.is_empty() {
            chunks = Vec::new();
        }
    }
}
