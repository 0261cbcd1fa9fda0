//! Millrace's own binaries: built by cargo before they are run, because a stale one would test yesterday's code.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{process::Command, sync::OnceCell};

use crate::{
    place::{target_dir, workspace_root},
    run_dir::lock_file,
    servers::set,
};

/// The environment variable with the directory of binaries that are known to be fresh.
const BIN_DIR: &str = "MILLRACE_TEST_BIN_DIR";

/// How the variables begin that cargo sets for a program it runs.
const ABOUT_THE_CALLER: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// How binaries are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

impl Profile {
    /// The profile that the running program was built with, as far as its place tells.
    fn of_this_program() -> Self {
        let running = std::env::current_exe().unwrap_or_default();
        let in_release = running.ancestors().skip(1).any(|dir| dir.file_name().is_some_and(|name| name == "release"));
        if in_release { Self::Release } else { Self::Debug }
    }
}

/// What builds the API with failpoints beside the others. Features are told for the whole workspace, so that only the API's own crate is
/// compiled a second time.
const FAILPOINTS: [&str; 5] =
    ["--workspace", "--features", "millrace-api/failpoints", "--bin", "millrace-api-failpoints"];

/// What builds the library that shifts a process's clock.
const CLOCK_SHIFT: [&str; 2] = ["--package", "millrace-clockshift"];

