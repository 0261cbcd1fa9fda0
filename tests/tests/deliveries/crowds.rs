//! Many at once.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Result, ensure};
use millrace_harness::Client;
use millrace_tests::Line;
use tokio::task::JoinSet;

use super::sender::{Sender, builder, each_counts_once};

const DELIVERIES: usize = 500;
const DISTINCT: usize = 334;

/// How many deliveries of a source had each outcome.
async fn outcomes(line: &Line, source: &str) -> Result<BTreeMap<String, usize>> {
    let page = Client::anonymous(line.client().base())?.get("/metrics").await?.text();
    let mut outcomes = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("millrace_webhooks_total{") && line.contains(source)) {
        let outcome = line.split("outcome=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        outcomes.insert(outcome.to_owned(), line.rsplit(' ').next().unwrap_or_default().parse()?);
    }
    Ok(outcomes)
}

#[tokio::test]
async fn five_hundred_deliveries_at_once_of_which_a_third_are_the_same_are_all_answered_and_count_once() -> Result<()> {
    let line = Line::start(builder()).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let mut deliveries = JoinSet::new();
    for index in 0..DELIVERIES {
        // 7 shares no factor with either, so that each number comes, and those that come twice come far apart and close by.
        let (number, sender) = (index * 7 % DELIVERIES % DISTINCT, Arc::clone(&sender));
        deliveries.spawn(async move { sender.once(number).await.map(|reply| reply.status) });
    }
    for status in deliveries.join_all().await {
        ensure!(matches!(status, Ok(200)), "{status:?}");
    }
    let told = outcomes(&line, &sender.id).await?;
    let expected = [("accepted".to_owned(), DISTINCT), ("duplicate".to_owned(), DELIVERIES - DISTINCT)];
    ensure!(told == BTreeMap::from(expected), "{told:?}");
    each_counts_once(&line, DISTINCT).await?;
    line.stack.drain().await
}
