//! Other tools, started for each file as their users do.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use millrace_shared::media::MediaType;
use tokio::{process::Command, time::timeout};

use super::{files::Reading, words::Words};
use crate::process::cpu_of_family_us;

/// How long a tool may take for one file.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tool that gives the text of a file on standard output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Tool {
    /// Of poppler, for PDF
    Pdftotext,
    /// For the documents of word processors
    Pandoc,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pdftotext => "pdftotext",
            Self::Pandoc => "pandoc",
        }
    }

    /// Fails if it is not installed.
    pub(crate) async fn check(self) -> Result<()> {
        let version = if self == Self::Pdftotext { "-v" } else { "--version" };
        let status = Command::new(self.name()).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        ensure!(status.is_ok(), "{} is not installed", self.name());
        Ok(())
    }

    fn reads(self, name: &Path, media_type: Option<&MediaType>) -> bool {
        let has_ending = |ending: &str| name.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
        match self {
            Self::Pdftotext => media_type == Some(&MediaType::Pdf) || has_ending("pdf"),
            Self::Pandoc => media_type == Some(&MediaType::Docx) || has_ending("docx"),
        }
    }

    fn command(self, file: &Path) -> Command {
        let mut command = Command::new(self.name());
        match self {
            Self::Pdftotext => command.args(["-q", "-enc", "UTF-8"]).arg(file).arg("-"),
            Self::Pandoc => command.args(["--from", "docx", "--to", "plain", "--wrap", "none"]).arg(file),
        };
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// What a tool made of the files that it reads.
pub(crate) struct Comparison {
    pub(crate) tool: Tool,
    pub(crate) files: Vec<Compared>,
    /// Processor time of all files.
    pub(crate) cpu: Duration,
}

/// What a tool made of one file.
pub(crate) struct Compared {
    pub(crate) name: PathBuf,
    pub(crate) outcome: String,
    pub(crate) took: Duration,
    pub(crate) words: usize,
    /// Against what Millrace made of it; 0 where Millrace has nothing, none where the tool has nothing.
    pub(crate) f1: Option<f64>,
}

/// Has a tool read all files of its kind.
pub(crate) async fn compare(tool: Tool, folder: &Path, readings: &[Reading]) -> Result<Comparison> {
    let family = || cpu_of_family_us(std::process::id()).context("this process has no statistics");
    let mut files = Vec::new();
    let mut used = 0;
    for reading in readings {
        let document = reading.result.as_ref().ok();
        if !tool.reads(&reading.name, document.map(|document| &document.media_type)) {
            continue;
        }
        let (before, start) = (family()?, Instant::now());
        let output = timeout(PATIENCE, tool.command(&folder.join(&reading.name)).output()).await;
        let took = start.elapsed();
        used += family()?.saturating_sub(before);
        let (outcome, words) = match output {
            Err(_) => ("timeout".to_owned(), None),
            Ok(output) => {
                let output = output.with_context(|| format!("{} does not start", tool.name()))?;
                match output.status.code() {
                    Some(0) => ("ok".to_owned(), Some(Words::of(&String::from_utf8_lossy(&output.stdout)))),
                    Some(code) => (format!("exit {code}"), None),
                    None => ("crashed".to_owned(), None),
                }
            }
        };
        let own = Words::of(document.map_or("", |document| document.text.as_str()));
        files.push(Compared {
            name: reading.name.clone(),
            outcome,
            took,
            words: words.as_ref().map_or(0, Words::len),
            f1: words.map(|words| own.f1(&words)),
        });
    }
    Ok(Comparison { tool, files, cpu: Duration::from_micros(used) })
}
