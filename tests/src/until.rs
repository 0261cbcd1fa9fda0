//! Waiting for a condition instead of for a time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How long a test waits for what should happen at once, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Asks until the answer is yes.
///
/// # Errors
/// The first error of `ask`; or, at the deadline, that `what` has not come about.
pub async fn until(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + deadline;
    while !ask().await? {
        if Instant::now() > end {
            bail!("not within {deadline:?}: {what}");
        }
        sleep(POLL).await;
    }
    Ok(())
}
