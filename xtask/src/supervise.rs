//! Starts a service again when it dies, as an orchestrator would, and drains it when asked to.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millrace_harness::{Service, Signal, Until};
use tokio::{task::JoinHandle, time::Instant};

use crate::{show, stop::Stop};

/// The pause before the first new start; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A service that lived this long was not in a crash loop: its next pause is the first one again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Above any sane drain timeout of a binary, which hands back and exits by itself.
const DRAIN_DEADLINE: Duration = Duration::from_secs(180);

/// A service in the care of a task.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) name: String,
    pub(crate) url: String,
    /// The pid of its first life.
    pub(crate) pid: u32,
    task: JoinHandle<Result<()>>,
}

impl Supervised {
    pub(crate) fn new(service: Service, stop: Stop) -> Self {
        let process = service.process();
        Self {
            name: process.name().to_owned(),
            url: service.url(),
            pid: process.pid(),
            task: tokio::spawn(supervise(service, stop)),
        }
    }

    /// Waits until it has drained, which begins when `stop` is requested.
    pub(crate) async fn drained(self) -> Result<()> {
        self.task.await.with_context(|| format!("the task that cares for {} has ended", self.name))?
    }
}

async fn supervise(mut service: Service, stop: Stop) -> Result<()> {
    let mut delay = FIRST_DELAY;
    loop {
        let started = Instant::now();
        tokio::select! {
            _ = service.process().wait() => {}
            () = stop.requested() => return drain(&service, &stop).await,
        }
        if started.elapsed() > STABLE_AFTER {
            delay = FIRST_DELAY;
        }
        tokio::select! {
            () = revive(&mut service, &mut delay) => {}
            // It is down or half up: nothing in it that could be drained.
            () = stop.requested() => return Ok(()),
        }
    }
}

/// Starts a dead service until it listens.
async fn revive(service: &mut Service, delay: &mut Duration) {
    let name = service.process().name().to_owned();
    loop {
        let how = service.process().status().map_or_else(String::new, |status| format!(" ({status})"));
        let log = service.process().log().display();
        println!("{} {name} ended by itself{how}: starting it again in {delay:?}; its log is {log}", show::red("!"));
        tokio::time::sleep(*delay).await;
        *delay = (*delay * 2).min(LONGEST_DELAY);
        // Listening is enough: whether it is ready may depend on servers that are away, and is no reason to kill it.
        match service.start_again(Until::Listening).await {
            Ok(()) => {
                println!("{} {name} runs again (pid {}, {})", show::green("✓"), service.process().pid(), service.url());
                return;
            }
            Err(error) => println!("{} {name} does not start: {error:#}", show::red("!")),
        }
    }
}

async fn drain(service: &Service, stop: &Stop) -> Result<()> {
    let process = service.process();
    let drained = async {
        // It may have ended in this moment: then its status tells.
        let _ = process.signal(Signal::TERM);
        tokio::select! {
            status = process.wait() => return status,
            () = stop.at_least(2) => {}
        }
        // A second signal tells a binary to hand back at once.
        let _ = process.signal(Signal::TERM);
        process.wait().await
    };
    let Ok(status) = tokio::time::timeout(DRAIN_DEADLINE, drained).await else {
        bail!("{} has not drained within {DRAIN_DEADLINE:?}, so it is killed{}", process.name(), process.log_excerpt());
    };
    ensure!(
        status.success(),
        "{} drained with {status} instead of exit code 0{}",
        process.name(),
        process.log_excerpt()
    );
    Ok(())
}
