//! Batches that form by themselves: while one is on its way, the next gathers.
//!
//! An idle batcher sends a single item at once, a busy one sends hundreds together, and nobody ever waits for a timer.

use std::{fmt, future::Future};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Takes items one by one and has them worked on together.
pub(crate) struct Batcher<T, R> {
    sender: mpsc::UnboundedSender<(T, oneshot::Sender<R>)>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<T, R> fmt::Debug for Batcher<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batcher")
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// A batcher whose `work` gets up to `size` items and gives one result each, in their order. It ends with its last clone.
    pub(crate) fn new<F, Fut>(tracker: &TaskTracker, size: usize, work: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<R>> + Send,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(T, oneshot::Sender<R>)>();
        tracker.spawn(async move {
            let mut gathered = Vec::with_capacity(size);
            while receiver.recv_many(&mut gathered, size).await > 0 {
                let (items, replies): (Vec<T>, Vec<_>) = gathered.drain(..).unzip();
                for (result, reply) in work(items).await.into_iter().zip(replies) {
                    // Whoever asked may be gone; the work is done all the same.
                    let _ = reply.send(result);
                }
            }
        });
        Self { sender }
    }

    /// Has an item worked on. `None` only if the batcher's task has died.
    pub(crate) async fn run(&self, item: T) -> Option<R> {
        let (reply, result) = oneshot::channel();
        self.sender.send((item, reply)).ok()?;
        result.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn results_reach_whoever_asked_and_a_busy_batcher_sends_items_together() {
        let tracker = TaskTracker::new();
        let batcher = Batcher::new(&tracker, 100, |items: Vec<u32>| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let size = items.len();
            items.into_iter().map(|item| (item * 2, size)).collect()
        });
        let asked = (0..50).map(|n| {
            let batcher = batcher.clone();
            async move { (n, batcher.run(n).await.expect("the batcher lives")) }
        });
        let mut largest = 0;
        for (n, (doubled, size)) in futures_util::future::join_all(asked).await {
            assert_eq!(doubled, n * 2);
            largest = largest.max(size);
        }
        assert!(largest > 1, "at least one batch held several items");
    }
}
