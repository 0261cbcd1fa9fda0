//! The data directory of a private Postgres.
//!
//! `initdb` takes about a second, a copy of its result a fraction of that: so it runs once for each version of Postgres, into a
//! template that is made under a lock and put in place by a rename. The template's superuser password is random; it is
//! shared by the copies, which all belong to the same account of this machine and listen on loopback only.
//!
//! Where we are root, the directory belongs to an unprivileged user, as Postgres demands. A checkout in a closed home
//! directory is out of that user's reach: then template and data lie below the system's temporary directory instead.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{OpenOptionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use secrecy::SecretString;

use super::NAME;
use crate::{
    place::{User, create_private_dir, enterable_temp_base, target_dir},
    run_dir::{RunDir, lock_file},
    secret::random_hex,
};

/// Part of the template's name: raise it when the way it is made changes.
const REVISION: u32 = 1;

/// A data directory, and what is needed to run a server on it.
#[derive(Debug)]
pub(super) struct Cluster {
    bin: PathBuf,
    user: Option<User>,
    data: PathBuf,
    password: SecretString,
    note: Option<String>,
    /// Where the data lies below the temporary directory: removed with the cluster.
    _elsewhere: Option<RunDir>,
}

impl Cluster {
    /// A fresh one in `dir/postgres`, or where the server's user can reach it.
    pub(super) async fn create(bin: PathBuf, dir: &Path) -> Result<Self> {
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || Self::create_blocking(bin, &dir))
            .await
            .context("the thread that prepares Postgres' data has ended")?
    }

    fn create_blocking(bin: PathBuf, dir: &Path) -> Result<Self> {
        let user = User::for_unprivileged_child()?;
        let target = target_dir();
        let out_of_reach = user.as_ref().filter(|user| !user.can_enter(dir) || !user.can_enter(&target));
        let (templates, home, elsewhere, note) = match out_of_reach {
            None => (target.join("harness"), dir.to_owned(), None, None),
            Some(user) => {
                let base = enterable_temp_base(user)?;
                let runs = base.join("run");
                create_private_dir(&runs)?;
                let run = RunDir::create_in(&runs)?;
                let note = format!(
                    "Postgres runs as `{}`, who cannot enter {}: its data is in {}",
                    user.name,
                    dir.display(),
                    run.path().display(),
                );
                (base.join("harness"), run.path().to_owned(), Some(run), Some(note))
            }
        };
        create_private_dir(&templates)?;
        let maker = Maker { bin: &bin, user: user.as_ref() };
        let template = maker.template(&templates)?;
        let data = home.join("postgres");
        copy_tree(&template.join("data"), &data, user.as_ref())?;
        let password = fs::read_to_string(template.join("password")).context("cannot read the template's password")?;
        Ok(Self { bin, user, data, password: password.into(), note, _elsewhere: elsewhere })
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn password(&self) -> &SecretString {
        &self.password
    }

    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// `program` of this installation, to be run as the right user.
    pub(super) fn command(&self, program: &str) -> Command {
        command(&self.bin, program, self.user.as_ref())
    }
}

/// What makes templates: an installation and the user that it runs under.
struct Maker<'a> {
    bin: &'a Path,
    user: Option<&'a User>,
}

impl Maker<'_> {
    /// The template in `templates` for this version of Postgres, made if it is missing.
    fn template(&self, templates: &Path) -> Result<PathBuf> {
        let version = self.version()?;
        let owner = self.user.map_or("own", |user| user.name.as_str());
        let template = templates.join(format!("postgres-{version}-{owner}-{REVISION}"));
        let _lock = lock_file(&templates.join(".postgres-lock"))?;
        if template.is_dir() {
            return Ok(template);
        }
        let draft = templates.join("postgres-draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).context("cannot remove a half made template")?;
        }
        create_private_dir(&draft)?;
        self.initialise(&draft)?;
        fs::rename(&draft, &template).context("cannot put the template in place")?;
        Ok(template)
    }

    fn initialise(&self, draft: &Path) -> Result<()> {
        let password = draft.join("password");
        let secret = random_hex(24)?;
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password)
            .and_then(|mut file| file.write_all(secret.as_bytes()))
            .context("cannot write the template's password")?;
        let data = draft.join("data");
        fs::create_dir(&data).context("cannot create the template's directory")?;
        give(&data, self.user)?;
        give(&password, self.user)?;
        // Bytewise order, UTF-8 text; systems without that locale get the same order from plain C.
        let made = self.initdb(&data, &password, "C.UTF-8").or_else(|_| self.initdb(&data, &password, "C"));
        made?;
        self.create_database(&data)?;
        if self.user.is_some() {
            chown(&password, Some(0), Some(0)).context("cannot take the password file back")?;
        }
        Ok(())
    }

    fn initdb(&self, data: &Path, password: &Path, locale: &str) -> Result<()> {
        let mut initdb = command(self.bin, "initdb", self.user);
        initdb.args(["--username", NAME, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", locale]);
        initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(data).stdin(Stdio::null());
        let output = initdb.output().context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Makes the database without a server: a template that had one running would have to be stopped cleanly.
    fn create_database(&self, data: &Path) -> Result<()> {
        let mut single = command(self.bin, "postgres", self.user);
        single.args(["--single", "-D"]).arg(data).arg("postgres");
        let mut child = single
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run postgres --single")?;
        if let Some(mut input) = child.stdin.take() {
            writeln!(input, "CREATE DATABASE {NAME}").context("postgres --single does not listen")?;
        }
        let output = child.wait_with_output().context("cannot wait for postgres --single")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // It exits 0 even if the statement failed.
        if !output.status.success() || said.contains("ERROR:") || said.contains("FATAL:") {
            bail!("postgres --single failed ({}): {}", output.status, said.trim());
        }
        Ok(())
    }

    fn version(&self) -> Result<String> {
        let output =
            command(self.bin, "postgres", self.user).arg("--version").output().context("cannot run postgres")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        version.map(str::to_owned).with_context(|| format!("`postgres --version` says {text:?}, which has no version"))
    }
}

/// A program of Postgres with a clean environment: `PG…` variables of the caller must not lead it elsewhere.
fn command(bin: &Path, program: &str, user: Option<&User>) -> Command {
    let mut command = Command::new(bin.join(program));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C").current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn give(path: &Path, user: Option<&User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("cannot give {} to {}", path.display(), user.name))
}

/// Copies a directory with the modes of what is in it. A data directory holds directories and files alone.
fn copy_tree(from: &Path, to: &Path, owner: Option<&User>) -> Result<()> {
    let shown = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir(to).with_context(shown)?;
    for entry in fs::read_dir(from).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(shown)?.is_dir() {
            copy_tree(&entry.path(), &target, owner)?;
        } else {
            fs::copy(entry.path(), &target).with_context(shown)?;
            give(&target, owner)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from).with_context(shown)?.permissions()).with_context(shown)?;
    give(to, owner)
}
