//! `relayctl pki revoke` and `publish`: the mesh's revocation list, beside its CA and at a node \[REV-1\] \[REV-4\].

use std::path::{Path, PathBuf};

use proto_spec::revocation::{REVOCATION_LIST_LENGTH_MAX, Revoked};
use proto_spec::{NodeNumber, Wire};
use sealcast_rpc::PublishRevocationsRequest;
use sealcast_trust::cert::{self, Inspection};
use sealcast_trust::issuing::{PkiFile, file};
use sealcast_trust::{CertificateRole, RevocationList, revocation};
use zeroize::Zeroizing;

use crate::cli::Global;
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::pki::{self, OLD};
use crate::prompt;

/// The folder's newest list, checked; `None` if there is none yet.
pub(crate) fn list(dir: &Path) -> Result<Option<RevocationList>, Failure> {
    let path = dir.join(file::REVOCATIONS);
    let Some(bytes) = bytes(&path)? else { return Ok(None) };
    revocation::verify(&bytes, &pki::trust(dir)?, pki::now())
        .map(Some)
        .map_err(|error| Failure::other(format!("{}: {error}", path.display())))
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(about) if about.len() > REVOCATION_LIST_LENGTH_MAX as u64 => {
            return Err(Failure::other(format!("{}: longer than any revocation list", path.display())));
        }
        _ => {}
    }
    let unreadable = |error| Failure::other(format!("{}: cannot be read: {error}", path.display()));
    std::fs::read(path).map(Some).map_err(unreadable)
}

/// Names certificates in the next list.
pub(crate) async fn revoke(what: &[String], dir: &Path, global: &Global) -> Result<(), Failure> {
    let found = match what {
        [certificate] => vec![leaf(Path::new(certificate))?],
        [kind, name] => held(dir, kind, name)?,
        _ => return Err(Failure::usage("name a certificate's file, or a kind and its number or name")),
    };
    let now = pki::now();
    let good: Vec<Inspection> = found.into_iter().filter(|about| about.not_after > now).collect();
    if good.is_empty() {
        return Err(Failure::other("nothing was revoked: every such certificate has ended by itself"));
    }
    let names: Vec<String> = good
        .iter()
        .map(|about| match &about.identity {
            Some((_, role)) => format!("{role} ({})", &hex::encode(about.certificate)[..8]),
            None => "a certificate without identity".into(),
        })
        .collect();
    prompt::confirm(&format!("Revoke {} for good?", names.join(", ")), global.yes)?;
    let key = pki::issuing_key(dir)?;
    let previous = list(dir)?;
    let entries =
        good.iter().map(|about| Revoked { certificate: about.certificate, expires: about.not_after });
    let signed = key.revoke(previous.as_ref(), entries, now).map_err(pki::refused)?;
    let path = dir.join(file::REVOCATIONS);
    let contents = Zeroizing::new(signed.to_bytes());
    let list = PkiFile { name: file::REVOCATIONS.into(), contents, secret: false };
    pki::replace(&path, &list)
        .map_err(|error| Failure::other(format!("{}: cannot be written: {error}", path.display())))?;
    pki::report(&[path], global)?;
    eprintln!("List {} names {} certificates.", signed.body.number, signed.body.revoked.len());
    if global.socket.is_some() || global.address.is_some() {
        return publish(dir, global).await;
    }
    eprintln!(
        "No node knows it yet: `relayctl pki publish` with --socket or --address tells one, which tells all."
    );
    Ok(())
}

/// Hands the newest list to a node.
pub(crate) async fn publish(dir: &Path, global: &Global) -> Result<(), Failure> {
    let path = dir.join(file::REVOCATIONS);
    let Some(list) = bytes(&path)? else {
        return Err(Failure::not_found(format!(
            "{}: no list yet: `relayctl pki revoke` makes one",
            path.display()
        )));
    };
    let message = PublishRevocationsRequest { list };
    let published = connect(global).await?.publish_revocations(request(message)).await?.into_inner();
    eprintln!(
        "List {} with {} certificates is in force at the node, and within 5 s at every node that it reaches.",
        published.number, published.revoked
    );
    Ok(())
}

fn leaf(path: &Path) -> Result<Inspection, Failure> {
    let problem = |error: cert::CertError| Failure::other(format!("{}: {error}", path.display()));
    let chain = cert::chain_from_pem(&pki::read(path)?).map_err(problem)?;
    let about = cert::inspect(&chain[0]).map_err(problem)?;
    if about.is_ca {
        return Err(Failure::usage(format!(
            "{}: a CA certificate cannot be revoked by a list that it signs: make a new root",
            path.display()
        )));
    }
    Ok(about)
}

/// Every certificate of an identity that the folder holds, renewed ones with it.
fn held(dir: &Path, kind: &str, name: &str) -> Result<Vec<Inspection>, Failure> {
    let number = || {
        let number = name.parse::<u16>().ok().and_then(NodeNumber::new);
        number.ok_or_else(|| Failure::usage(format!("{name}: node numbers run from 1 to 65535")))
    };
    let wanted: Box<dyn Fn(&CertificateRole) -> bool> = match kind {
        "node" => {
            let role = CertificateRole::Node(number()?);
            Box::new(move |other| *other == role)
        }
        "broker" => {
            let role = CertificateRole::Broker(number()?);
            Box::new(move |other| *other == role)
        }
        "admin" => {
            Box::new(|other| matches!(other, CertificateRole::Admin { name: other, .. } if other == name))
        }
        _ => {
            return Err(Failure::usage(format!(
                "{kind}: revoke a certificate's file, or `node N`, `broker N`, `admin NAME`"
            )));
        }
    };
    let mut files: Vec<PathBuf> = pki::pem_files(dir)?;
    if dir.join(OLD).is_dir() {
        files.extend(pki::pem_files(&dir.join(OLD)).unwrap_or_default());
    }
    let readable = files.iter().filter_map(|path| leaf(path).ok());
    let found: Vec<Inspection> =
        readable.filter(|about| about.identity.as_ref().is_some_and(|(_, role)| wanted(role))).collect();
    if found.is_empty() {
        return Err(Failure::not_found(format!(
            "{}: holds no certificate of {kind} {name}: name its file, or another --dir",
            dir.display()
        )));
    }
    Ok(found)
}
