//! Where things are on this computer: the invite, the credential, what worked last time, downloads. Finds and names;
//! reads nothing but the invite.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use directories::{ProjectDirs, UserDirs};
use sealcast_endpoint::Invite;

use crate::exit::{Exit, Failure};

/// The invite's name in the configuration folder, and beside the program.
const INVITE_NAME: &str = "invite.toml";
const INVITE_NAME_BESIDE: &str = "sealcast-invite.toml";

/// Where an invite may be, in the order of looking.
#[derive(Debug)]
pub(crate) struct Candidates(Vec<PathBuf>);

impl Candidates {
    /// `given` (from the command line or the environment) is the only one if it is there: a wrong name must not lead
    /// to another mesh.
    pub(crate) fn new(given: Option<&Path>, config_dir: Option<&Path>, program: Option<&Path>) -> Candidates {
        Candidates(match given {
            Some(given) => vec![given.to_owned()],
            None => [
                config_dir.map(|dir| dir.join(INVITE_NAME)),
                program.and_then(Path::parent).map(|dir| dir.join(INVITE_NAME_BESIDE)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        })
    }

    /// Reads the first that exists.
    ///
    /// # Errors
    /// A sentence naming the file that is wrong, or all places where none was found.
    pub(crate) fn read(&self) -> Result<Invite, Failure> {
        for path in &self.0 {
            let text = match read_bounded(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Failure::other(format!(
                        "the invite {} cannot be read: {error}",
                        path.display()
                    )));
                }
            };
            return Invite::parse(&text).map_err(|error| {
                Failure::other(format!("{}: {}", path.display(), error.to_string().trim_end()))
            });
        }
        let places: Vec<String> = self.0.iter().map(|path| path.display().to_string()).collect();
        Err(Failure::new(
            Exit::NotFound,
            format!(
                "no invite was found; looked for {}. Ask your administrator for the invite file of your mesh, and \
                 give it with --invite FILE or put it in the first of these places",
                places.join(" and ")
            ),
        ))
    }
}

