use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::{Exit, Failure};

/// Asks before bulk work: `what` is a sentence such as "Discard 12 dead letters". Refuses where nobody can be asked.
pub fn confirm(what: &str) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::of(Exit::Refused, format!("{what}? Nobody can be asked here; say --yes")));
    }
    let mut terminal = io::stderr().lock();
    write!(terminal, "{what}? [y/N] ").and_then(|()| terminal.flush()).context("the terminal is gone")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the terminal is gone")?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::of(Exit::Refused, "not confirmed; nothing was changed"))
}

/// A bar on standard error for work on `total` things; nothing where that is no terminal.
pub fn progress(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.cyan/dim} {human_pos}/{human_len}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}
