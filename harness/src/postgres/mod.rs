//! A private Postgres: a data directory of its own, a free loopback port, faults on demand, and a database for each test.

mod cluster;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use self::cluster::Cluster;
use crate::{
    process::{Process, Signal},
    programs::Search,
    redis::free_port,
};

/// The environment variable with the URL of a Postgres that all tests of a run share, each with databases of its own.
pub const TEST_POSTGRES: &str = "MILLRACE_TEST_POSTGRES";
/// The environment variable with the name of a migrated database in it, to be copied by each test. The copies' names begin
/// with it, so that the run that made it can drop them all.
pub const TEST_TEMPLATE: &str = "MILLRACE_TEST_TEMPLATE";

/// The superuser, and the database that is there from the start.
pub(crate) const NAME: &str = "millrace";

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const PORT_ATTEMPTS: u32 = 10;

/// How a private Postgres differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Where to look for the programs.
    pub search: Search,
    /// Further settings, e.g. `("fsync", "off")`; they win over ours.
    pub settings: Vec<(String, String)>,
}

/// A Postgres: a private child of ours, or one that somebody else runs.
#[derive(Debug)]
pub struct PostgresServer {
    url: SecretString,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    // Before the cluster, so that the process ends before its directory is removed.
    process: Process,
    port: u16,
    log: PathBuf,
    settings: Vec<(String, String)>,
    cluster: Cluster,
}