/// Copies the invite `given` to `kept` unless that is an invite of another mesh.
fn keep(given: &Path, kept: &Path) -> Result<Option<PathBuf>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::other(format!("the invite cannot be kept as {}: {error}", kept.display()))
    };
    let text = read_bounded(given).map_err(failed)?;
    let same_mesh = |old: &str| match (Invite::parse(old), Invite::parse(&text)) {
        (Ok(old), Ok(new)) => (old.mesh, old.ca) == (new.mesh, new.ca),
        _ => false,
    };
    match read_bounded(kept) {
        Ok(old) if !same_mesh(&old) => return Ok(None),
        Ok(old) if old == text => return Ok(Some(kept.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(folder) = kept.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(kept, text).map_err(failed)?;
    Ok(Some(kept.to_owned()))
}

/// The text of a file that is no longer than an invite may be; what is longer is cut one byte too late, so that the
/// parser refuses it.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    const LENGTH_MAX: u64 = 64 * 1024 + 1;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LENGTH_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The folders of this program for this user.
#[derive(Debug)]
pub(crate) struct Places {
    project: Option<ProjectDirs>,
}

impl Places {
    pub(crate) fn of_user() -> Places {
        Places { project: ProjectDirs::from("", "", "sealcast") }
    }

    /// The invite, found by itself.
    ///
    /// # Errors
    /// As [`Candidates::read`].
    pub(crate) fn invite(&self, given: Option<&Path>) -> Result<Invite, Failure> {
        let program = std::env::current_exe().ok();
        Candidates::new(given, self.project.as_ref().map(ProjectDirs::config_dir), program.as_deref()).read()
    }

    /// Keeps the invite that was given, so that it is found by itself from now on; where it is kept. `None` if another
    /// mesh's invite is kept already: a login must not change which mesh is the usual one.
    ///
    /// # Errors
    /// When it cannot be written, or this user has no home.
    pub(crate) fn keep_invite(&self, given: &Path) -> Result<Option<PathBuf>, Failure> {
        let kept = self.config_dir()?.join(INVITE_NAME);
        keep(given, &kept)
    }

    fn config_dir(&self) -> Result<&Path, Failure> {
        let project = self.project.as_ref().ok_or_else(|| {
            Failure::other("this user has no home folder to keep a login in: set HOME or XDG_CONFIG_HOME")
        })?;
        Ok(project.config_dir())
    }

    /// The file of the credential for a mesh.
    ///
    /// # Errors
    /// When this user has no home.
    pub(crate) fn credential(&self, mesh: &str) -> Result<PathBuf, Failure> {
        Ok(self.config_dir()?.join(format!("credential-{}.toml", file_word(mesh))))
    }

    /// The file that remembers what worked last time.
    pub(crate) fn cache(&self, mesh: &str) -> Option<PathBuf> {
        Some(self.project.as_ref()?.cache_dir().join(format!("nodes-{}.toml", file_word(mesh))))
    }

    /// Where received files go: as said, or the user's download folder, or the current folder.
    pub(crate) fn downloads(&self, given: Option<PathBuf>) -> PathBuf {
        let folder = given
            .or_else(|| UserDirs::new().and_then(|user| user.download_dir().map(Path::to_owned)))
            .unwrap_or_else(|| PathBuf::from("."));
        // Where a file is should be said so that it means the same elsewhere.
        std::path::absolute(&folder).unwrap_or(folder)
    }
}

/// What this user is called on this computer.
pub(crate) fn user_name() -> Option<String> {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(OsString::into_string)
        .filter_map(Result::ok)
        .find(|name| !name.trim().is_empty())
}

/// A mesh's name as part of a file's name: other meshes' names lead to other files, and none leads out of the folder.
fn file_word(mesh: &str) -> String {
    let mut word = String::new();
    for byte in mesh.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => word.push(char::from(byte)),
            _ => word.push_str(&format!("_{byte:02x}")),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "version = 1\nmesh = \"m\"\nca = \"\"\n[[nodes]]\nhost = \"h\"\nports = [1]\n";

    #[test]
    fn the_first_invite_that_exists_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (config, beside) = (dir.path().join("config"), dir.path().join("bin"));
        std::fs::create_dir_all(&config).unwrap();
        std::fs::create_dir_all(&beside).unwrap();
        let program = beside.join("sealcast");
        let find = |given: Option<&Path>| Candidates::new(given, Some(&config), Some(&program)).read();

        let none = find(None).unwrap_err();
        assert_eq!(none.exit, Exit::NotFound);
        assert!(none.text.contains("config/invite.toml"), "{none}");
        assert!(none.text.contains("bin/sealcast-invite.toml"), "{none}");

        std::fs::write(beside.join("sealcast-invite.toml"), INVITE.replace("\"m\"", "\"beside\"")).unwrap();
        assert_eq!(find(None).unwrap().mesh, "beside");
        std::fs::write(config.join("invite.toml"), INVITE.replace("\"m\"", "\"config\"")).unwrap();
        assert_eq!(find(None).unwrap().mesh, "config");
        // A name that was given is the only one.
        assert_eq!(find(Some(&dir.path().join("missing"))).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn an_invite_is_kept_but_never_over_another_mesh() {
        let dir = tempfile::tempdir().unwrap();
        let (given, kept) = (dir.path().join("given.toml"), dir.path().join("config/invite.toml"));
        std::fs::write(&given, INVITE).unwrap();
        assert_eq!(keep(&given, &kept).unwrap(), Some(kept.clone()));
        let moved = INVITE.replace("[1]", "[2]");
        std::fs::write(&given, &moved).unwrap();
        assert_eq!(keep(&given, &kept).unwrap(), Some(kept.clone()), "the same mesh at another port");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), moved);
        std::fs::write(&given, INVITE.replace("\"m\"", "\"other\"")).unwrap();
        assert_eq!(keep(&given, &kept).unwrap(), None);
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), moved, "the other mesh's stays");
    }

    #[test]
    fn a_wrong_invite_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.toml");
        for (text, says) in [("version = 1", "missing field"), (&"#".repeat(70_000)[..], "longer than")] {
            std::fs::write(&path, text).unwrap();
            let failure = Candidates::new(Some(&path), None, None).read().unwrap_err();
            assert!(failure.text.contains("i.toml") && failure.text.contains(says), "{failure}");
        }
    }

    #[test]
    fn a_mesh_name_cannot_lead_elsewhere() {
        assert_eq!(file_word("../a b"), "_2e_2e_2fa_20b");
        assert_ne!(file_word("a_2e"), file_word("a."));
    }
}
