//! A private Redis (or Valkey): a password, an append-only file, a free loopback port, and faults on demand.

use std::{
    fmt::Write as _,
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    process::{Process, Signal},
    programs::Search,
    secret::random_hex,
};

/// How long a server may take to start, with its data to load.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a clean stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// How often a free port may be lost to somebody else before we give up.
const PORT_ATTEMPTS: u32 = 10;

/// How a private Redis differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Where to look for the program.
    pub search: Search,
    /// Further lines of its configuration, e.g. `("maxmemory", "64mb")`; they win over ours.
    pub directives: Vec<(String, String)>,
}

/// A Redis: a private child of ours, or one that somebody else runs.
#[derive(Debug)]
pub struct RedisServer {
    url: SecretString,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    password: SecretString,
    process: Process,
}

impl RedisServer {
    /// Starts a private one with its data, configuration and log in `dir/redis`.
    ///
    /// # Errors
    /// When the program is missing or does not come up; the message carries the end of its log.
    pub async fn start(dir: &Path, options: RedisOptions) -> Result<Self> {
        let program = options.search.redis().await?;
        let dir = dir.join("redis");
        fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let password = SecretString::from(random_hex(24)?);
        let major = major_version(&program).await?;
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            write_config(&dir, port, &password, major, &options.directives)?;
            let process = launch(&program, &dir)?;
            match wait_ready(&process, port, &password).await {
                Ok(()) => {
                    let url = format!("redis://:{}@127.0.0.1:{port}/0", password.expose_secret()).into();
                    return Ok(Self { url, private: Some(Private { program, dir, port, password, process }) });
                }
                Err(_) if lost_port(&process) => {}
                Err(error) => return Err(error),
            }
        }
        bail!("Redis found no free port in {PORT_ATTEMPTS} attempts")
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

    /// Its process id, where it is ours.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref().map(|private| private.process.pid())
    }

    /// Kills it with SIGKILL: what was not yet synced to the append-only file is lost (up to a second of writes).
    ///
    /// # Errors
    /// When it is not ours or does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.private()?.process.kill().await.map(drop)
    }

    /// Stops it cleanly: it writes what it has, then exits.
    ///
    /// # Errors
    /// When it is not ours, does not run, or does not end in time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.private()?.process.terminate(STOP_DEADLINE).await
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers, as with a hung host.
    ///
    /// # Errors
    /// When it is not ours or does not run.
    pub fn freeze(&mut self) -> Result<()> {
        self.private()?.process.signal(Signal::STOP)
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// When it is not ours or does not run.
    pub fn thaw(&mut self) -> Result<()> {
        self.private()?.process.signal(Signal::CONT)
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and data.
    ///
    /// # Errors
    /// When it is not ours, still runs, or does not come up.
    pub async fn start_again(&mut self) -> Result<()> {
        let private = self.private()?;
        if private.process.status().is_none() {
            bail!("Redis still runs: stop or kill it first");
        }
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            private.process = launch(&private.program, &private.dir)?;
            match wait_ready(&private.process, private.port, &private.password).await {
                Ok(()) => return Ok(()),
                // Somebody's outgoing connection may have got our port for a moment.
                Err(_) if lost_port(&private.process) && Instant::now() < deadline => {
                    sleep(POLL * 10).await;
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

    fn private(&mut self) -> Result<&mut Private> {
        self.private
            .as_mut()
            .context("this Redis was not started here (REDIS_URL), so it cannot be stopped or started here")
    }
}

/// A loopback port that nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free loopback port")?;
    Ok(listener.local_addr().context("cannot read the address of a new socket")?.port())
}

/// The configuration is a file, not arguments, so that the password does not show in the process list.
fn write_config(dir: &Path, port: u16, password: &SecretString, major: u32, extra: &[(String, String)]) -> Result<()> {
    let password = password.expose_secret();
    let data = dir.display();
    let mut config = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{data}\"\ndaemonize no\n\
         appendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n",
    );
    if major >= 7 {
        // Fault tests make it hang with DEBUG SLEEP; older versions allow that without asking.
        config.push_str("enable-debug-command local\n");
    }
    for (name, value) in extra {
        writeln!(config, "{name} {value}").context("cannot write to a string")?;
    }
    // A first attempt on a port that was lost has left its file.
    let path = dir.join("redis.conf");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    std::io::Write::write_all(&mut file, config.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn launch(program: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    command.arg(dir.join("redis.conf")).current_dir(dir);
    Process::spawn("Redis", command, &dir.join("redis.log"), Signal::KILL)
}

async fn major_version(program: &Path) -> Result<u32> {
    let output = tokio::process::Command::new(program)
        .arg("--version")
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.with_context(|| format!("`{} --version` says {text:?}, which has no version", program.display()))
}

async fn wait_ready(process: &Process, port: u16, password: &SecretString) -> Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = process.status() {
            bail!("Redis ended while starting: {status}{}", process.log_excerpt());
        }
        // Only ours knows the password, so an answer is proof that the port is not somebody else's.
        if answers(port, password).await {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("Redis does not answer after {START_DEADLINE:?}{}", process.log_excerpt());
        }
        sleep(POLL).await;
    }
}

async fn answers(port: u16, password: &SecretString) -> bool {
    let conversation = async {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let request = format!("AUTH {}\r\nPING\r\nQUIT\r\n", password.expose_secret());
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.take(1_024).read_to_string(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    // While it loads its data it answers `-LOADING` to PING.
    matches!(timeout(Duration::from_secs(1), conversation).await, Ok(Ok(reply)) if reply.starts_with("+OK\r\n+PONG\r\n"))
}

fn lost_port(process: &Process) -> bool {
    process.status().is_some() && process.log_tail(10).contains("Address already in use")
}
