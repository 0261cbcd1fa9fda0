//! SIGTERM and SIGINT as two steps: the first asks for a drain, the second for an end at once.

use std::io;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::{Handle, Signals};
use tokio_util::sync::CancellationToken;

/// What was asked for so far. Each token is cancelled once and stays so.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// The first signal: take nothing new, finish what is there.
    pub drain: CancellationToken,
    /// The second signal: stop at once.
    pub now: CancellationToken,
}

/// Listens for as long as it is held.
#[derive(Debug)]
pub struct SignalListener {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.handle.close();
        self.task.abort();
    }
}

/// Begins to listen.
///
/// # Errors
/// When the operating system refuses.
pub fn listen() -> io::Result<(Shutdown, SignalListener)> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let shutdown = Shutdown::default();
    let steps = shutdown.clone();
    let task = tokio::spawn(async move {
        while let Some(signal) = signals.next().await {
            let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
            if steps.drain.is_cancelled() {
                tracing::warn!(signal = name, "second signal: stopping at once");
                steps.now.cancel();
                return;
            }
            tracing::info!(signal = name, "draining; a second signal stops at once");
            steps.drain.cancel();
        }
    });
    Ok((shutdown, SignalListener { handle, task }))
}
