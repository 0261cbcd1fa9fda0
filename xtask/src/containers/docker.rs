//! Calls of the `docker` command.

use std::{ffi::OsStr, fs::OpenOptions, path::Path, process::Stdio};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Which engine to talk to.
#[derive(Clone, Debug)]
pub(super) struct Docker {
    /// As in `DOCKER_HOST`; where nothing is said, the command's own default.
    pub(super) host: Option<String>,
}

impl Docker {
    /// `program` with an environment in which nothing but our own words decides: compose prefers variables of the caller's
    /// environment to those of its `.env` file.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let kept = ["PATH", "HOME", "LANG", "TMPDIR", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"];
        command.envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        // The classic builder is in every engine; BuildKit needs a plug-in of the command.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }

    /// Runs `docker` and returns its standard output, trimmed.
    ///
    /// # Errors
    /// When it fails; the message carries what it said.
    pub(super) async fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let mut command = self.command("docker");
        command.args(arguments);
        output_of(command).await
    }

    /// Whether an engine answers.
    pub(super) async fn answers(&self) -> bool {
        self.run(["version", "--format", "{{.Server.Version}}"]).await.is_ok()
    }
}

/// Runs a command and returns its standard output, trimmed.
///
/// # Errors
/// When it fails; the message carries what it said.
pub(super) async fn output_of(mut command: Command) -> Result<String> {
    let output = command.output().await.with_context(|| format!("cannot run {}", in_words(&command)))?;
    if !output.status.success() {
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        bail!("`{}` failed ({}):\n{}", in_words(&command), output.status, said.concat().trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command that says much, with its output in the file `log`.
///
/// # Errors
/// When it fails; the message carries the last of what it said.
pub(super) async fn logged(mut command: Command, log: &Path) -> Result<()> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let file = open().with_context(|| format!("cannot open {}", log.display()))?;
    let errors = file.try_clone().context("cannot share the log")?;
    let status = command.stdout(file).stderr(errors).status().await;
    let status = status.with_context(|| format!("cannot run {}", in_words(&command)))?;
    if !status.success() {
        bail!("`{}` failed ({status}); the end of {}:\n{}", in_words(&command), log.display(), tail(log));
    }
    Ok(())
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn in_words(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
