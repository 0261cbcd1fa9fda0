//! Millrace as an apalis backend.
//!
//! apalis asks the backend for tasks one by one; the claimer fills a buffer with whole batches, so that a poll never waits for Redis, and a
//! job leaves it with a slot of its own. `Kind = Ephemeral` hands tasks over as they are: with `Durable`, a payload that does not decode would
//! end the whole worker, whereas here it is a dead letter. The backend never gives an error for the same reason.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::context::WorkerContext,
};

use super::{buffer::Buffer, run::Run, settle::SettleLayer};

/// A queue as apalis sees it.
#[derive(Clone, Debug)]
pub(crate) struct QueueBackend {
    /// Shared, so that a worker that the monitor restarts goes on where the last one ended.
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) layer: SettleLayer,
}

impl Backend for QueueBackend {
    type Task = Task<Run>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// The next claimed job; `None` once the claimer has ended.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Run>, Infallible>>> {
        self.buffer.poll_next(context).map(|run| run.map(|run| Ok(Task::new(run))))
    }

    /// Nothing is held back here: the engine waits for runs and settlements by itself.
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for QueueBackend {
    type Args = Run;
    type Id = millrace_shared::ids::JobId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> SettleLayer {
        self.layer.clone()
    }
}
