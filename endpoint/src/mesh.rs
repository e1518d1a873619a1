//! A mesh as an endpoint reaches it: its addresses, its certificate authority, and what worked last time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto_spec::alpn;
use proto_spec::invite::Invite;
use rustls::ClientConfig;

use crate::config::{NAMED_MAX, SMALL_FILE_BYTES_MAX};
use crate::connect::{self, Target, TlsConnection};
use crate::{Error, probe, tls};
use sealcast_endpoint_core::attach::Greeted;

/// A mesh: its addresses, its certificate authority, and what worked last time. Cheap to clone.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    invite: Invite,
    attach: Arc<ClientConfig>,
    rpc: Arc<ClientConfig>,
    cache: Option<PathBuf>,
    /// The address of this machine to connect from; any if `None`.
    local: Option<IpAddr>,
    last: Mutex<Option<Target>>,
    /// What gateways named beyond the invite.
    named: Mutex<Vec<Target>>,
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
            local: None,
            last: Mutex::new(last),
            named: Mutex::default(),
        })))
    }

    /// The same mesh, reached from this address of the machine and nothing remembered: for a lab on one machine in which
    /// endpoints stand for many networks.
    pub fn reached_from(&self, local: IpAddr) -> Mesh {
        Mesh(Arc::new(Inner {
            invite: self.0.invite.clone(),
            attach: Arc::clone(&self.0.attach),
            rpc: Arc::clone(&self.0.rpc),
            cache: None,
            local: Some(local),
            last: Mutex::default(),
            named: Mutex::default(),
        }))
    }

    /// The mesh's name.
    pub fn name(&self) -> &str {
        &self.0.invite.mesh
    }

    /// A connection for an attachment, greeted, and where it leads. `preferred` are tried first, as a relay named them,
    /// `avoid` not at all.
    pub(crate) async fn attach(
        &self,
        preferred: &[String],
        avoid: &[String],
        software: &str,
    ) -> Result<(Target, TlsConnection, Greeted), Error> {
        let mut targets = self.targets(preferred);
        let avoided: Vec<_> = avoid.iter().filter_map(|address| Target::parse(address)).collect();
        targets.retain(|target| !avoided.contains(target));
        let (target, (connection, greeted)) = connect::race(targets, |target| {
            let (config, software, local) = (Arc::clone(&self.0.attach), software.to_owned(), self.0.local);
            async move { connect::greeted(target, local, config, &software).await }
        })
        .await?;
        if avoided.is_empty() {
            self.remember(&target);
        }
        Ok((target, connection, greeted))
    }

    /// A connection to a gateway, and where it leads; those of `last_of_all` are tried after all others.
    pub(crate) async fn gateway(&self, last_of_all: &[Target]) -> Result<(Target, TlsConnection), Error> {
        let (late, mut targets): (Vec<_>, Vec<_>) =
            self.targets(&[]).into_iter().partition(|target| last_of_all.contains(target));
        targets.extend(late);
        let (target, won) = connect::race(targets, |target| {
            connect::tls(target, self.0.local, Arc::clone(&self.0.rpc), alpn::GRPC)
        })
        .await?;
        self.remember(&target);
        Ok((target, won))
    }

    /// The nodes of the invite, each with its addresses as `host:port`.
    pub(crate) fn invited(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        self.0.invite.nodes.iter().map(|node| {
            let target = |port: &u16| Target { host: node.host.clone(), port: *port }.to_string();
            node.ports.iter().map(target).collect()
        })
    }

    /// The round trips to a few nodes of the invite; none where there is no choice.
    pub(crate) async fn probe(&self) -> Vec<(Target, Duration)> {
        let nodes = &self.0.invite.nodes;
        if nodes.len() < 2 {
            return Vec::new();
        }
        let first = nodes.iter().filter_map(|node| {
            node.ports.first().map(|port| Target { host: node.host.clone(), port: *port })
        });
        probe::measure(first, self.0.local).await
    }

    /// Remembers, as long as this lasts, what a gateway named.
    pub(crate) fn learn<'a>(&self, addresses: impl IntoIterator<Item = &'a String>) {
        let mut named = self.0.named.lock().expect("no panic while holding it");
        for target in addresses.into_iter().filter_map(|address| Target::parse(address)) {
            if named.len() < NAMED_MAX && !named.contains(&target) {
                named.push(target);
            }
        }
    }

    /// What a relay named first, then what worked last time, then the invite, the first port of every node before the
    /// second of any, then what gateways named.
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
        let learnt = self.0.named.lock().expect("no panic while holding it").clone();
        let mut targets: Vec<Target> = Vec::new();
        for target in named.chain(last).chain(invited).chain(learnt) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    fn remember(&self, target: &Target) {
        let mut last = self.0.last.lock().expect("no panic while holding it");
        if last.as_ref() == Some(target) {
            return;
        }
        if let Some(path) = &self.0.cache {
            // A cache that cannot be written costs a few hundred milliseconds next time, nothing else.
            let _ = crate::disk::write_private(path, target.to_string().as_bytes());
        }
        *last = Some(target.clone());
    }
}

#[cfg(test)]
mod tests;
