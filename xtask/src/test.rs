//! `cargo xtask test`: one build, one Postgres for all tests (each makes databases of its own in it), then every test.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::Path,
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Args;
use millrace_harness::{
    Binaries, PostgresOptions, PostgresServer, Profile, Program, RunDir, Search, TEST_FINDINGS, TEST_POSTGRES,
    TEST_TEMPLATE, random_hex,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::show;

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Run the long tests too (those marked `#[ignore]`)
    #[arg(long)]
    long: bool,
    /// Instead of all tests, prove the images and docker-compose.yml with a Docker engine (a private one if none runs and we
    /// are root)
    #[arg(long, conflicts_with_all = ["long", "passed_on"])]
    pub(crate) containers: bool,
    /// Passed on to `cargo nextest run` (or to `cargo test`): filters, -p, and so on; doc tests run only without any
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

pub(crate) async fn run(arguments: &TestArgs) -> Result<ExitCode> {
    show::heading("Building");
    let binaries = Binaries::build_with_tests(Profile::Debug).await?;
    // Servers are looked for when they are started; this one tests start themselves.
    Search::default().require(&[Program::Tesseract]).await?;
    let run = RunDir::create()?;
    let database = SharedDatabase::start(&run, &binaries).await?;
    let findings = run.path().join("findings");
    let mut environment = database.environment(&binaries);
    environment.push((TEST_FINDINGS, findings.clone().into()));

    let runner = find_runner().await;
    let began = Instant::now();
    let mut passed = true;
    if runner == Runner::Nextest && arguments.passed_on.is_empty() {
        // First, so that what is printed last is the count of the tests proper.
        show::heading("Doc tests");
        passed = cargo(&["test", "--workspace", "--doc", "--quiet"].map(str::to_owned), &environment).await?;
    }
    if passed {
        show::heading(match runner {
            Runner::Nextest => "Tests",
            Runner::Cargo => "Tests (with cargo test; `cargo install cargo-nextest --locked` makes them quicker)",
        });
        passed = cargo(&test_command(runner, arguments), &environment).await?;
    }
    database.stop().await?;
    let found = found_in_logs(&findings)?;
    if !found.is_empty() {
        show::heading("What no log may hold");
        print!("{found}");
        passed = false;
    }
    let took = show::duration(began.elapsed());
    if passed {
        println!("\n{} in {took}", show::green("all tests passed"));
        Ok(ExitCode::SUCCESS)
    } else {
        println!("\n{} after {took}", show::red("tests failed"));
        Ok(ExitCode::FAILURE)
    }
}

/// What tests have found in the logs of their services, a line each.
fn found_in_logs(findings: &Path) -> Result<String> {
    match fs::read_to_string(findings) {
        // Who finds nothing writes nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {}", findings.display())),
    }
}

/// The Postgres that tests share, with a migrated database to copy.
struct SharedDatabase {
    server: PostgresServer,
    template: String,
}

impl SharedDatabase {
    async fn start(run: &RunDir, binaries: &Binaries) -> Result<Self> {
        let server = match (env::var("DATABASE_URL"), env::var("REDIS_URL")) {
            (Ok(url), Ok(_)) => PostgresServer::external(&url),
            _ => {
                // Nobody pulls the plug on this one; tests of durability start their own.
                let settings = [("fsync", "off"), ("max_connections", "400")];
                let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
                PostgresServer::start(run.path(), PostgresOptions { settings, ..PostgresOptions::default() }).await?
            }
        };
        let template = format!("millrace_test_{}_{}", std::process::id(), random_hex(4)?);
        let url = server.create_database(&template).await?;
        // The command line wants both to be set, and migrating asks Redis nothing.
        let migrate = [("DATABASE_URL", url), ("REDIS_URL", "redis://127.0.0.1:1".to_owned())];
        let migrate = migrate.map(|(name, value)| (name.to_owned(), value));
        binaries.cli_stdout(&migrate, &["migrate"]).await.context("cannot migrate the tests' database")?;
        Ok(Self { server, template })
    }

    fn environment(&self, binaries: &Binaries) -> Vec<(&'static str, OsString)> {
        vec![
            (TEST_POSTGRES, self.server.url().into()),
            (TEST_TEMPLATE, self.template.clone().into()),
            binaries.variable(),
        ]
    }

    async fn stop(mut self) -> Result<()> {
        if self.server.pid().is_none() {
            // Somebody else's server is left as it was found.
            return self.server.drop_databases(&self.template).await.map(drop);
        }
        self.server.stop().await.map(drop)
    }
}

async fn find_runner() -> Runner {
    let asked = millrace_harness::cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if asked.is_ok_and(|status| status.success()) { Runner::Nextest } else { Runner::Cargo }
}

fn test_command(runner: Runner, arguments: &TestArgs) -> Vec<String> {
    let base: &[&str] = match runner {
        Runner::Nextest => &["nextest", "run"],
        Runner::Cargo => &["test"],
    };
    let mut command: Vec<String> = base.iter().map(|&word| word.to_owned()).collect();
    // With it, a chosen package would be one among all.
    if !arguments.passed_on.iter().any(|word| word.starts_with("-p") || word.starts_with("--package")) {
        command.push("--workspace".into());
    }
    if arguments.long && runner == Runner::Nextest {
        command.extend(["--run-ignored", "all"].map(str::to_owned));
    }
    command.extend(arguments.passed_on.iter().cloned());
    if arguments.long && runner == Runner::Cargo {
        if !arguments.passed_on.iter().any(|word| word == "--") {
            command.push("--".into());
        }
        command.push("--include-ignored".into());
    }
    command
}

/// Runs cargo on the terminal, and is still there after its end, to stop the servers.
async fn cargo(words: &[String], environment: &[(&'static str, OsString)]) -> Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut child = millrace_harness::cargo()
        .args(words)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status.context("cannot wait for cargo")?.success()),
            // The terminal sends Ctrl-C to cargo as well.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = pid {
                    // It may have ended in this moment, which is as good.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(runner: Runner, long: bool, passed_on: &[&str]) -> String {
        let passed_on = passed_on.iter().map(|&word| word.to_owned()).collect();
        test_command(runner, &TestArgs { long, containers: false, passed_on }).join(" ")
    }

    #[test]
    fn long_tests_are_the_ignored_ones_with_either_runner() {
        assert_eq!(words(Runner::Nextest, false, &[]), "nextest run --workspace");
        assert_eq!(words(Runner::Nextest, true, &["-p", "x"]), "nextest run --run-ignored all -p x");
        assert_eq!(words(Runner::Cargo, false, &["name"]), "test --workspace name");
        assert_eq!(words(Runner::Cargo, true, &["name"]), "test --workspace name -- --include-ignored");
        assert_eq!(words(Runner::Cargo, true, &["--", "--exact"]), "test --workspace -- --exact --include-ignored");
    }
}
