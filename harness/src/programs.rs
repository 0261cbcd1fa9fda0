//! Finding `redis-server` and `postgres` on this machine, and getting them where they are missing and we may.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::run_dir::lock_file;

/// A program that the harness or a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Redis or Valkey.
    Redis,
    /// Postgres: `postgres` and `initdb`, which must be of one installation.
    Postgres,
    /// Tesseract, with which workers read scanned pages.
    Tesseract,
}

impl Program {
    fn described(self) -> &'static str {
        match self {
            Self::Redis => "redis-server (or valkey-server)",
            Self::Postgres => "postgres (with initdb)",
            Self::Tesseract => "tesseract",
        }
    }

    fn debian_package(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Postgres => "postgresql",
            Self::Tesseract => "tesseract-ocr",
        }
    }

    fn homebrew_package(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgresql",
            Self::Tesseract => "tesseract",
        }
    }
}

/// Whether missing servers may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// Through apt-get, where it is there and we are root.
    WhereRoot,
    /// Never: a missing server is an error.
    Never,
}

/// Where to look for servers.
#[derive(Clone, Debug)]
pub struct Search {
    path: Vec<PathBuf>,
    install: Install,
}

impl Default for Search {
    /// `PATH`, then the places that distributions use, newest Postgres first; installs where root.
    fn default() -> Self {
        let mut path: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        path.extend(distribution_places());
        Self { path, install: Install::WhereRoot }
    }
}

impl Search {
    /// Looks in `path` alone, in the form of the `PATH` variable.
    #[must_use]
    pub fn only(path: &OsString, install: Install) -> Self {
        Self { path: env::split_paths(path).collect(), install }
    }

    /// Makes sure that all of `programs` are there.
    ///
    /// # Errors
    /// When one is missing and could not or may not be installed: one line that says what to install.
    pub async fn require(&self, programs: &[Program]) -> Result<()> {
        if self.missing(programs).is_empty() {
            return Ok(());
        }
        let may_install = self.install == Install::WhereRoot && rustix::process::geteuid().is_root();
        if let Some(apt_get) = self.file("apt-get").filter(|_| may_install) {
            self.install(programs, &apt_get).await?;
        }
        let missing = self.missing(programs);
        if missing.is_empty() {
            return Ok(());
        }
        bail!("{}", advice(&missing))
    }

    /// The version of a server that is there, as the program itself tells it.
    pub async fn version(&self, program: Program) -> Option<String> {
        let path = self.find(program)?;
        let path = if program == Program::Postgres { path.join("postgres") } else { path };
        let output = Command::new(path).arg("--version").output().await.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace().map(|word| word.strip_prefix("v=").unwrap_or(word));
        words.find(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
    }

    /// `redis-server` or `valkey-server`.
    pub(crate) async fn redis(&self) -> Result<PathBuf> {
        self.require(&[Program::Redis]).await?;
        self.find(Program::Redis).context("redis-server has just been found and is gone")
    }

    /// The directory with `postgres` and `initdb`.
    pub(crate) async fn postgres_bin(&self) -> Result<PathBuf> {
        self.require(&[Program::Postgres]).await?;
        self.find(Program::Postgres).context("postgres has just been found and is gone")
    }

    fn missing(&self, programs: &[Program]) -> Vec<Program> {
        programs.iter().copied().filter(|program| self.find(*program).is_none()).collect()
    }

    fn find(&self, program: Program) -> Option<PathBuf> {
        match program {
            Program::Redis => self.file("redis-server").or_else(|| self.file("valkey-server")),
            // A link on PATH leads to the directory that holds all the programs of that version.
            Program::Postgres => self.path.iter().find_map(|dir| {
                let real = dir.join("postgres").canonicalize().ok()?;
                let bin = real.parent()?;
                bin.join("initdb").is_file().then(|| bin.to_owned())
            }),
            Program::Tesseract => self.file("tesseract"),
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|dir| dir.join(name)).find(|file| file.is_file())
    }

    async fn install(&self, programs: &[Program], apt_get: &Path) -> Result<()> {
        // Two runs on a fresh machine: the second waits, and then finds what the first has installed.
        let lock = env::temp_dir().join("millrace-install.lock");
        let lock =
            tokio::task::spawn_blocking(move || lock_file(&lock)).await.context("waiting for another install")??;
        let missing = self.missing(programs);
        if missing.is_empty() {
            return Ok(());
        }
        let packages: Vec<&str> = missing.iter().map(|program| program.debian_package()).collect();
        eprintln!("installing {} with apt-get (missing on this machine)", packages.join(" and "));
        run(apt_get, &["update"]).await?;
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&packages);
        run(apt_get, &arguments).await?;
        drop(lock);
        Ok(())
    }
}

