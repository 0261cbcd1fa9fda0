//! Missing and placeholder secrets: nothing may start with them.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use millrace_harness::{random_hex, workspace_root};

use super::{
    docker::output_of,
    images::TAG,
    project::{Project, lines},
};
use crate::show;

const SECRETS: [&str; 2] = ["POSTGRES_PASSWORD", "REDIS_PASSWORD"];

pub(super) async fn prove(project: &Project<'_>) -> Result<()> {
    let example = workspace_root().join(".env.example");
    let mut command = project.command(&example);
    command.args(["up", "--detach", "--no-build"]);
    expect_refusal(command, &SECRETS[..1]).await.context(".env.example as it is")?;
    show::done("compose starts nothing with .env.example as it is");

    for weak in SECRETS {
        let mut variables = vec![("IMAGE_TAG", TAG.to_owned())];
        for secret in SECRETS {
            let value = if secret == weak { "change-me-change-me-change-me".to_owned() } else { random_hex(24)? };
            variables.push((secret, value));
        }
        let file = project.env_file.with_extension("weak");
        fs::write(&file, lines(&variables)).context("cannot write a file of variables")?;
        // The migration comes before everything else of ours.
        let mut command = project.command(&file);
        command.args(["run", "--rm", "--no-deps", "migrate"]);
        let url = if weak == "REDIS_PASSWORD" { "REDIS_URL" } else { "DATABASE_URL" };
        expect_refusal(command, &[url, "placeholder"]).await.with_context(|| format!("a placeholder as {weak}"))?;
        show::done(&format!("the programs refuse a placeholder as {weak}"));
    }
    Ok(())
}

async fn expect_refusal(command: tokio::process::Command, told: &[&str]) -> Result<()> {
    let Err(error) = output_of(command).await else { bail!("it started") };
    let said = format!("{error:#}");
    for words in told {
        ensure!(said.contains(words), "it did not start, but {words} is not given as the reason: {said}");
    }
    Ok(())
}
