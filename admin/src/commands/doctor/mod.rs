//! `millrace doctor`: whether this configuration and the servers behind it are fit for work, one line a check.

mod configuration;
mod ledger;
mod postgres;
mod redis;
mod secrets;

use std::time::Duration;

use anyhow::Result;
use millrace_shared::{
    config::{PartialConfig, Source, StorageConfig},
    storage::Storage,
};
use serde::Serialize;

use crate::{
    app::{Output, start_logs},
    exit::{Exit, Failure, chain},
    ui::{self, Tone},
};

/// Where what was found begins.
const INDENT: usize = 34;
/// The longest wait for the store.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Warning,
    Failed,
}

/// A check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: &'static str,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Check {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), fix: None }
    }

    pub fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    pub fn failed(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Failed, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Checks everything, and fails if any check did.
pub async fn run(out: Output) -> Result<()> {
    let config = PartialConfig::load(&Source::from_process());
    if let Some(log) = &config.log {
        start_logs(log)?;
    }
    let mut report = Report::new(out);
    report.all(&configuration::checks(&config))?;
    if let Some(database) = &config.database {
        report.all(&postgres::checks(database, &config).await)?;
    }
    if let Some(url) = &config.redis_url {
        report.all(&redis::checks(url).await)?;
    }
    if let Some(storage) = &config.storage {
        report.one(&check_storage(storage).await)?;
    }
    report.end()
}

async fn check_storage(config: &StorageConfig) -> Check {
    const NAME: &str = "storage";
    let place = match config {
        StorageConfig::Directory(directory) => format!("file://{}", directory.display()),
        StorageConfig::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
    };
    let check = async { Storage::open(config)?.check().await };
    let error = match tokio::time::timeout(STORAGE_TIMEOUT, check).await {
        Ok(Ok(())) => return Check::ok(NAME, format!("{place} is written, read and deleted")),
        Ok(Err(error)) => chain(&error.into()),
        Err(_) => format!("no answer after {}", ui::duration(STORAGE_TIMEOUT)),
    };
    let fix = match config {
        StorageConfig::Directory(_) => "let this user write to the directory, or set MILLRACE_STORAGE_URL to another",
        StorageConfig::S3 { .. } => "check MILLRACE_STORAGE_URL, the AWS_* variables and what the key allows",
    };
    Check::failed(NAME, format!("{place}: {error}"), fix)
}

/// Tells checks as they come in.
struct Report {
    out: Output,
    counts: [usize; 3],
}

impl Report {
    fn new(out: Output) -> Self {
        Self { out, counts: [0; 3] }
    }

    fn all(&mut self, checks: &[Check]) -> Result<()> {
        checks.iter().try_for_each(|check| self.one(check))
    }

    fn one(&mut self, check: &Check) -> Result<()> {
        self.counts[check.status as usize] += 1;
        if self.out.json {
            return self.out.document(check);
        }
        let (word, tone) = match check.status {
            Status::Ok => ("ok", Tone::Good),
            Status::Warning => ("warning", Tone::Doubtful),
            Status::Failed => ("failed", Tone::Bad),
        };
        let width = INDENT - 9;
        let found = ui::block(&check.found, INDENT);
        self.out.line(&format!("{}{:width$}{found}", tone.paint(&format!("{word:9}")), check.check))?;
        match &check.fix {
            Some(fix) => self.out.line(&format!("{:INDENT$}{}", "", tone.paint(&format!("→ {fix}")))),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<()> {
        let [ok, warnings, failed] = self.counts;
        if !self.out.json {
            let warnings = format!("{warnings} {}", if warnings == 1 { "warning" } else { "warnings" });
            self.out.line(&format!("\n{ok} ok, {warnings}, {failed} failed"))?;
        }
        if failed > 0 { Err(Failure::told(Exit::Failed)) } else { Ok(()) }
    }
}
