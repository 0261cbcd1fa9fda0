//! `cargo xtask bench`: builds everything with optimisations and becomes the program that measures.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context, Result};
use clap::Args;
use millrace_harness::{Binaries, Profile};

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct BenchArgs {
    /// Passed on to `millrace-bench`, which explains them with --help
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<OsString>,
}

pub(crate) async fn run(arguments: &BenchArgs) -> Result<()> {
    let binaries = Binaries::build(Profile::Release).await?;
    let (name, dir) = binaries.variable();
    let program = binaries.bench();
    let mut command = Command::new(&program);
    // In place of this process, so that signals and the exit code are the program's own.
    let error = command.args(&arguments.passed_on).env(name, dir).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
