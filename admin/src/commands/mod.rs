//! One module a command.

mod dlq;
mod doctor;
mod jobs;
mod keys;
mod migrate;
mod orgs;
mod payload;
mod queues;
mod schedules;
mod secrets;
mod show;

use anyhow::Result;

use crate::{
    app::{App, Output},
    args::{Cli, Command},
};

/// Does what was asked for.
pub async fn run(cli: Cli) -> Result<()> {
    let out = Output { json: cli.json };
    match cli.command {
        // It explains configurations that the others refuse.
        Command::Doctor => doctor::run(out).await,
        Command::Migrate => migrate::run(&App::new(out)?).await,
        Command::Keys(command) => keys::run(&App::new(out)?, command).await,
        Command::Queues(args) => queues::run(&App::new(out)?, args).await,
        Command::Orgs(args) => orgs::run(&App::new(out)?, args).await,
        Command::Jobs(command) => jobs::run(&App::new(out)?, command).await,
        Command::Schedules(command) => schedules::run(&App::new(out)?, command).await,
        Command::Dlq(command) => dlq::run(&App::new(out)?, command).await,
        Command::Secrets(command) => secrets::run(&App::new(out)?, command).await,
    }
}