impl PostgresServer {
    /// Starts a private one with its data and log in `dir/postgres` (see [`note`](Self::note) for an exception).
    ///
    /// # Errors
    /// When a program is missing, no unprivileged user is there to run it, or it does not come up.
    pub async fn start(dir: &Path, options: PostgresOptions) -> Result<Self> {
        let bin = options.search.postgres_bin().await?;
        let cluster = Cluster::create(bin, dir).await?;
        let log = dir.join("postgres.log");
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let password = cluster.password().expose_secret();
            let url = SecretString::from(format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}"));
            let process = launch(&cluster, port, &log, &options.settings)?;
            match wait_ready(&process, &url).await {
                Ok(()) => {
                    let settings = options.settings;
                    return Ok(Self { url, private: Some(Private { process, port, log, settings, cluster }) });
                }
                Err(_) if lost_port(&process) => {}
                Err(error) => return Err(error),
            }
        }
        bail!("Postgres found no free port in {PORT_ATTEMPTS} attempts")
    }

    /// One that somebody else runs: it can be used, but not killed or restarted.
    #[must_use]
    pub fn external(url: &str) -> Self {
        Self { url: url.into(), private: None }
    }

    /// How to connect, password included.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// What a user should know about it: where the data lies, if not in the directory that was asked for.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.private.as_ref().and_then(|private| private.cluster.note())
    }

    /// Its process id, where it is ours.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref().map(|private| private.process.pid())
    }

    /// Kills the postmaster with SIGKILL; its backends notice and end.
    ///
    /// # Errors
    /// When it is not ours or does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.private()?.process.kill().await.map(drop)
    }

    /// Stops it cleanly, cutting open connections ("fast shutdown").
    ///
    /// # Errors
    /// When it is not ours, does not run, or does not end in time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let private = self.private()?;
        private.process.signal(Signal::INT)?;
        private.process.wait_within(STOP_DEADLINE).await
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and data.
    ///
    /// # Errors
    /// When it is not ours, still runs, or does not come up.
    pub async fn start_again(&mut self) -> Result<()> {
        let url = self.url.clone();
        let private = self.private()?;
        if private.process.status().is_none() {
            bail!("Postgres still runs: stop or kill it first");
        }
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            private.process = launch(&private.cluster, private.port, &private.log, &private.settings)?;
            match wait_ready(&private.process, &url).await {
                Ok(()) => return Ok(()),
                // The port may be taken for a moment, and backends of a killed postmaster may still be on their way out.
                Err(_) if private.process.status().is_some() && Instant::now() < deadline => {
                    sleep(POLL * 5).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// [`stop`](Self::stop), then [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// As these two.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When `name` is no plain name (a-z, 0-9, _) or the server refuses.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.create_from(name, "").await
    }

    /// Makes a database as a copy of the database `template`, to which nobody may be connected, and returns its URL.
    ///
    /// # Errors
    /// As [`create_database`](Self::create_database).
    pub async fn copy_database(&self, name: &str, template: &str) -> Result<String> {
        ensure_plain(template)?;
        self.create_from(name, &format!(" TEMPLATE \"{template}\"")).await
    }

    /// Drops all databases whose names begin with `prefix`, with whoever is connected to them. Returns how many.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_databases(&self, prefix: &str) -> Result<usize> {
        ensure_plain(prefix)?;
        let mut connection = connect(self.url()).await?;
        let rows = sqlx::query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
            .bind(prefix)
            .fetch_all(&mut connection)
            .await
            .context("cannot list the databases")?;
        for row in &rows {
            let name: String = row.try_get(0).context("a database without a name")?;
            ensure_plain(&name)?;
            run(&mut connection, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await?;
        }
        Ok(rows.len())
    }

    async fn create_from(&self, name: &str, clause: &str) -> Result<String> {
        ensure_plain(name)?;
        let mut url = Url::parse(self.url()).context("DATABASE_URL is no URL")?;
        let mut connection = connect(self.url()).await?;
        run(&mut connection, format!("CREATE DATABASE \"{name}\"{clause}")).await?;
        url.set_path(name);
        Ok(url.into())
    }

    fn private(&mut self) -> Result<&mut Private> {
        self.private.as_mut().context("this Postgres was not started here, so it cannot be stopped or started here")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // "Immediate shutdown": unlike SIGKILL it lets the postmaster take its backends and its shared memory with it.
        self.process.end_blocking(Signal::QUIT);
    }
}

/// Names are put into statements that know no parameters, so only plain ones pass.
fn ensure_plain(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(!name.is_empty() && name.len() <= 63 && name.bytes().all(plain), "{name:?} is no plain database name");
    Ok(())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<()> {
    let shown = statement.clone();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.context(shown)?;
    Ok(())
}

async fn connect(url: &str) -> Result<PgConnection> {
    timeout(CONNECT_DEADLINE, PgConnection::connect(url))
        .await
        .context("Postgres does not answer")?
        .context("cannot connect to Postgres")
}

fn launch(cluster: &Cluster, port: u16, log: &Path, settings: &[(String, String)]) -> Result<Process> {
    let mut command: Command = cluster.command("postgres");
    command.arg("-D").arg(cluster.data());
    let ours = [
        ("port", port.to_string()),
        ("listen_addresses", "127.0.0.1".into()),
        ("unix_socket_directories", String::new()),
        ("max_connections", "200".into()),
        ("log_line_prefix", "%m [%p] %d ".into()),
    ];
    for (name, value) in ours.iter().map(|(name, value)| (*name, value)) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    Process::spawn("Postgres", command, log, Signal::QUIT)
}

async fn wait_ready(process: &Process, url: &SecretString) -> Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = process.status() {
            bail!("Postgres ended while starting: {status}{}", process.log_excerpt());
        }
        // Only ours knows the password, so a session is proof that the port is not somebody else's.
        match connect(url.expose_secret()).await {
            Ok(connection) => {
                // It has served its purpose; a failed goodbye changes nothing.
                let _ = connection.close().await;
                return Ok(());
            }
            Err(error) if Instant::now() > deadline => {
                return Err(
                    error.context(format!("Postgres is not ready after {START_DEADLINE:?}{}", process.log_excerpt()))
                );
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

fn lost_port(process: &Process) -> bool {
    process.status().is_some() && process.log_tail(10).contains("Address already in use")
}