/// A directory with `millrace-api`, `millrace-worker`, `millrace` and `millrace-bench`.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Builds them with cargo, whose progress goes to standard error. All binaries of the workspace are built together, as a
    /// test run does it: a choice of packages has other features of its dependencies, and would compile these once more.
    ///
    /// # Errors
    /// When they do not build.
    pub async fn build(profile: Profile) -> Result<Self> {
        Self::build_with(profile, &["--workspace", "--bins"]).await
    }

    /// Builds what a test run needs, tests included.
    ///
    /// # Errors
    /// When it does not build.
    pub async fn build_with_tests(profile: Profile) -> Result<Self> {
        let binaries = Self::build_with(profile, &["--workspace", "--bins", "--tests", "--examples"]).await?;
        Self::run_build(profile, &FAILPOINTS).await?;
        Self::run_build(profile, &CLOCK_SHIFT).await?;
        Ok(binaries)
    }

    /// The ones to test: those in `MILLRACE_TEST_BIN_DIR`, else built now, once for all tests of a run.
    ///
    /// # Errors
    /// When they are missing or do not build.
    pub async fn for_tests() -> Result<Self> {
        static BUILT: OnceCell<Binaries> = OnceCell::const_new();
        if let Some(dir) = set(BIN_DIR) {
            let binaries = Self { dir: dir.into() };
            let api = binaries.api();
            ensure!(api.is_file(), "{BIN_DIR} is set, but {} is missing", api.display());
            return Ok(binaries);
        }
        BUILT.get_or_try_init(Self::build_once_per_run).await.cloned()
    }

    /// What makes child processes take these binaries as they are: a variable and its value.
    #[must_use]
    pub fn variable(&self) -> (&'static str, OsString) {
        (BIN_DIR, self.dir.clone().into())
    }

    /// The program `millrace-api`.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.dir.join("millrace-api")
    }

    /// The program `millrace-api-failpoints`: the API as it is, but for places at which `MILLRACE_TEST_FAILPOINT` makes it die. It is
    /// built here unless the run has built it already.
    ///
    /// # Errors
    /// When it does not build.
    pub async fn api_with_failpoints(&self) -> Result<PathBuf> {
        static BUILT: OnceCell<()> = OnceCell::const_new();
        self.built_for_tests("millrace-api-failpoints", &FAILPOINTS, &BUILT).await
    }

    /// A library that shifts the wall clock of a process which loads it with `LD_PRELOAD` (Linux): see the crate `clockshift`. It is built
    /// here unless the run has built it already.
    ///
    /// # Errors
    /// When it does not build.
    pub async fn clock_shift(&self) -> Result<PathBuf> {
        static BUILT: OnceCell<()> = OnceCell::const_new();
        self.built_for_tests("libmillrace_clockshift.so", &CLOCK_SHIFT, &BUILT).await
    }

    async fn built_for_tests(&self, file: &str, what: &[&str], built: &OnceCell<()>) -> Result<PathBuf> {
        if set(BIN_DIR).is_none() {
            let build = async || Self::run_build(Profile::of_this_program(), what).await.map(drop);
            built.get_or_try_init(build).await?;
        }
        let path = self.dir.join(file);
        ensure!(path.is_file(), "{} is missing", path.display());
        Ok(path)
    }

    /// The program `millrace-worker`.
    #[must_use]
    pub fn worker(&self) -> PathBuf {
        self.dir.join("millrace-worker")
    }

    /// The program `millrace`.
    #[must_use]
    pub fn cli(&self) -> PathBuf {
        self.dir.join("millrace")
    }

    /// The program `millrace-crm-simulator`, which stands in for CRMs.
    #[must_use]
    pub fn crm_simulator(&self) -> PathBuf {
        self.dir.join("millrace-crm-simulator")
    }

    /// The program `millrace-bench`.
    #[must_use]
    pub fn bench(&self) -> PathBuf {
        self.dir.join("millrace-bench")
    }

    /// Runs `millrace` with `arguments` and these variables, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started. How it ended is in the output.
    pub async fn run_cli(&self, environment: &[(String, String)], arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.cli());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLRACE_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.cli().display()))
    }

    /// As [`run_cli`](Self::run_cli), but the command must succeed; returns its standard output, trimmed.
    ///
    /// # Errors
    /// When it fails; the message carries what it said.
    pub async fn cli_stdout(&self, environment: &[(String, String)], arguments: &[&str]) -> Result<String> {
        let output = self.run_cli(environment, arguments).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complained = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`millrace {}` failed ({}): {}{}",
                arguments.join(" "),
                output.status,
                said.trim(),
                complained.trim()
            );
        }
        Ok(said.trim().to_owned())
    }

    /// Under nextest every test is a process: the first one builds, the others find its note with the id of the run.
    async fn build_once_per_run() -> Result<Self> {
        let profile = Profile::of_this_program();
        let Some(run) = set("NEXTEST_RUN_ID") else {
            return Self::build(profile).await;
        };
        let notes = target_dir().join("harness");
        fs::create_dir_all(&notes).with_context(|| format!("cannot create {}", notes.display()))?;
        let lock = notes.join(".build-lock");
        let _lock =
            tokio::task::spawn_blocking(move || lock_file(&lock)).await.context("waiting for another build")??;
        let note = notes.join("built");
        let built = fs::read_to_string(&note).unwrap_or_default();
        if let Some((by, dir)) = built.split_once('\n')
            && by == run
        {
            return Ok(Self { dir: dir.into() });
        }
        let binaries = Self::build(profile).await?;
        fs::write(&note, format!("{run}\n{}", binaries.dir.display()))
            .context("cannot note that binaries are built")?;
        Ok(binaries)
    }

    async fn build_with(profile: Profile, what: &[&str]) -> Result<Self> {
        let messages = Self::run_build(profile, what).await?;
        let api = messages.lines().find_map(executable_of_api).context("cargo has not built millrace-api")?;
        let dir = api.parent().context("millrace-api lies in no directory")?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Runs `cargo build`; gives its messages.
    async fn run_build(profile: Profile, what: &[&str]) -> Result<String> {
        let mut command = cargo();
        command.args(["build", "--message-format", "json-render-diagnostics"]).args(what);
        if profile == Profile::Release {
            command.arg("--release");
        }
        // Not `Command::output`, which would capture cargo's progress and complaints as well.
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let output = child.context("cannot run cargo")?.wait_with_output().await.context("cannot wait for cargo")?;
        ensure!(output.status.success(), "`cargo build {}` failed ({})", what.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A call of cargo in the workspace, as if from a shell.
///
/// A program that cargo has started sees variables about its own package. Build scripts see them too, if they are passed on,
/// and some ask to be run again when they change (ring's does): then calls from here and calls from a shell would compile half
/// of the dependencies in turns.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if ABOUT_THE_CALLER.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace_root());
    command
}

/// The path of the API's binary, if `line` is cargo's message that it is built.
fn executable_of_api(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_binary = message.pointer("/target/kind/0")? == "bin" && message.pointer("/profile/test")? == false;
    let path = Path::new(message.get("executable")?.as_str()?);
    (is_binary && path.file_stem()? == "millrace-api").then(|| path.to_owned())
}