async fn run(apt_get: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(apt_get)
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .await
        .context("cannot run apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get {}` failed ({}): {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(())
}

fn advice(missing: &[Program]) -> String {
    let names: Vec<&str> = missing.iter().map(|program| program.described()).collect();
    let (tool, package): (&str, fn(Program) -> &'static str) = if cfg!(target_os = "macos") {
        ("brew install", Program::homebrew_package)
    } else {
        ("sudo apt-get install", Program::debian_package)
    };
    let packages: Vec<&str> = missing.iter().map(|program| package(*program)).collect();
    // Nobody runs this one elsewhere.
    let or_else = if missing.contains(&Program::Tesseract) {
        ""
    } else {
        ", or set REDIS_URL and DATABASE_URL to servers you run"
    };
    format!(
        "{} not found: install with `{tool} {}` (or your system's packages){or_else}",
        names.join(" and "),
        packages.join(" "),
    )
}

/// Debian and Ubuntu, RPM distributions, Homebrew and Postgres.app keep Postgres off the `PATH`.
fn distribution_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for (parent, prefix, suffix) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        places.extend(newest_first(Path::new(parent), prefix).into_iter().map(|dir| dir.join(suffix)));
    }
    places
        .extend(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    places
}

/// The directories in `parent` called `<prefix><version>`, highest version first.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut versions: Vec<(f64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    versions.sort_by(|one, other| other.0.total_cmp(&one.0));
    versions.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_comes_first_and_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "16", "lib"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names: Vec<_> = newest_first(parent.path(), "")
            .into_iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["16", "15", "9.6"]);
    }

    #[test]
    fn valkey_serves_where_redis_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let search = Search::only(&dir.path().into(), Install::Never);
        assert_eq!(search.find(Program::Redis), None);
        fs::write(dir.path().join("valkey-server"), "").unwrap();
        assert_eq!(search.find(Program::Redis), Some(dir.path().join("valkey-server")));
    }

    #[tokio::test]
    async fn missing_servers_are_named_in_one_line_with_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let search = Search::only(&empty.path().into(), Install::Never);
        let error = search.require(&[Program::Redis, Program::Postgres]).await.unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        for part in [
            "redis-server (or valkey-server) and postgres (with initdb) not found",
            "install ",
            "REDIS_URL",
            "DATABASE_URL",
        ] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }

    #[tokio::test]
    async fn postgres_without_initdb_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postgres"), "").unwrap();
        let search = Search::only(&dir.path().into(), Install::Never);
        assert!(search.postgres_bin().await.is_err());
        fs::write(dir.path().join("initdb"), "").unwrap();
        assert_eq!(search.postgres_bin().await.unwrap(), dir.path().canonicalize().unwrap());
    }

    /// The real apt-get would need a machine to spoil; what is asked of it is what matters here.
    #[tokio::test]
    async fn root_gets_what_is_missing_and_nothing_else_installed() {
        use std::os::unix::fs::PermissionsExt;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("valkey-server"), "").unwrap();
        let apt_get = dir.path().join("apt-get");
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\" && echo \"$@\" >> asked && touch postgres initdb\n";
        fs::write(&apt_get, script).unwrap();
        fs::set_permissions(&apt_get, fs::Permissions::from_mode(0o755)).unwrap();

        let search = Search::only(&dir.path().into(), Install::Never);
        assert!(search.require(&[Program::Postgres]).await.is_err(), "not where it may not");
        assert!(!dir.path().join("asked").exists());

        let search = Search::only(&dir.path().into(), Install::WhereRoot);
        search.require(&[Program::Redis, Program::Postgres]).await.unwrap();
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        let asked: Vec<&str> = asked.lines().collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked[0].ends_with(" update"), "{asked:?}");
        assert!(asked[1].ends_with(" install --yes --no-install-recommends postgresql"), "{asked:?}");
    }
}
