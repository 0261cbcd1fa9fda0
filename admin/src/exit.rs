//! Exit codes, for scripts. They are told by `--help` and `docs/cli.md`; changing one breaks somebody.

use std::{fmt, io, process::ExitCode};

use console::style;
use millrace_shared::{config::ConfigError, db};

/// What `--help` says of them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed, or a check of `doctor` did, or a secret could not be opened
  2  wrong usage: arguments, or a job that its kind refuses
  3  no such job, dead letter, schedule, key or organisation
  4  refused: needs --yes, was not confirmed, or the state does not allow it
  5  the configuration was refused
  6  Postgres or Redis is away; try again later

Settings come from the environment, as for the other programs; DATABASE_URL and REDIS_URL are needed.
Colours appear on terminals only, and not where NO_COLOR is set. Warnings and questions go to standard error.";

/// Why a command did not do what it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    Configuration = 5,
    Unavailable = 6,
}

/// A failure with its exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// An error that ends the program with this code.
    pub fn of(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self { exit, message: message.into() }.into()
    }

    /// As [`of`](Self::of), where everything was said already.
    pub fn told(exit: Exit) -> anyhow::Error {
        Self::of(exit, "")
    }

    /// The code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Tells the error on standard error and gives the code it ends with.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        // Whoever read our output has seen enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    let (exit, message) = classify(error);
    if !message.is_empty() {
        eprintln!("{} {message}", style("error:").red().bold().for_stderr());
    }
    ExitCode::from(exit as u8)
}

fn classify(error: &anyhow::Error) -> (Exit, String) {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return (failure.exit, failure.message.clone());
    }
    if let Some(refused) = error.downcast_ref::<ConfigError>() {
        return (Exit::Configuration, refused.to_string());
    }
    let message = chain(error);
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<sqlx::Error>() {
            if db::is_unavailable(error) {
                return (Exit::Unavailable, format!("Postgres is away: {message}"));
            }
            // 42P01: undefined_table, https://www.postgresql.org/docs/current/errcodes-appendix.html
            if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) {
                return (Exit::Failed, format!("{message}\nthe database lacks tables: run `millrace migrate`"));
            }
        }
    }
    (Exit::Failed, message)
}

/// The error and its causes, each thing once: some errors repeat their cause.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
