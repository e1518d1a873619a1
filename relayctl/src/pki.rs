//! `relayctl pki`: files of keys and certificates. Talks to no node and loses nothing: what is replaced is kept beside.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto_spec::{NodeNumber, WallTime};
use sealcast_trust::cert::{self, Inspection};
use sealcast_trust::issuing::{self, IssuingError, IssuingKey, PkiFile, file};
use sealcast_trust::{AdminRole, CertificateRole, MeshName, MeshTrust, RevocationList};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{Global, Issue, IssueCommon, Pki};
use crate::failure::Failure;
use crate::output::{Table, time};
use crate::revoke;

/// Largest PEM file read: a chain has below 4 KiB.
const PEM_LENGTH_MAX: u64 = 64 * 1024;

/// Folder of certificates that were renewed.
pub(crate) const OLD: &str = "old";

/// Runs one command.
pub(crate) fn run(command: &Pki, global: &Global) -> Result<(), Failure> {
    match command {
        Pki::Init { mesh, dir } => init(mesh, &dir.dir, global),
        Pki::Issue(Issue::Node { number, names, common }) => {
            issue(&CertificateRole::Node(node_number(*number)?), names, common, global)
        }
        Pki::Issue(Issue::Broker { number, common }) => {
            issue(&CertificateRole::Broker(node_number(*number)?), &[], common, global)
        }
        Pki::Issue(Issue::Admin { role, name, common }) => {
            let role: AdminRole =
                role.parse().map_err(|error| Failure::usage(format!("--role {role}: {error}")))?;
            let role = CertificateRole::admin(role, name)
                .map_err(|error| Failure::usage(format!("--name {name}: {error}")))?;
            issue(&role, &[], common, global)
        }
        Pki::Renew { certificate, days, dir } => renew(certificate, *days, &dir.dir, global),
        Pki::Revoke { .. } | Pki::Publish { .. } => {
            unreachable!("they talk to nodes: main sends them elsewhere")
        }
        Pki::Show { file, dir } => show(file.as_deref(), &dir.dir, global),
    }
}

fn node_number(number: u16) -> Result<NodeNumber, Failure> {
    NodeNumber::new(number).ok_or_else(|| Failure::usage("--number 0: node numbers run from 1 to 65535"))
}

fn init(mesh: &str, dir: &Path, global: &Global) -> Result<(), Failure> {
    let mesh: MeshName = mesh.parse().map_err(|error| Failure::usage(format!("--mesh {mesh}: {error}")))?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::other(format!("{}: the folder cannot be made: {error}", dir.display())))?;
    let files = issuing::init(&mesh, now()).map_err(refused)?;
    report(&write_new(dir, &files)?, global)?;
    eprintln!(
        "\nThe mesh {mesh} has its keys. Move {} to offline storage now: it is needed again only for a new\n\
         issuing key. Next:\n\n  relayctl pki issue node --dir {dir} --number 1 --name HOST\n  \
         relayctl pki issue broker --dir {dir} --number 1",
        dir.join(file::ROOT_KEY).display(),
        dir = dir.display()
    );
    Ok(())
}

fn issue(
    role: &CertificateRole,
    names: &[String],
    common: &IssueCommon,
    global: &Global,
) -> Result<(), Failure> {
    let dir = &common.dir.dir;
    let key = issuing_key(dir)?;
    let validity = Duration::from_secs(u64::from(common.days) * 86_400);
    let issued = key.issue(role, names, Some(validity), now()).map_err(refused)?;
    report(&write_new(dir, &issued.files)?, global)
}

/// The folder's issuing key.
pub(crate) fn issuing_key(dir: &Path) -> Result<IssuingKey, Failure> {
    let ca = read(&dir.join(file::CA))?;
    let mesh = mesh_of(&dir.join(file::CA), &ca)?;
    IssuingKey::load(&mesh, &ca, &read(&dir.join(file::ISSUING))?, &read(&dir.join(file::ISSUING_KEY))?)
        .map_err(refused)
}

