//! The Docker engine: the one that answers, else a private one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use millrace_harness::{Process, Signal, random_hex, target_dir};

use super::docker::{Docker, output_of};
use crate::show;

/// How long an engine may take to answer.
const START: Duration = Duration::from_secs(60);
/// It stops what still runs in it first.
const END: Duration = Duration::from_secs(90);
/// The quick one, and the one that works on every file system.
const STORAGE_DRIVERS: [&str; 2] = ["overlay2", "vfs"];

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    private: Option<Private>,
}

/// An engine of ours. Dropping it kills it.
#[derive(Debug)]
struct Private {
    daemon: Process,
    /// Its sockets and its state while it runs.
    directory: PathBuf,
    /// Images and their layers, which the next run takes up: they are to Docker what `target/` is to cargo.
    data: PathBuf,
    _lock: File,
}

impl Engine {
    pub(super) async fn start(logs: &Path) -> Result<Self> {
        let existing = Docker { host: std::env::var("DOCKER_HOST").ok() };
        if existing.answers().await {
            return Self::ready(existing, None).await;
        }
        ensure!(existing.host.is_none(), "no Docker engine answers at the DOCKER_HOST that is set");
        ensure!(
            rustix::process::geteuid().is_root(),
            "no Docker engine answers; start one, or run this as root, so that it can start one of its own"
        );
        install_missing().await?;
        // The package may have started one.
        if existing.answers().await {
            return Self::ready(existing, None).await;
        }
        let private = Private::start(logs).await?;
        let docker = Docker { host: Some(private.host()) };
        // What a run that was killed has left.
        for (list, remove) in [
            (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
            (&["network", "ls", "--quiet", "--filter", "type=custom"], &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &["volume", "rm"]),
        ] {
            let left = docker.run(list).await?;
            if !left.is_empty() {
                docker.run(remove.iter().copied().chain(left.lines())).await?;
            }
        }
        Self::ready(docker, Some(private)).await
    }

    async fn ready(docker: Docker, private: Option<Private>) -> Result<Self> {
        let version = docker.run(["info", "--format", "{{.ServerVersion}} (storage driver {{.Driver}})"]).await?;
        let whose = if private.is_some() { "a private engine was started" } else { "using the engine that runs" };
        show::done(&format!("{whose}: {version}"));
        Ok(Self { docker, private })
    }

    /// Whether images are kept apart from everybody else's.
    pub(super) fn is_private(&self) -> bool {
        self.private.is_some()
    }

    pub(super) async fn stop(self) -> Result<()> {
        let Some(private) = self.private else { return Ok(()) };
        private.daemon.terminate(END).await.context("the private Docker engine did not end")?;
        fs::remove_dir_all(&private.directory)
            .with_context(|| format!("cannot remove {}", private.directory.display()))?;
        show::done(&format!(
            "the private engine ended; its images are kept in {} for the next run",
            private.data.display()
        ));
        Ok(())
    }
}

impl Private {
    async fn start(logs: &Path) -> Result<Self> {
        let data = target_dir().join("containers");
        fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let lock = File::create(data.join(".lock")).context("cannot create a lock")?;
        ensure!(lock.try_lock().is_ok(), "another run has the private Docker engine; wait for its end");
        // Not below target/: the path of a socket may have 107 bytes, and the engine's are deep.
        let directory = std::env::temp_dir().join(format!("millrace-docker-{}", random_hex(4)?));
        let mut failures = Vec::new();
        for driver in STORAGE_DRIVERS {
            fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
            match start_daemon(driver, &directory, &data, logs).await {
                Ok(daemon) => return Ok(Self { daemon, directory, data, _lock: lock }),
                Err(error) => failures.push(format!("with the storage driver {driver}: {error:#}")),
            }
            // It would hold what a failed start left, such as the number of a process.
            let _ = fs::remove_dir_all(&directory);
        }
        bail!("dockerd does not run on this machine, so nothing is proved here\n{}", failures.join("\n"))
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.join("docker.sock").display())
    }
}

/// Starts `dockerd` and waits until it answers.
///
/// It makes no bridge and no firewall rules, which would outlive it: images are built in the host's network, published ports
/// are served by its proxy, and services reach each other within the bridges of their own networks.
async fn start_daemon(driver: &str, directory: &Path, data: &Path, logs: &Path) -> Result<Process> {
    let host = format!("unix://{}", directory.join("docker.sock").display());
    let mut command = Command::new("dockerd");
    command
        .arg(format!("--storage-driver={driver}"))
        .arg("--host")
        .arg(&host)
        .arg("--data-root")
        .arg(data)
        .arg("--exec-root")
        .arg(directory.join("exec"))
        .arg("--pidfile")
        .arg(directory.join("pid"))
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
    let daemon = Process::spawn("dockerd", command, &logs.join(format!("dockerd-{driver}.log")), Signal::TERM)?;
    let docker = Docker { host: Some(host) };
    let began = Instant::now();
    while !docker.answers().await {
        if let Some(status) = daemon.status() {
            bail!("it ended ({status}){}", daemon.log_excerpt());
        }
        if began.elapsed() > START {
            let _ = daemon.terminate(END).await;
            bail!("it gave no answer within {START:?}{}", daemon.log_excerpt());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(daemon)
}

/// Gets what a private engine needs from Debian's packages.
async fn install_missing() -> Result<()> {
    let needed = [
        ("dockerd", &["docker.io"][..]),
        // Debian 13 has it in a package of its own.
        ("docker", &["docker.io", "docker-cli"]),
        ("docker-compose", &["docker-compose"]),
        ("debootstrap", &["debootstrap"]),
    ];
    let missing: Vec<_> = needed.iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ");
    ensure!(find("apt-get").is_some(), "{names} not found, and there is no apt-get to install them with");
    println!("  installing {names} with apt-get (missing on this machine)");
    apt_get(&["update"]).await?;
    for package in missing.iter().flat_map(|(_, packages)| *packages) {
        let mut known = tokio::process::Command::new("apt-cache");
        known.args(["show", "--no-all-versions", package]);
        if output_of(known).await.is_ok() {
            apt_get(&["install", "--yes", "--no-install-recommends", package]).await?;
        }
    }
    for (program, _) in missing {
        ensure!(find(program).is_some(), "{program} is still missing after apt-get has installed its package");
    }
    Ok(())
}

async fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new("apt-get");
    command.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    output_of(command).await.map(drop)
}

/// The program on `PATH`, or where administrators' programs are.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|file| file.is_file())
}
