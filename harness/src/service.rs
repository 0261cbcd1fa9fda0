//! One of Millrace's servers as a child: it tells its address by a file, its health by HTTP, and drains on SIGTERM.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    marks,
    process::{Process, Signal},
};

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The variable that names the file into which a binary writes its address once it listens.
const ADDRESS_FILE: &str = "MILLRACE_ADDRESS_FILE";

/// Variables that are about a running Millrace, but are no settings of its binaries: what `target/dev/env` holds.
const NO_SETTINGS: [&str; 3] = ["MILLRACE_URL", "MILLRACE_KEY", "MILLRACE_ORG"];
/// How the variables begin that a test run hands to its tests.
const FOR_TESTS: &str = "MILLRACE_TEST_";
/// How the variables begin that could configure a binary.
const SETTINGS: [&str; 4] = ["MILLRACE_", "AWS_", "DATABASE_URL", "REDIS_URL"];

/// What a service gets to see of our own environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// Nothing that could configure it: for tests, which must not depend on the caller's shell.
    NoSettings,
    /// The caller's settings too: for development.
    Settings,
}

/// What to wait for after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It has an address.
    Listening,
    /// `/health/ready` says so.
    Ready,
}

/// How to run a service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its name in messages, and of its log and address files in `dir`: unique within `dir`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variable that tells it where to listen.
    pub bind_variable: &'static str,
    /// Where to listen, e.g. `127.0.0.1:0` for any free port.
    pub bind: String,
    /// Its environment; wins over what it inherits.
    pub environment: Vec<(String, String)>,
    /// What it inherits.
    pub inherit: Inherit,
    /// Where its files go.
    pub dir: PathBuf,
}

/// A running (or ended) service. Dropping it ends it; one of a test panics then if its log holds what no log may.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    process: Process,
    address: SocketAddr,
}

impl Service {
    /// Starts it and waits.
    ///
    /// # Errors
    /// When it ends or stays silent; the message carries the end of its log.
    pub async fn start(spec: ServiceSpec, until: Until) -> Result<Self> {
        let (process, address) = launch(&spec, &spec.bind).await?;
        let service = Self { spec, process, address };
        if until == Until::Ready {
            service.wait_ready(START_DEADLINE).await?;
        }
        Ok(service)
    }

    /// Starts it again after its end, on the same address, and waits.
    ///
    /// # Errors
    /// When it still runs, or as [`start`](Self::start).
    pub async fn start_again(&mut self, until: Until) -> Result<()> {
        if self.process.status().is_none() {
            bail!("{} still runs: terminate or kill it first", self.spec.name);
        }
        (self.process, self.address) = launch(&self.spec, &self.address.to_string()).await?;
        if until == Until::Ready {
            self.wait_ready(START_DEADLINE).await?;
        }
        Ok(())
    }

    /// Waits until `/health/ready` answers 200.
    ///
    /// # Errors
    /// When it ends before, or is not ready at the deadline.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let name = &self.spec.name;
        let client = Client::anonymous(&self.url())?;
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.process.status() {
                bail!("{name} ended before it was ready: {status}{}", self.process.log_excerpt());
            }
            let said = match client.get("/health/ready").await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => format!("{}: {}", reply.status, reply.text()),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > end {
                bail!("{name} is not ready after {deadline:?} ({said}){}", self.process.log_excerpt());
            }
            sleep(POLL * 2).await;
        }
    }

    /// Its process: pid, log, signals.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://<address>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks it to drain (SIGTERM) and waits for its end, at most for `deadline`.
    ///
    /// # Errors
    /// When it had ended before, or still runs at the deadline.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        self.process.terminate(deadline).await
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.process.kill().await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        end(&self.spec, &self.process);
    }
}

/// Ends a service, and looks through what it has logged if a test has started it: what people log in development is their own.
fn end(spec: &ServiceSpec, process: &Process) {
    process.kill_group_blocking();
    if spec.inherit == Inherit::NoSettings {
        marks::look_through(&spec.name, process.log(), &spec.environment);
    }
}

async fn launch(spec: &ServiceSpec, bind: &str) -> Result<(Process, SocketAddr)> {
    let address_file = spec.dir.join(format!("{}.address", spec.name));
    if address_file.exists() {
        fs::remove_file(&address_file).with_context(|| format!("cannot remove {}", address_file.display()))?;
    }
    let mut command = Command::new(&spec.program);
    for (name, _) in std::env::vars_os() {
        if is_hidden(&name.to_string_lossy(), spec.inherit) {
            command.env_remove(name);
        }
    }
    command
        .args(&spec.arguments)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .env(spec.bind_variable, bind)
        .env(ADDRESS_FILE, &address_file);
    let log = spec.dir.join(format!("{}.log", spec.name));
    let process = Process::spawn(&spec.name, command, &log, Signal::KILL)?;
    match listening(spec, &process, &address_file).await {
        Ok(address) => Ok((process, address)),
        Err(error) => {
            end(spec, &process);
            Err(error)
        }
    }
}

/// Waits until a service has told its address.
async fn listening(spec: &ServiceSpec, process: &Process, address_file: &Path) -> Result<SocketAddr> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        // The file is put in place whole, so what parses is the address.
        if let Ok(text) = fs::read_to_string(address_file) {
            return text.trim().parse().with_context(|| format!("{} wrote {text:?} as its address", spec.name));
        }
        if let Some(status) = process.status() {
            bail!("{} ended while starting: {status}{}", spec.name, process.log_excerpt());
        }
        if Instant::now() > deadline {
            bail!("{} does not listen after {START_DEADLINE:?}{}", spec.name, process.log_excerpt());
        }
        sleep(POLL).await;
    }
}

fn is_hidden(variable: &str, inherit: Inherit) -> bool {
    match inherit {
        Inherit::Settings => NO_SETTINGS.contains(&variable) || variable.starts_with(FOR_TESTS),
        Inherit::NoSettings => SETTINGS.iter().any(|prefix| variable.starts_with(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_callers_shell_reach_development_but_no_test() {
        for (variable, in_development, in_tests) in [
            ("PATH", true, true),
            ("RUST_LOG", true, true),
            ("MILLRACE_QUEUES", true, false),
            ("AWS_REGION", true, false),
            ("DATABASE_URL", true, false),
            ("MILLRACE_KEY", false, false),
            ("MILLRACE_TEST_POSTGRES", false, false),
        ] {
            assert_eq!(!is_hidden(variable, Inherit::Settings), in_development, "{variable}");
            assert_eq!(!is_hidden(variable, Inherit::NoSettings), in_tests, "{variable}");
        }
    }
}
