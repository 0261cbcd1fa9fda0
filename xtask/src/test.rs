//! `cargo xtask test`: one build, one Postgres for all tests (each makes databases of its own in it), then every test.

use std::{
    env,
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Args;
use millrace_harness::{
    Binaries, PostgresOptions, PostgresServer, Profile, RunDir, TEST_POSTGRES, TEST_TEMPLATE, workspace_root,
};
use tokio::process::Command;

use crate::show;

/// How the names of all databases begin that tests make.
const TEST_DATABASES: &str = "millrace_test_";

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Run the long tests too (those marked `#[ignore]`)
    #[arg(long)]
    long: bool,
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
    let run = RunDir::create()?;
    let database = SharedDatabase::start(&run, &binaries).await?;
    let environment = database.environment(&binaries);

    let runner = find_runner().await;
    show::heading(match runner {
        Runner::Nextest => "Tests",
        Runner::Cargo => "Tests (with cargo test; `cargo install cargo-nextest --locked` makes them quicker)",
    });
    let began = Instant::now();
    let mut passed = cargo(&test_command(runner, arguments), &environment).await?;
    if passed && runner == Runner::Nextest && arguments.passed_on.is_empty() {
        show::heading("Doc tests");
        passed = cargo(&["test", "--workspace", "--doc"].map(str::to_owned), &environment).await?;
    }
    database.stop().await?;
    let took = show::duration(began.elapsed());
    if passed {
        println!("\n{} in {took}", show::green("all tests passed"));
        Ok(ExitCode::SUCCESS)
    } else {
        println!("\n{} after {took}", show::red("tests failed"));
        Ok(ExitCode::FAILURE)
    }
}

/// The Postgres that tests share, with a migrated database to copy.
struct SharedDatabase {
    server: PostgresServer,
    template: String,
    /// Where the server is somebody else's: how the names of the databases begin that must not stay in it.
    leftovers: Option<&'static str>,
}

impl SharedDatabase {
    async fn start(run: &RunDir, binaries: &Binaries) -> Result<Self> {
        let (server, leftovers) = match (env::var("DATABASE_URL"), env::var("REDIS_URL")) {
            (Ok(url), Ok(_)) => (PostgresServer::external(&url), Some(TEST_DATABASES)),
            _ => {
                // Nobody pulls the plug on this one; tests of durability start their own.
                let settings = [("fsync", "off"), ("max_connections", "400")];
                let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
                let options = PostgresOptions { settings, ..PostgresOptions::default() };
                (PostgresServer::start(run.path(), options).await?, None)
            }
        };
        let template = format!("{TEST_DATABASES}template_{}", std::process::id());
        let url = server.create_database(&template).await?;
        let migrate = [("DATABASE_URL".to_owned(), url)];
        binaries.cli_stdout(&migrate, &["migrate"]).await.context("cannot migrate the tests' database")?;
        Ok(Self { server, template, leftovers })
    }

    fn environment(&self, binaries: &Binaries) -> Vec<(&'static str, std::ffi::OsString)> {
        vec![
            (TEST_POSTGRES, self.server.url().into()),
            (TEST_TEMPLATE, self.template.clone().into()),
            binaries.variable(),
        ]
    }

    async fn stop(mut self) -> Result<()> {
        if let Some(prefix) = self.leftovers {
            self.server.drop_databases(prefix).await?;
            return Ok(());
        }
        self.server.stop().await.map(drop)
    }
}

async fn find_runner() -> Runner {
    let asked =
        Command::new("cargo").args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if asked.is_ok_and(|status| status.success()) { Runner::Nextest } else { Runner::Cargo }
}

fn test_command(runner: Runner, arguments: &TestArgs) -> Vec<String> {
    let base: &[&str] = match runner {
        Runner::Nextest => &["nextest", "run", "--workspace"],
        Runner::Cargo => &["test", "--workspace"],
    };
    let mut command: Vec<String> = base.iter().map(|&word| word.to_owned()).collect();
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

/// Runs cargo on the terminal. Ctrl-C reaches it directly; we only wait for it, to stop the servers after it.
async fn cargo(words: &[String], environment: &[(&'static str, std::ffi::OsString)]) -> Result<bool> {
    let stop = crate::stop::Stop::on_signals()?;
    let mut child = Command::new("cargo")
        .args(words)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(workspace_root())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop.requested() => child.wait().await,
    };
    Ok(status.context("cannot wait for cargo")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(runner: Runner, long: bool, passed_on: &[&str]) -> String {
        let passed_on = passed_on.iter().map(|&word| word.to_owned()).collect();
        test_command(runner, &TestArgs { long, passed_on }).join(" ")
    }

    #[test]
    fn long_tests_are_the_ignored_ones_with_either_runner() {
        assert_eq!(words(Runner::Nextest, false, &[]), "nextest run --workspace");
        assert_eq!(words(Runner::Nextest, true, &["-p", "x"]), "nextest run --workspace --run-ignored all -p x");
        assert_eq!(words(Runner::Cargo, false, &["name"]), "test --workspace name");
        assert_eq!(words(Runner::Cargo, true, &["name"]), "test --workspace name -- --include-ignored");
        assert_eq!(words(Runner::Cargo, true, &["--", "--exact"]), "test --workspace -- --exact --include-ignored");
    }
}
