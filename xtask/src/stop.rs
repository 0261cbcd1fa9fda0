//! Requests to end: by Ctrl-C, by SIGTERM, or because the work is done. The first one drains, a further one hurries.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// A count of requests to end, shared by all that listens to it.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requests: Arc<watch::Sender<u32>>,
}

impl Stop {
    /// One that SIGINT and SIGTERM raise from now on.
    pub(crate) fn on_signals() -> Result<Self> {
        let stop = Self { requests: Arc::new(watch::Sender::new(0)) };
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::spawn({
            let stop = stop.clone();
            // Ends with the runtime.
            async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    stop.request();
                }
            }
        });
        Ok(stop)
    }

    /// Asks for the end.
    pub(crate) fn request(&self) {
        self.requests.send_modify(|count| *count += 1);
    }

    /// Waits for the first request.
    pub(crate) async fn requested(&self) {
        self.at_least(1).await;
    }

    /// How often the end was asked for.
    pub(crate) fn count(&self) -> u32 {
        *self.requests.borrow()
    }

    /// Waits until the end was asked for `count` times.
    pub(crate) async fn at_least(&self, count: u32) {
        let mut requests = self.requests.subscribe();
        // Cannot fail: the sender lives in `self`.
        let _ = requests.wait_for(|requests| *requests >= count).await;
    }
}
