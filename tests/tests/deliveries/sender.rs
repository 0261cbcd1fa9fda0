//! Senders as vendors have them: they sign, and send again until they are told that it is safe.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use millrace_harness::{Client, Reply, Stack, StackBuilder};
use millrace_tests::{Line, audit};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// A ring of two keys, of which the first seals.
pub const OLD_KEY: &str = "old:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBvbGQ=";
pub const NEW_KEY: &str = "new:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBuZXc=";

/// How long everything may take to end, on a machine with other things to do.
pub const CALM: Duration = Duration::from_secs(90);
/// Between two attempts of the same delivery.
const PAUSE: Duration = Duration::from_millis(100);
/// After this a sender gives up, and the test with it.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn builder() -> StackBuilder {
    Stack::builder()
        .env("MILLRACE_ENCRYPTION_KEYS", format!("{NEW_KEY},{OLD_KEY}"))
        .env("MILLRACE_PUBLIC_URL", "https://hooks.example.org")
        .worker_env("MILLRACE_QUEUES", "crm=8,probe=8")
}

/// Hexadecimal HMAC-SHA256.
pub fn hex_mac(secret: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A source of this scheme whose deliveries become probes: its id, its path, and its secret where one was made for it.
pub async fn source(client: &Client, scheme: &Value, secret: Option<&str>) -> Result<(String, String, String)> {
    let mut body = json!({ "name": "Weir", "scheme": scheme, "kind": "probe" });
    if let Some(secret) = secret {
        body["secret"] = json!(secret);
    }
    let made = client.post("/v1/webhook-sources", &body).await?.expect(201)?;
    let id = made["id"].as_str().context("no id")?;
    let secret = made["secret"].as_str().or(secret).context("no secret")?;
    Ok((id.to_owned(), format!("/v1/webhooks/{id}"), secret.to_owned()))
}

/// Delivers what is signed as GitHub does it.
#[derive(Debug)]
pub struct Sender {
    pub id: String,
    client: Client,
    path: String,
    secret: RwLock<String>,
}

impl Sender {
    pub async fn new(line: &Line) -> Result<Self> {
        let (id, path, secret) = source(line.client(), &json!({ "type": "github" }), None).await?;
        Ok(Self { id, client: Client::anonymous(line.client().base())?, path, secret: RwLock::new(secret) })
    }

    /// Signs with another secret from now on.
    pub fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut self.secret.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// A probe with an effect, told from all others by its number.
    fn body(number: usize) -> String {
        json!({ "effect": true, "echo": format!("delivery {number}") }).to_string()
    }

    /// One attempt.
    pub async fn once(&self, number: usize) -> Result<Reply> {
        let body = Self::body(number);
        let signature = hex_mac(&self.secret.read().unwrap_or_else(PoisonError::into_inner), &body);
        let request = self.client.request(Method::POST, &self.path).body(body);
        self.client.send(request.header("x-hub-signature-256", format!("sha256={signature}"))).await
    }

    /// As many attempts as it takes. Gives what the others came to.
    pub async fn until_safe(&self, number: usize) -> Result<Attempts> {
        let (mut failed, end) = (Attempts::default(), Instant::now() + PATIENCE);
        loop {
            match self.once(number).await {
                Ok(reply) if reply.status == 200 => return Ok(failed),
                Ok(reply) => failed.refused.push((reply.status, reply.header("retry-after").map(str::to_owned))),
                Err(_) => failed.unanswered += 1,
            }
            ensure!(Instant::now() < end, "delivery {number} is not safe after {PATIENCE:?}: {failed:?}");
            sleep(PAUSE).await;
        }
    }
}

/// What attempts came to that were not answered with 200.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// Status and `Retry-After`.
    pub refused: Vec<(u16, Option<String>)>,
    pub unanswered: usize,
}

impl Attempts {
    pub fn add(&mut self, other: Self) {
        self.refused.extend(other.refused);
        self.unanswered += other.unanswered;
    }

