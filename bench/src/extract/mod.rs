//! `cargo xtask bench extract DIR`: what extraction makes of a folder of documents, file by file and in sum, beside what other tools make of it.
//!
//! Millrace reads each file as its worker does: in a confined child, one after another, with children waiting. The other tools are started
//! for each file, as their users do.

mod files;
mod report;
mod tools;
mod words;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use self::{files::Reading, tools::Tool};

/// The word that asks for this benchmark.
pub(crate) const NAME: &str = "extract";

#[derive(Parser)]
#[command(name = "cargo xtask bench extract", bin_name = "cargo xtask bench extract")]
/// Extract a folder of documents: outcomes, words, time and memory of each, and what other tools make of the same files
pub(crate) struct Cli {
    /// The folder, with all below it
    dir: PathBuf,
    /// Another tool to compare with, which must be installed
    #[arg(long, value_enum)]
    against: Vec<Tool>,
    /// Print one JSON object per file and one for the sum
    #[arg(long)]
    json: bool,
    /// Write what was extracted into this folder, as FILE.txt
    #[arg(long, value_name = "DIR")]
    text: Option<PathBuf>,
}

impl Cli {
    /// The arguments without the benchmark's own name.
    pub(crate) fn from_arguments() -> Self {
        let program = std::env::args_os().take(1);
        Self::parse_from(program.chain(std::env::args_os().skip(2)))
    }
}

pub(crate) async fn run(cli: &Cli) -> Result<()> {
    let names = files::below(&cli.dir)?;
    ensure!(!names.is_empty(), "there is no file in {}", cli.dir.display());
    for tool in &cli.against {
        tool.check().await?;
    }
    let readings = files::read_all(&cli.dir, names).await?;
    if let Some(folder) = &cli.text {
        for reading in &readings {
            write_text(folder, reading).with_context(|| format!("cannot write into {}", folder.display()))?;
        }
    }
    let mut comparisons = Vec::new();
    for tool in &cli.against {
        comparisons.push(tools::compare(*tool, &cli.dir, &readings).await?);
    }
    report::print(&readings, &comparisons, cli.json);
    Ok(())
}

fn write_text(folder: &std::path::Path, reading: &Reading) -> std::io::Result<()> {
    let Ok(document) = &reading.result else { return Ok(()) };
    let mut path = folder.join(&reading.name).into_os_string();
    path.push(".txt");
    let path = PathBuf::from(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, &document.text)
}
