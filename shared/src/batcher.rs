//! Batches that form by themselves: while one is on its way, the next gathers.
//!
//! An idle batcher sends a single item at once, a busy one sends hundreds together, and nobody ever waits for a timer.

use std::{fmt, future::Future, sync::Arc};

use tokio::sync::{Mutex, mpsc};
use tokio_util::task::TaskTracker;

/// Takes items one by one and has them worked on together.
pub struct Batcher<T> {
    sender: mpsc::UnboundedSender<T>,
}

impl<T> Clone for Batcher<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<T> fmt::Debug for Batcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batcher")
    }
}

/// How large batches may be and how many may be on their way at once.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The most items of a batch.
    pub size: usize,
    /// The most batches on their way at once.
    pub at_once: usize,
}

impl<T: Send + 'static> Batcher<T> {
    /// A batcher that gives what gathers to `work`. It ends with its last clone, when everything has been worked on.
    pub fn new<F, Fut>(tracker: &TaskTracker, shape: Shape, work: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let (sender, receiver) = mpsc::unbounded_channel::<T>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..shape.at_once {
            let (receiver, work) = (Arc::clone(&receiver), work.clone());
            tracker.spawn(async move {
                loop {
                    let mut batch = Vec::new();
                    // Whoever holds the receiver gathers; the others are on their way with what they have.
                    if receiver.lock().await.recv_many(&mut batch, shape.size).await == 0 {
                        return;
                    }
                    work(batch).await;
                }
            });
        }
        Self { sender }
    }

    /// Hands an item over.
    pub fn send(&self, item: T) {
        // Its tasks live as long as it does, unless the runtime ends under both.
        let _ = self.sender.send(item);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_item_is_worked_on_once_and_a_busy_batcher_takes_items_together() {
        let tracker = TaskTracker::new();
        let (sender, mut done) = mpsc::unbounded_channel();
        let batcher = Batcher::new(&tracker, Shape { size: 100, at_once: 2 }, move |items: Vec<u32>| {
            let sender = sender.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = sender.send(items);
            }
        });
        for n in 0..50 {
            batcher.send(n);
            tokio::task::yield_now().await;
        }
        drop(batcher);
        tracker.close();
        tracker.wait().await;
        let (mut all, mut largest) = (Vec::new(), 0);
        while let Some(items) = done.recv().await {
            largest = largest.max(items.len());
            all.extend(items);
        }
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert!(largest > 1, "at least one batch held several items");
    }
}
