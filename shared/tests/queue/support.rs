//! A Redis for one test, and short words for what the tests do with it.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt as _;
use millrace_harness::{RedisOptions, RedisServer, RunDir};
use millrace_shared::{
    ids::{JobId, OrgId},
    jobs::{Priority, QUEUES, QueueName},
    queue::{
        Claim, ClaimStatus, Claimed, Envelope, GiveBack, GivenBack, Lease, Meta, OrgSettings, OrgTerms, QueueJob,
        Queues, Settings, json_of,
    },
};
use redis::aio::{MultiplexedConnection, PubSub};
use serde_json::json;

/// The queue of all tests.
pub const Q: QueueName = QUEUES[3];
/// A lease that no test outlives.
pub const LONG: Duration = Duration::from_secs(600);
/// A lease that has run out by the next call: its expiry is the microsecond of its claim.
pub const NONE: Duration = Duration::ZERO;

/// A Redis with an empty queue that serves.
pub struct Rig {
    pub queues: Queues,
    pub redis: MultiplexedConnection,
    // Before the directory, so that the server ends before its data is removed.
    pub server: RedisServer,
    _dir: RunDir,
}

impl Rig {
    pub async fn start() -> Self {
        let dir = RunDir::create().unwrap();
        let server = RedisServer::start(dir.path(), RedisOptions::default()).await.unwrap();
        let queues = Queues::connect(&server.url().into(), Duration::from_secs(10)).unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        let redis = client.get_multiplexed_async_connection().await.unwrap();
        let rig = Self { queues, redis, server, _dir: dir };
        rig.settings(Settings::default()).await;
        rig
    }

    pub async fn settings(&self, settings: Settings) {
        self.queues.apply_settings(Q, settings).await.unwrap();
    }

    /// Sets what holds for organisations, as the next change of the ledger.
    pub async fn organisations(&self, settings: &[(OrgId, OrgSettings)]) {
        for batch in settings.chunks(500) {
            let known = self.queues.organisations_version(Q).await.unwrap();
            let version = known.unwrap_or(0) + 1;
            let terms: Vec<OrgTerms> =
                batch.iter().map(|(org, settings)| OrgTerms { org: *org, settings: *settings, version }).collect();
            assert!(self.queues.apply_organisations(Q, known, version, &terms).await.unwrap());
        }
    }

    /// How many commands Redis ran for what `work` does, those of its scripts included.
    pub async fn commands_of(&self, work: impl AsyncFnOnce()) -> u64 {
        self.command::<String>(redis::cmd("CONFIG").arg("RESETSTAT")).await;
        work().await;
        let info: String = self.command(redis::cmd("INFO").arg("commandstats")).await;
        let calls = info.lines().filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
        calls.sum()
    }

    pub async fn push(&self, jobs: &[QueueJob]) -> usize {
        self.queues.push(jobs).await.unwrap()
    }

    pub async fn claim_for(&self, want: usize, lease: Duration) -> Claim {
        let claim = self.queues.claim(Q, want, lease, "worker-1").await.unwrap();
        assert!(claim.jobs.len() <= want, "{} jobs for {want} slots", claim.jobs.len());
        claim
    }

    /// Claims under a long lease, of a queue that serves.
    pub async fn claim(&self, want: usize) -> Vec<Claimed> {
        let claim = self.claim_for(want, LONG).await;
        assert_eq!(claim.status, ClaimStatus::Served);
        claim.jobs
    }

    pub async fn settle(&self, claimed: &[Claimed]) {
        let leases: Vec<(Lease, OrgId)> = claimed.iter().map(|job| (job.lease, job.org)).collect();
        let settled = self.queues.settle(Q, &leases).await.unwrap();
        assert!(settled.iter().all(|own| *own), "{settled:?}");
    }

    pub async fn give_back(&self, claimed: &Claimed, delay: Option<Duration>, meta: Meta) -> GivenBack {
        let job = GiveBack { lease: claimed.lease, org: claimed.org, delay, meta };
        self.queues.give_back(Q, &[job]).await.unwrap()[0]
    }

