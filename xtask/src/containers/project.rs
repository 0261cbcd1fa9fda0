//! The compose file under a name and with secrets of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use millrace_harness::{random_hex, workspace_root};
use serde_json::Value;
use tokio::process::Command;

use super::{
    docker::{Docker, logged, output_of},
    images::TAG,
};
use crate::show;

const HEALTHY: Duration = Duration::from_secs(180);

pub(super) struct Project<'a> {
    pub(super) docker: &'a Docker,
    /// `docker compose`, or the older `docker-compose`.
    compose: &'static [&'static str],
    name: String,
    pub(super) env_file: PathBuf,
    port: u16,
    logs: &'a Path,
}

impl<'a> Project<'a> {
    pub(super) fn new(docker: &'a Docker, run: &'a Path) -> Result<Self> {
        let plug_in = std::process::Command::new("docker").args(["compose", "version"]).output();
        let has_plug_in = plug_in.is_ok_and(|output| output.status.success());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?.port();
        let project = Self {
            docker,
            compose: if has_plug_in { &["docker", "compose"] } else { &["docker-compose"] },
            name: format!("millrace-proof-{}", random_hex(4)?),
            env_file: run.join("env"),
            port,
            logs: run,
        };
        let secrets = [("POSTGRES_PASSWORD", random_hex(24)?), ("REDIS_PASSWORD", random_hex(24)?)];
        let rest = [("API_PORT", port.to_string()), ("IMAGE_TAG", TAG.into()), ("MILLRACE_PROBE", "1".into())];
        fs::write(&project.env_file, lines(secrets.iter().chain(&rest)))
            .context("cannot write the file of variables")?;
        Ok(project)
    }

    pub(super) fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A call of compose with the variables in `env_file`.
    pub(super) fn command(&self, env_file: &Path) -> Command {
        let mut command = self.docker.command(self.compose[0]);
        command.args(&self.compose[1..]).arg("--env-file").arg(env_file).args(["--project-name", &self.name]);
        command.current_dir(workspace_root());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(&self.env_file);
        command.args(arguments);
        logged(command, &self.logs.join("compose.log")).await
    }

    /// Brings `services` up (all, where none is named) with what they need.
    pub(super) async fn up(&self, services: &[&str]) -> Result<()> {
        self.run(&[&["up", "--detach", "--no-build"], services].concat()).await
    }

    /// Sends SIGTERM to every service, and kills what outlasts its grace period.
    pub(super) async fn stop(&self) -> Result<()> {
        self.run(&["stop"]).await
    }

