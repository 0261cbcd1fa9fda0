//! `cargo xtask test --containers`: the images and the compose file, proved by a real Docker engine.
//!
//! Both images are built, the compose file is brought up with secrets made for it, the documents of the repository go through
//! it, and it is stopped while jobs run. Where no Docker engine answers, one is started, privately: with its data below
//! `target/`, without touching the host's firewall, and gone at the end. Base images that the engine does not have are replaced
//! by stand-ins of the same name, made of Debian's packages and this machine's Rust: no image registry is asked.

mod docker;
mod documents;
mod drain;
mod engine;
mod images;
mod project;
mod refusals;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use millrace_harness::{Client, RunDir};

use self::{engine::Engine, images::Images, project::Project};
use crate::{show, site::org_and_key, stop::Stop};

pub(crate) async fn run() -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let began = Instant::now();
    let mut run = RunDir::create()?;
    let proved = Box::pin(with_engine(&run, &stop)).await;
    let took = show::duration(began.elapsed());
    match proved {
        Ok(()) => {
            println!("\n{} in {took}", show::green("images and compose file proved"));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            run.keep();
            Err(error.context(format!("not proved after {took}; logs are in {}", run.path().display())))
        }
    }
}

async fn with_engine(run: &RunDir, stop: &Stop) -> Result<()> {
    show::heading("Docker");
    let engine = Engine::start(run.path()).await?;
    let proved = with_images(&engine, run, stop).await;
    let stopped = engine.stop().await;
    proved.and(stopped)
}

async fn with_images(engine: &Engine, run: &RunDir, stop: &Stop) -> Result<()> {
    let mut images = Images::new(engine, run.path());
    let built = until_stopped(stop, async {
        images.prepare().await?;
        images.build().await
    });
    let proved = match built.await {
        Ok(()) => with_project(engine, run, stop).await,
        Err(error) => Err(error),
    };
    let removed = images.remove().await;
    proved.and(removed)
}

async fn with_project(engine: &Engine, run: &RunDir, stop: &Stop) -> Result<()> {
    let project = Project::new(&engine.docker, run.path())?;
    let proved = until_stopped(stop, prove(&project)).await;
    if proved.is_err() {
        // What is in the logs may explain it; that they cannot be had explains nothing.
        let _ = project.save_logs().await;
    }
    let removed = project.remove().await;
    proved.and(removed)
}

/// Ctrl-C breaks `work` off. Only what needs no clean-up of its own is given to it, so that all else is removed in every case.
async fn until_stopped<T>(stop: &Stop, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = Box::pin(work) => done,
        () = stop.requested() => Err(anyhow::anyhow!("interrupted")),
    }
}

async fn prove(project: &Project<'_>) -> Result<()> {
    show::heading("What must not start");
    refusals::prove(project).await?;

    show::heading("Compose");
    let began = Instant::now();
    project.up(&[]).await?;
    project.wait_healthy(&["postgres", "redis", "api", "worker"]).await?;
    show::done(&format!("migrated, and all services healthy in {}", show::duration(began.elapsed())));
    project.check_confinement().await?;

    let doctor = project.exec("api", &["millrace", "doctor"]).await.context("`millrace doctor` finds something")?;
    show::indented(&doctor);
    let created =
        project.exec("api", &["millrace", "keys", "create", "--org", "new", "--role", "admin", "--json"]).await?;
    let (_, key) = org_and_key(&created)?;
    let client = Client::new(&project.api_url(), &key)?;
    show::done("an organisation and its key created by the command line in the API's image");

    documents::prove(&client).await?;
    drain::prove(project, &client).await
}