    /// Asserts that whoever was refused was told that the database is away, and when to come back.
    pub fn all_told_to_come_back(&self) -> Result<()> {
        for (status, retry_after) in &self.refused {
            ensure!(*status == 503, "no other refusal for a server that is away: {status}");
            let seconds: u32 = retry_after.as_deref().context("no Retry-After")?.parse()?;
            ensure!((1..=60).contains(&seconds), "Retry-After: {seconds}");
        }
        Ok(())
    }
}

/// Senders that deliver one thing after another, each until it is safe.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    senders: JoinSet<Result<Attempts>>,
}

impl Stream {
    pub fn start(sender: &Arc<Sender>, senders: usize, pause: Duration) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = JoinSet::new();
        for _ in 0..senders {
            let (sender, stop, next) = (Arc::clone(sender), Arc::clone(&stop), Arc::clone(&next));
            set.spawn(async move {
                let mut attempts = Attempts::default();
                while !stop.load(Ordering::Relaxed) {
                    attempts.add(sender.until_safe(next.fetch_add(1, Ordering::Relaxed)).await?);
                    sleep(pause).await;
                }
                Ok(attempts)
            });
        }
        Self { stop, next, senders: set }
    }

    /// Waits until so many more were begun: between two faults there is progress, or it would be no load.
    pub async fn progress(&self, more: usize) -> Result<()> {
        let goal = self.next.load(Ordering::Relaxed) + more;
        millrace_tests::until("senders deliver", CALM, async || Ok(self.next.load(Ordering::Relaxed) >= goal)).await
    }

    /// Lets each sender end what it has begun. Gives how many deliveries there were, all of them safe, and what else the attempts came to.
    pub async fn stop(self) -> Result<(usize, Attempts)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Attempts::default();
        for attempts in self.senders.join_all().await {
            all.add(attempts?);
        }
        Ok((self.next.load(Ordering::Relaxed), all))
    }
}

/// Waits until everything has ended, and asserts that deliveries 0 to `count` are one event, one job that makes a job of it, and one job with one effect
/// each; and that there is nothing else.
pub async fn each_counts_once(line: &Line, count: usize) -> Result<()> {
    // Which also wants exactly one effect of each probe that succeeded.
    let audit = audit(line, &[], CALM).await?;
    audit.all_succeeded_at_once()?;
    let kinds: Vec<(String, i64)> =
        sqlx::query_as("SELECT kind, count(*) FROM jobs GROUP BY kind").fetch_all(line.ledger.pool()).await?;
    let expected = i64::try_from(count)?;
    let kinds: BTreeMap<String, i64> = kinds.into_iter().collect();
    let both = [("probe".to_owned(), expected), ("webhook.deliver".to_owned(), expected)];
    ensure!(kinds == BTreeMap::from(both.clone()), "jobs by kind: {kinds:?}, not {both:?}");
    let echoes: Vec<String> = sqlx::query_scalar("SELECT DISTINCT payload->>'echo' FROM jobs WHERE kind = 'probe'")
        .fetch_all(line.ledger.pool())
        .await?;
    ensure!(echoes.len() == count, "{} deliveries of {count} have become jobs", echoes.len());
    for number in 0..count {
        ensure!(echoes.contains(&format!("delivery {number}")), "delivery {number} has become no job");
    }
    let events: (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT event.job_id), count(body) FROM webhook_events AS event
         JOIN jobs ON jobs.id = event.job_id AND jobs.payload->>'event_id' = event.id::text",
    )
    .fetch_one(line.ledger.pool())
    .await?;
    ensure!(events == (expected, expected, 0), "events, their jobs, and bodies that are kept: {events:?}");
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM webhook_events").fetch_one(line.ledger.pool()).await?;
    ensure!(all == expected, "{all} events, not all with a job of theirs");
    Ok(())
}