    /// The id of the service's container, running or not.
    async fn container(&self, service: &str) -> Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service_label = format!("label=com.docker.compose.service={service}");
        let found =
            self.docker.run(["ps", "--all", "--quiet", "--filter", &project, "--filter", &service_label]).await?;
        ensure!(!found.is_empty() && !found.contains('\n'), "{service} has no container, or more than one: {found:?}");
        Ok(found)
    }

    /// What the engine knows of the service's container.
    pub(super) async fn inspect(&self, service: &str) -> Result<Value> {
        let said = self.docker.run(["inspect", &self.container(service).await?]).await?;
        let mut inspected: Vec<Value> = serde_json::from_str(&said).context("`docker inspect` printed no JSON")?;
        inspected.pop().with_context(|| format!("`docker inspect` knows nothing of {service}"))
    }

    /// Runs a command in the service's container and returns its standard output.
    pub(super) async fn exec(&self, service: &str, words: &[&str]) -> Result<String> {
        let container = self.container(service).await?;
        self.docker.run(["exec", container.as_str()].into_iter().chain(words.iter().copied())).await
    }

    /// What the service has written to standard output and error.
    pub(super) async fn logs_of(&self, service: &str) -> Result<String> {
        let mut command = self.docker.command("sh");
        command.args(["-c", "docker logs \"$0\" 2>&1", &self.container(service).await?]);
        output_of(command).await
    }

    pub(super) async fn wait_healthy(&self, services: &[&str]) -> Result<()> {
        let began = Instant::now();
        for service in services {
            loop {
                let state = &self.inspect(service).await?["State"];
                match (state["Health"]["Status"].as_str(), state["Status"].as_str()) {
                    (Some("healthy"), _) => break,
                    (Some("starting" | "unhealthy"), Some("running")) if began.elapsed() < HEALTHY => {}
                    _ => bail!("{service} is not healthy: {state:#}\n{}", self.logs_of(service).await?),
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        Ok(())
    }

    /// Checks, as seen by the engine and from inside, that nobody is root or can write where nothing is to be written.
    pub(super) async fn check_confinement(&self) -> Result<()> {
        for service in ["postgres", "redis", "api", "worker"] {
            self.check_one(service).await.with_context(|| format!("{service} is not confined"))?;
        }
        let migrate = &self.inspect("migrate").await?["State"];
        ensure!(migrate["ExitCode"] == 0, "the migration ended with {}", migrate["ExitCode"]);
        show::done(
            "every service runs without root, capabilities or a writable root file system, and only the API has a port",
        );
        Ok(())
    }

    async fn check_one(&self, service: &str) -> Result<()> {
        let seen = self.inspect(service).await?;
        ensure!(seen["HostConfig"]["ReadonlyRootfs"] == true, "its root file system is not read-only");
        let status = self.exec(service, &["cat", "/proc/1/status"]).await?;
        let ids: Vec<&str> =
            field(&status, "Uid")?.split_whitespace().chain(field(&status, "Gid")?.split_whitespace()).collect();
        ensure!(!ids.contains(&"0"), "it runs as root: {ids:?}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let capabilities = field(&status, set)?;
            ensure!(capabilities.chars().all(|digit| digit == '0'), "it has capabilities: {set} {capabilities}");
        }
        ensure!(field(&status, "NoNewPrivs")? == "1", "it can gain privileges");
        let written = self.exec(service, &["sh", "-c", "echo > /proof"]).await;
        let refusal = written.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refusal.contains("Read-only file system"), "its root file system can be written to: {refusal}");

        let ports = seen["NetworkSettings"]["Ports"].as_object().into_iter().flatten();
        let published: Vec<&Value> =
            ports.flat_map(|(_, bindings)| bindings.as_array().into_iter().flatten()).collect();
        ensure!(published.iter().all(|binding| binding["HostIp"] == "127.0.0.1"), "its ports are open: {published:?}");
        ensure!(published.len() == usize::from(service == "api"), "it publishes the ports {published:?}");
        Ok(())
    }

    /// Keeps what all services have written, for whoever looks into a failure.
    pub(super) async fn save_logs(&self) -> Result<()> {
        let mut command = self.command(&self.env_file);
        command.args(["logs", "--no-color"]);
        logged(command, &self.logs.join("services.log")).await
    }

    /// Takes everything down, and makes sure that nothing is left.
    pub(super) async fn remove(&self) -> Result<()> {
        self.run(&["down", "--volumes", "--remove-orphans", "--timeout", "10"]).await?;
        let ours = format!("label=com.docker.compose.project={}", self.name);
        for list in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
            let left = self.docker.run(list.iter().chain(&["--quiet", "--filter", &ours])).await?;
            ensure!(left.is_empty(), "`compose down` has left something (docker {}): {left}", list.join(" "));
        }
        show::done("taken down: no container, volume or network is left");
        Ok(())
    }
}

/// The lines of a file of variables.
pub(super) fn lines<'v>(variables: impl IntoIterator<Item = &'v (&'v str, String)>) -> String {
    variables.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// A field of `/proc/<pid>/status`.
fn field<'s>(status: &'s str, name: &str) -> Result<&'s str> {
    let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(str::trim).ok_or_else(|| anyhow!("/proc/1/status has no {name}"))
}
