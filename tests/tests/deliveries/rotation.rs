//! Secrets are replaced, and so are the keys that seal them, while deliveries come in.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use millrace_tests::Line;
use serde_json::{Value, json};

use super::sender::{NEW_KEY, OLD_KEY, Sender, Stream, builder, each_counts_once};

#[tokio::test]
async fn no_delivery_is_refused_while_its_secret_is_replaced() -> Result<()> {
    let line = Line::start(builder()).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let stream = Stream::start(&sender, 6, Duration::from_millis(5));
    let at = format!("/v1/webhook-sources/{}/rotate", sender.id);
    for _ in 0..5 {
        stream.progress(30).await?;
        let rotated = line.client().post(&at, &json!({ "overlap_seconds": 3_600 })).await?.expect(200)?;
        stream.progress(30).await?;
        sender.set_secret(rotated["secret"].as_str().context("no secret")?);
    }
    stream.progress(30).await?;
    let (count, attempts) = stream.stop().await?;
    // A busy machine may turn some away, but none is refused.
    attempts.all_told_to_come_back()?;
    ensure!(attempts.unanswered == 0, "{attempts:?}");
    let secret = json!({ "secret": "the last of the secrets", "overlap_seconds": 0 });
    line.client().post(&at, &secret).await?.expect(200)?;
    ensure!(sender.once(count).await?.status == 401, "without an overlap the one before it has ended");
    sender.set_secret("the last of the secrets");
    ensure!(sender.once(count).await?.status == 200, "and the new one verifies");
    each_counts_once(&line, count + 1).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn no_delivery_is_refused_while_secrets_are_sealed_anew() -> Result<()> {
    let line = Line::start(builder()).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let stream = Stream::start(&sender, 6, Duration::from_millis(5));
    for turn in 0..6 {
        stream.progress(20).await?;
        // The API opens what either key has sealed.
        let (first, second) = if turn % 2 == 0 { (OLD_KEY, NEW_KEY) } else { (NEW_KEY, OLD_KEY) };
        let mut environment = line.stack.environment().to_vec();
        environment.retain(|(name, _)| name != "MILLRACE_ENCRYPTION_KEYS");
        environment.push(("MILLRACE_ENCRYPTION_KEYS".to_owned(), format!("{first},{second}")));
        let said = line.stack.binaries().cli_stdout(&environment, &["secrets", "rotate", "--json"]).await?;
        let told: Value = serde_json::from_str(&said)?;
        ensure!(told["resealed"] == 1 && told["unopened"] == json!([]), "{told}");
    }
    stream.progress(20).await?;
    let (count, attempts) = stream.stop().await?;
    // A busy machine may turn some away, but none is refused.
    attempts.all_told_to_come_back()?;
    ensure!(attempts.unanswered == 0, "{attempts:?}");
    each_counts_once(&line, count).await?;
    line.stack.drain().await
}
