//! Where things lie: the workspace, cargo's target directory, and a place that an unprivileged server may enter.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use url::Url;

/// The root of the workspace that this crate was built from.
#[must_use]
pub fn workspace_root() -> &'static Path {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir)
}

/// Cargo's target directory: the one that the running program lies in, else the one cargo would use.
#[must_use]
pub fn target_dir() -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let tagged = running.ancestors().skip(1).find(|dir| dir.join("CACHEDIR.TAG").is_file());
    if let Some(dir) = tagged {
        return dir.to_owned();
    }
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace_root().join(dir),
        None => workspace_root().join("target"),
    }
}

/// The `file://` URL of an absolute path, with whatever needs it escaped.
///
/// # Errors
/// When the path is not absolute.
pub fn file_url(path: &Path) -> Result<String> {
    match Url::from_file_path(path) {
        Ok(url) => Ok(url.into()),
        Err(()) => bail!("{} is not an absolute path", path.display()),
    }
}

/// An account that a server runs under, because it refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The account to use where we are root, `None` where we are not.
    pub(crate) fn for_unprivileged_child() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let found = ["postgres", "nobody"].iter().find_map(|name| Self::in_passwd(&accounts, name));
        match found {
            Some(user) => Ok(Some(user)),
            None => {
                bail!("Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it under")
            }
        }
    }

    fn in_passwd(accounts: &str, name: &str) -> Option<Self> {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), uid, gid })
    }

    /// Whether this user may enter `dir` and every directory above it (by mode bits; access lists are not asked).
    pub(crate) fn can_enter(&self, dir: &Path) -> bool {
        dir.ancestors().all(|ancestor| {
            let Ok(found) = fs::metadata(ancestor) else {
                return ancestor.as_os_str().is_empty();
            };
            let mode = found.mode();
            let needed = if found.uid() == self.uid {
                0o100
            } else if found.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            mode & needed != 0
        })
    }
}

/// A directory of ours below the system's temporary one that `user` can enter: for checkouts in a closed home directory.
pub(crate) fn enterable_temp_base(user: &User) -> Result<PathBuf> {
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let Some(parent) = candidates.iter().find(|dir| dir.is_dir() && user.can_enter(dir)) else {
        bail!("Postgres needs a directory that the user `{}` can enter: set TMPDIR to one", user.name);
    };
    let uid = rustix::process::geteuid().as_raw();
    let base = parent.join(format!("millrace-{uid}"));
    create_private_dir(&base)?;
    // The name can be guessed and the parent is open to all: refuse what somebody else put there.
    let found = fs::symlink_metadata(&base).with_context(|| format!("cannot look at {}", base.display()))?;
    if !found.is_dir() || found.uid() != uid {
        bail!("{} is not a directory of ours: remove it, or set TMPDIR", base.display());
    }
    Ok(base)
}

/// Makes `dir` (not its parents) if it is missing: others may pass through, but not look around.
pub(crate) fn create_private_dir(dir: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o711).create(dir) {
        // Again, because the umask may have taken the bits that let an unprivileged server through.
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o711)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .with_context(|| format!("cannot create {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> User {
        User { name: "stranger".into(), uid: 54_321, gid: 54_321 }
    }

    #[test]
    fn closed_ancestor_keeps_a_user_out() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let inner = root.path().join("closed").join("open");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        let closed = inner.parent().unwrap();
        fs::set_permissions(closed, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(stranger().can_enter(&inner));
        fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger().can_enter(&inner));
        let owner = User { uid: rustix::process::geteuid().as_raw(), ..stranger() };
        assert!(owner.can_enter(&inner));
    }

    #[test]
    fn account_is_read_by_its_whole_name() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:/bin/sh\npostgres:x:101:104:a,b:/x:/bin/sh\n";
        let expected = User { name: "postgres".into(), uid: 101, gid: 104 };
        assert_eq!(User::in_passwd(accounts, "postgres"), Some(expected));
        assert_eq!(User::in_passwd(accounts, "nobody"), None);
    }
}