    /// Settles what is served until nothing is.
    pub async fn drain(&self) -> Vec<JobId> {
        let mut served = Vec::new();
        loop {
            let claim = self.claim_for(500, LONG).await;
            assert_eq!(claim.status, ClaimStatus::Served);
            served.extend(ids(&claim.jobs));
            self.settle(&claim.jobs).await;
            if claim.jobs.is_empty() && claim.next_event != Some(Duration::ZERO) {
                return served;
            }
        }
    }

    /// Waits until Redis' clock has passed a delay that was told a moment ago.
    pub async fn pass(&self, delay: Duration) {
        let until = self.now_us().await + delay.as_micros() + 1_000;
        while self.now_us().await <= until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn now_us(&self) -> u128 {
        let (seconds, micros): (u128, u128) = self.command(redis::cmd("TIME")).await;
        seconds * 1_000_000 + micros
    }

    pub async fn command<T: redis::FromRedisValue>(&self, command: impl std::borrow::Borrow<redis::Cmd>) -> T {
        command.borrow().query_async(&mut self.redis.clone()).await.unwrap()
    }

    /// What is left in Redis, by the last part of the name.
    pub async fn keys(&self) -> BTreeSet<String> {
        let keys: Vec<Vec<u8>> = self.command(redis::cmd("KEYS").arg("*")).await;
        keys.iter().map(|key| String::from_utf8_lossy(key).replace("mr:{probe}:", "")).collect()
    }

    /// Fails if anything of a job is left. The next claim is what takes organisations without jobs out of the ring.
    pub async fn assert_nothing_left(&self) {
        assert!(self.claim(1).await.is_empty());
        let left: Vec<String> = self.keys().await.into_iter().filter(|key| !key.starts_with("done:")).collect();
        let allowed = ["ctl", "depth", "own"];
        assert!(left.iter().all(|key| allowed.contains(&key.as_str())), "left: {left:?}");
        assert_eq!(self.queues.stats(Q).await.unwrap().ready, [0; 4]);
    }

    pub async fn subscribe(&self) -> PubSub {
        self.queues.subscribe(&[Q]).await.unwrap()
    }

    /// What was published since the last time: a mark of our own ends it, so that nothing has to be waited for.
    pub async fn heard(&self, pubsub: &mut PubSub) -> Vec<Vec<u8>> {
        let mark = b"mark".to_vec();
        let mut publish = redis::cmd("PUBLISH");
        self.command::<i64>(publish.arg("mr:{probe}:wake").arg(&mark)).await;
        let mut heard = Vec::new();
        let mut messages = pubsub.on_message();
        while let Some(message) = messages.next().await {
            let payload = message.get_payload_bytes().to_vec();
            if payload == mark {
                break;
            }
            heard.push(payload);
        }
        heard
    }
}

pub fn job(org: OrgId, priority: Priority) -> QueueJob {
    let envelope = Envelope {
        org,
        priority,
        kind: "probe".to_owned(),
        timeout: Duration::from_secs(60),
        max_attempts: 5,
        revision: 0,
        trace_context: None,
        payload: Some(json_of(&json!({}))),
    };
    QueueJob { id: JobId::new(), queue: Q, envelope, delay: Duration::ZERO, meta: Meta::default() }
}

pub fn weight(weight: u16) -> OrgSettings {
    OrgSettings { weight: Some(weight), ..OrgSettings::default() }
}

pub fn own_limit(concurrency: u32) -> OrgSettings {
    OrgSettings { concurrency: Some(concurrency), ..OrgSettings::default() }
}

pub fn normal(org: OrgId, count: usize) -> Vec<QueueJob> {
    (0..count).map(|_| job(org, Priority::Normal)).collect()
}

pub fn delayed(org: OrgId, delay: Duration) -> QueueJob {
    QueueJob { delay, ..job(org, Priority::Normal) }
}

pub fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|job| job.lease.id).collect()
}

pub fn ids_of(jobs: &[QueueJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}