/// The folder's roots.
pub(crate) fn trust(dir: &Path) -> Result<MeshTrust, Failure> {
    let ca = read(&dir.join(file::CA))?;
    let mesh = mesh_of(&dir.join(file::CA), &ca)?;
    MeshTrust::from_pem(mesh, &ca)
        .map_err(|error| Failure::other(format!("{}: {error}", dir.join(file::CA).display())))
}

/// The new certificate takes the old one's place, so that nodes find it where they look; the old one goes to `old/`.
fn renew(certificate: &Path, days: u32, dir: &Path, global: &Global) -> Result<(), Failure> {
    let old = read(certificate)?;
    let key = read(&certificate.with_extension("key"))?;
    let validity = Duration::from_secs(u64::from(days) * 86_400);
    let issued = issuing_key(dir)?.renew(&old, &key, Some(validity), now()).map_err(refused)?;
    let chain = cert::chain_from_pem(&old)
        .map_err(|error| Failure::other(format!("{}: {error}", certificate.display())))?;
    let hash = cert::inspect(&chain[0]).map_err(|error| Failure::other(error.to_string()))?.certificate;
    let folder = certificate.parent().unwrap_or(Path::new(".")).join(OLD);
    let name = certificate.file_stem().unwrap_or_default().to_string_lossy();
    let kept = folder.join(format!("{name}-{}.pem", hex::encode(&hash[..4])));
    let unwritable = |path: &Path, error: std::io::Error| {
        Failure::other(format!("{}: cannot be written: {error}; nothing was changed", path.display()))
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| unwritable(&folder, error))?;
    if !kept.exists() {
        let copy = PkiFile { name: String::new(), contents: old, secret: false };
        write_one(&kept, &copy).map_err(|error| unwritable(&kept, error))?;
    }
    let new = issued.files.iter().find(|file| !file.secret).expect("an issued certificate has a file");
    replace(certificate, new).map_err(|error| unwritable(certificate, error))?;
    report(&[certificate.to_owned(), kept], global)?;
    eprintln!(
        "\nBoth are good until the old one's end. Copy the new one to its node and send relayd a SIGHUP."
    );
    Ok(())
}

/// The mesh's name as the root's subject says it.
fn mesh_of(path: &Path, pem: &[u8]) -> Result<MeshName, Failure> {
    let problem = || {
        Failure::other(format!("{}: not the root certificate that `relayctl pki init` wrote", path.display()))
    };
    let root = cert::chain_from_pem(pem).map_err(|_| problem())?.into_iter().next().ok_or_else(problem)?;
    let about = cert::inspect(&root).map_err(|_| problem())?;
    let organisation = about.subject.split(", ").find_map(|part| part.strip_prefix("O="));
    organisation.and_then(|name| name.parse().ok()).ok_or_else(problem)
}

fn show(file: Option<&Path>, dir: &Path, global: &Global) -> Result<(), Failure> {
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => pem_files(dir)?,
    };
    let revoked = revoke::list(dir)?;
    let mut table = Table::new(
        &["file", "identity", "names", "expires", "left"],
        &["subject", "issuer", "serial", "from", "sha256", "revoked"],
    );
    let mut unreadable = Vec::new();
    for path in &files {
        let certificates = read(path).and_then(|pem| {
            cert::chain_from_pem(&pem).map_err(|e| Failure::other(format!("{}: {e}", path.display())))
        });
        match certificates.and_then(|chain| {
            cert::inspect(&chain[0]).map_err(|e| Failure::other(format!("{}: {e}", path.display())))
        }) {
            Ok(about) => push(&mut table, path, &about, revoked.as_ref()),
            Err(failure) => unreadable.push(failure),
        }
    }
    table.print(global.output)?;
    match unreadable.len() {
        0 => Ok(()),
        count if count == files.len() => Err(unreadable.remove(0)),
        count => {
            unreadable.iter().for_each(|failure| eprintln!("relayctl: {failure}"));
            Err(Failure::partial(format!("{count} of {} files could not be read", files.len())))
        }
    }
}

