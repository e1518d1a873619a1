//! A mesh as an endpoint reaches it: its addresses, its certificate authority, and what worked last time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use proto_spec::alpn;
use proto_spec::invite::Invite;
use rustls::ClientConfig;

use crate::config::SMALL_FILE_BYTES_MAX;
use crate::connect::{self, Target, TlsConnection};
use crate::{Error, tls};
use sealcast_endpoint_core::attach::Greeted;

/// A mesh: its addresses, its certificate authority, and what worked last time. Cheap to clone.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    invite: Invite,
    attach: Arc<ClientConfig>,
    rpc: Arc<ClientConfig>,
    cache: Option<PathBuf>,
    last: Mutex<Option<Target>>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mesh({})", self.0.invite.mesh)
    }
}

impl Mesh {
    /// A mesh by its invite. `cache` is a file in which the last working address is remembered, `None` to remember
    /// nothing.
    ///
    /// # Errors
    /// [`Error`] of kind `Invalid` if the invite's certificates cannot be used.
    pub fn from_invite(invite: Invite, cache: Option<PathBuf>) -> Result<Mesh, Error> {
        let roots = tls::roots(&invite)?;
        let last = cache.as_deref().and_then(|path| {
            let text = crate::disk::read_small(path, SMALL_FILE_BYTES_MAX).ok()??;
            Target::parse(text.trim())
        });
        Ok(Mesh(Arc::new(Inner {
            attach: tls::client_config(&roots, alpn::ATTACH)?,
            rpc: tls::client_config(&roots, alpn::GRPC)?,
            invite,
            cache,
            last: Mutex::new(last),
        })))
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self.0.invite.mesh
    }

    /// A connection for an attachment, greeted. `preferred` are tried first, as a relay named them.
    pub(crate) async fn attach(
        &self,
        preferred: &[String],
        software: &str,
    ) -> Result<(TlsConnection, Greeted), Error> {
        let targets = self.targets(preferred);
        let (target, won) = connect::race(targets, |target| {
            let (config, software) = (Arc::clone(&self.0.attach), software.to_owned());
            async move { connect::greeted(target, config, &software).await }
        })
        .await?;
        self.remember(target);
        Ok(won)
    }

    /// A connection to the gateway.
    pub(crate) async fn gateway(&self) -> Result<TlsConnection, Error> {
        let (target, won) = connect::race(self.targets(&[]), |target| {
            connect::tls(target, Arc::clone(&self.0.rpc), alpn::GRPC)
        })
        .await?;
        self.remember(target);
        Ok(won)
    }

    /// What worked last time first, then what a relay named, then the invite: the first port of every node before the
    /// second of any.
    fn targets(&self, preferred: &[String]) -> Vec<Target> {
        let nodes = &self.0.invite.nodes;
        let rounds = nodes.iter().map(|node| node.ports.len()).max().unwrap_or(0);
        let invited = (0..rounds).flat_map(|round| {
            nodes.iter().filter_map(move |node| {
                node.ports.get(round).map(|port| Target { host: node.host.clone(), port: *port })
            })
        });
        let named = preferred.iter().filter_map(|address| Target::parse(address));
        let last = self.0.last.lock().expect("no panic while holding it").clone();
        let mut targets: Vec<Target> = Vec::new();
        for target in named.chain(last).chain(invited) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    fn remember(&self, target: Target) {
        let mut last = self.0.last.lock().expect("no panic while holding it");
        if last.as_ref() == Some(&target) {
            return;
        }
        if let Some(path) = &self.0.cache {
            // A cache that cannot be written costs a few hundred milliseconds next time, nothing else.
            let _ = crate::disk::write_private(path, target.to_string().as_bytes());
        }
        *last = Some(target);
    }
}

#[cfg(test)]
mod tests;