fn push(table: &mut Table, path: &Path, about: &Inspection, revoked: Option<&RevocationList>) {
    let identity = match &about.identity {
        Some((mesh, role)) => format!("{role} of {mesh}"),
        None if about.is_ca => "CA".into(),
        None => "none".into(),
    };
    let left_ms = about.not_after.0.saturating_sub(now().0);
    let is_revoked = revoked.is_some_and(|list| list.names(&about.certificate));
    let left = match left_ms {
        _ if is_revoked => "revoked".into(),
        0 => "expired".into(),
        left => format!("{} d", left / 86_400_000),
    };
    let sha256 = hex::encode(about.certificate);
    let row = vec![
        path.display().to_string(),
        identity.clone(),
        about.names.join(" "),
        time(about.not_after.0),
        left,
        about.subject.clone(),
        about.issuer.clone(),
        about.serial.clone(),
        time(about.not_before.0),
        sha256.clone(),
        is_revoked.to_string(),
    ];
    let json = json!({
        "file": path, "identity": identity, "is_ca": about.is_ca, "names": about.names,
        "subject": about.subject, "issuer": about.issuer, "serial": about.serial,
        "not_before_ms": about.not_before.0, "not_after_ms": about.not_after.0, "sha256": sha256,
        "revoked": is_revoked,
    });
    table.push(row, json);
}

pub(crate) fn pem_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir)
        .map_err(|_| Failure::not_found(format!("{}: no such folder: name it with --dir", dir.display())))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::not_found(format!("{}: holds no certificates (*.pem)", dir.display())));
    }
    Ok(files)
}

/// Writes all files or, where one exists already, none.
fn write_new(dir: &Path, files: &[PkiFile]) -> Result<Vec<PathBuf>, Failure> {
    let paths: Vec<PathBuf> = files.iter().map(|file| dir.join(&file.name)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::other(format!(
            "{} exists already and is not overwritten: choose another --dir, or move it away",
            path.display()
        )));
    }
    let mut written = Vec::new();
    for (path, file) in paths.iter().zip(files) {
        if let Err(error) = write_one(path, file) {
            // Half a set of keys is of no use.
            written.iter().for_each(|path: &PathBuf| drop(std::fs::remove_file(path)));
            return Err(Failure::other(format!(
                "{}: cannot be written: {error}; nothing was kept",
                path.display()
            )));
        }
        written.push(path.clone());
    }
    Ok(written)
}

fn write_one(path: &Path, file: &PkiFile) -> std::io::Result<()> {
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    out.write_all(&file.contents)?;
    out.sync_all()
}

/// Replaces a file as a whole.
pub(crate) fn replace(path: &Path, file: &PkiFile) -> std::io::Result<()> {
    let part = path.with_extension("part");
    // One that a run cut short left behind.
    let _ = std::fs::remove_file(&part);
    write_one(&part, file)?;
    std::fs::rename(&part, path)
}

pub(crate) fn report(paths: &[PathBuf], global: &Global) -> Result<(), Failure> {
    let mut table = Table::new(&["written"], &[]);
    for path in paths {
        table.push(vec![path.display().to_string()], json!({ "written": path }));
    }
    table.print(global.output)
}

pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let problem = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(format!(
            "{}: not there: `relayctl pki init` makes it, --dir says where",
            path.display()
        )),
        std::io::ErrorKind::PermissionDenied => {
            Failure::denied(format!("{}: this user may not read it", path.display()))
        }
        _ => Failure::other(format!("{}: cannot be read: {error}", path.display())),
    };
    if std::fs::metadata(path).map_err(problem)?.len() > PEM_LENGTH_MAX {
        return Err(Failure::other(format!("{}: too long for a PEM file", path.display())));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(problem)
}

pub(crate) fn refused(error: IssuingError) -> Failure {
    Failure::other(error.to_string())
}

pub(crate) fn now() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
