//! The client: the protocol's operations as typed calls.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, RedisError, RedisResult, Script, ScriptInvocation, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
};
use secrecy::{ExposeSecret, SecretString};

use super::{Envelope, EnvelopeError, MAX_BATCH, Meta, refusal::Refusals, scripts::Scripts};
use crate::{
    ids::{JobId, OrgId},
    jobs::{Priority, QueueName},
};

/// How many expired and how many due jobs one claim moves at most. Both are a part of the [`MAX_BATCH`] that it moves and leases in all.
const MOVE_BATCH: usize = 128;

/// A client for all queues of one Redis. Cheap to clone; reconnects by itself.
#[derive(Clone)]
pub struct Queues {
    client: Client,
    pub(super) connection: ConnectionManager,
    pub(super) scripts: Arc<Scripts>,
    pub(super) refusals: Arc<Refusals>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queues")
    }
}

/// A `REDIS_URL` that cannot be used. The URL itself is a secret and is not told.
#[derive(Debug, thiserror::Error)]
#[error("the Redis URL is not usable")]
pub struct ConnectError(#[source] RedisError);

/// A job on its way into a queue.
#[derive(Clone, Debug)]
pub struct QueueJob {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// What the worker gets.
    pub envelope: Envelope,
    /// How long it waits before it is due.
    pub delay: Duration,
    /// What it has been through already.
    pub meta: Meta,
}

/// The right to end a job's run: valid until it runs out or another claim takes the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The fencing token: when it was claimed on Redis' clock, in µs. Extending the lease does not change it, so that an extension on
    /// its way cannot make a settlement fail.
    pub token: i64,
}

/// A leased job.
#[derive(Debug)]
pub struct Claimed {
    /// The lease.
    pub lease: Lease,
    /// The tenant, from the envelope's header.
    pub org: OrgId,
    /// The priority, from the envelope's header.
    pub priority: Priority,
    /// What it has been through.
    pub meta: Meta,
    /// The envelope, where this version can read it.
    pub envelope: Result<Envelope, EnvelopeError>,
}

/// Why a claim gave what it gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimStatus {
    /// The queue was asked for jobs.
    Served,
    /// The queue is paused.
    Paused,
    /// Redis lost the queue's data: settings must be restored before it serves.
    Lost,
    /// The queue is at its concurrency limit.
    AtLimit,
}

/// A claim's answer.
#[derive(Debug)]
pub struct Claim {
    /// Why it is what it is.
    pub status: ClaimStatus,
    /// The leased jobs, at most as many as were asked for.
    pub jobs: Vec<Claimed>,
    /// When to ask again without being woken: the next delayed job is due then, or the next lease runs out. Told whenever there are
    /// fewer jobs than asked for and something is known to come.
    pub next_event: Option<Duration>,
}

/// What became of an extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    /// The lease now runs longer.
    Extended,
    /// The lease is not the caller's any more.
    Lost,
    /// The job was cancelled.
    Cancelled,
}

/// A job given back before its end.
#[derive(Clone, Copy, Debug)]
pub struct GiveBack {
    /// The lease that ends.
    pub lease: Lease,
    /// The tenant whose running slot it frees.
    pub org: OrgId,
    /// How long it waits (zero: behind what is ready already); `None` puts it at the front of its lane.
    pub delay: Option<Duration>,
    /// What it has been through now.
    pub meta: Meta,
}

/// What became of a job given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenBack {
    /// It waits again.
    Waiting,
    /// The lease was not the caller's any more.
    Lost,
    /// It had been cancelled and is forgotten.
    Cancelled,
}

impl Queues {
    /// A client for the Redis at `url`; connects in the background, so that a process can start while Redis is away.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn connect(url: &SecretString, response_timeout: Duration) -> Result<Self, ConnectError> {
        let client = Client::open(url.expose_secret()).map_err(ConnectError)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(response_timeout))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_secs(1));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(ConnectError)?;
        Ok(Self { client, connection, scripts: Arc::new(Scripts::new()), refusals: Arc::default() })
    }

    /// A connection of its own, subscribed to the wake channels of `queues`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn subscribe(&self, queues: &[QueueName]) -> RedisResult<PubSub> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        for queue in queues {
            pubsub.subscribe(wake_channel(*queue)).await?;
        }
        Ok(pubsub)
    }

    /// Adds jobs; those that Redis knows already are left as they are. Gives how many were new.
    ///
    /// # Errors
    /// Redis is away or refuses (out of memory); jobs of earlier batches are in.
    pub async fn push(&self, jobs: &[QueueJob]) -> RedisResult<usize> {
        let mut by_queue: Vec<(QueueName, Vec<&QueueJob>)> = Vec::new();
        for job in jobs {
            match by_queue.iter_mut().find(|(queue, _)| *queue == job.queue) {
                Some((_, group)) => group.push(job),
                None => by_queue.push((job.queue, vec![job])),
            }
        }
        let mut fresh = 0;
        for (queue, group) in by_queue {
            for batch in group.chunks(MAX_BATCH) {
                let mut call = on(&self.scripts.push, queue);
                for job in batch {
                    call.arg(job.id.as_bytes()).arg(job.envelope.encode());
                    call.arg(millis(job.delay)).arg(job.meta.encode());
                }
                let taken = self.run::<usize>(&call).await;
                self.refusals.note(&taken);
                fresh += taken?;
            }
        }
        Ok(fresh)
    }

    /// Leases up to `want` jobs (at most [`MAX_BATCH`], and fewer where many came due or were lost) to `worker`.
    ///
    /// # Errors
    /// Redis is away. Jobs whose claim got lost on the way back return when their lease runs out.
    pub async fn claim(&self, queue: QueueName, want: usize, lease: Duration, worker: &str) -> RedisResult<Claim> {
        let mut call = on(&self.scripts.claim, queue);
        call.arg(want.min(MAX_BATCH)).arg(micros(lease)).arg(worker).arg(MOVE_BATCH).arg(MAX_BATCH);
        let reply: Vec<Value> = self.run(&call).await?;
        let mut reply = reply.into_iter();
        let mut number =
            || -> RedisResult<i64> { redis::from_redis_value(reply.next().unwrap_or(Value::Nil)).map_err(Into::into) };
        let status = match number()? {
            0 => ClaimStatus::Served,
            1 => ClaimStatus::Paused,
            2 => ClaimStatus::Lost,
            _ => ClaimStatus::AtLimit,
        };
        let (now, next, token) = (number()?, number()?, number()?);
        let next_event = (next > 0).then(|| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
        let parts: Vec<Vec<u8>> = reply.map(redis::from_redis_value).collect::<Result<_, _>>()?;
        let jobs = parts.chunks_exact(2).filter_map(|parts| claimed(parts, token)).collect();
        Ok(Claim { status, jobs, next_event })
    }

    /// Forgets jobs whose end the ledger knows. Gives per job whether the lease was still the caller's.
    ///
    /// # Errors
    /// Redis is away; the jobs come back when their leases run out, and the ledger recognises them.
    pub async fn settle(&self, queue: QueueName, leases: &[(Lease, OrgId)]) -> RedisResult<Vec<bool>> {
        let mut settled = Vec::with_capacity(leases.len());
        for batch in leases.chunks(MAX_BATCH) {
            let mut call = on(&self.scripts.settle, queue);
            for (lease, org) in batch {
                call.arg(lease.id.as_bytes()).arg(lease.token).arg(org.as_bytes());
            }
            settled.extend(self.run::<Vec<u8>>(&call).await?.into_iter().map(|own| own == 1));
        }
        Ok(settled)
    }

    /// Ends leases without ending the jobs. Those that go to the front of their lane keep the order of their ids, which is that of
    /// their age. The answers are parallel to `jobs`.
    ///
    /// # Errors
    /// Redis is away; the jobs come back when their leases run out, counted as lost.
    pub async fn give_back(&self, queue: QueueName, jobs: &[GiveBack]) -> RedisResult<Vec<GivenBack>> {
        let mut by_age: Vec<usize> = (0..jobs.len()).collect();
        by_age.sort_by_key(|index| jobs[*index].lease.id);
        let mut results = vec![GivenBack::Lost; jobs.len()];
        // The youngest batch first, because the next one goes in front of it.
        for batch in by_age.rchunks(MAX_BATCH) {
            let mut call = on(&self.scripts.give_back, queue);
            for job in batch.iter().map(|index| &jobs[*index]) {
                call.arg(job.lease.id.as_bytes()).arg(job.lease.token).arg(job.org.as_bytes());
                call.arg(job.delay.map_or(-1, millis)).arg(job.meta.encode());
            }
            for (index, code) in batch.iter().zip(self.run::<Vec<u8>>(&call).await?) {
                results[*index] = match code {
                    1 => GivenBack::Waiting,
                    2 => GivenBack::Cancelled,
                    _ => GivenBack::Lost,
                };
            }
        }
        Ok(results)
    }

    /// Lengthens leases to `lease` from now. The answers are parallel to `leases`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn extend(&self, queue: QueueName, leases: &[Lease], lease: Duration) -> RedisResult<Vec<Extension>> {
        let mut results = Vec::with_capacity(leases.len());
        for batch in leases.chunks(MAX_BATCH) {
            let mut call = on(&self.scripts.extend, queue);
            call.arg(micros(lease));
            for held in batch {
                call.arg(held.id.as_bytes()).arg(held.token);
            }
            results.extend(self.run::<Vec<u8>>(&call).await?.into_iter().map(|code| match code {
                1 => Extension::Extended,
                2 => Extension::Cancelled,
                _ => Extension::Lost,
            }));
        }
        Ok(results)
    }

    /// Takes cancelled jobs out of the queue and tells the workers of those that run.
    ///
    /// # Errors
    /// Redis is away; the ledger recognises the jobs when they are claimed.
    pub async fn cancel(&self, queue: QueueName, ids: &[JobId]) -> RedisResult<()> {
        for batch in ids.chunks(MAX_BATCH) {
            let mut call = on(&self.scripts.cancel, queue);
            for id in batch {
                call.arg(id.as_bytes());
            }
            self.run::<Vec<u8>>(&call).await?;
        }
        Ok(())
    }

    /// Gives a waiting job another envelope.
    ///
    /// # Errors
    /// Redis is away; the ledger's revision tells the worker that its envelope is old.
    pub async fn replace(&self, job: &QueueJob) -> RedisResult<bool> {
        let mut call = on(&self.scripts.replace, job.queue);
        call.arg(job.id.as_bytes()).arg(job.envelope.encode());
        self.run(&call).await
    }

    /// Which of `ids` Redis does not know.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn missing(&self, queue: QueueName, ids: &[JobId]) -> RedisResult<Vec<JobId>> {
        let mut missing = Vec::new();
        for batch in ids.chunks(MAX_BATCH) {
            let mut call = on(&self.scripts.missing, queue);
            for id in batch {
                call.arg(id.as_bytes());
            }
            let flags: Vec<u8> = self.run(&call).await?;
            missing.extend(batch.iter().zip(flags).filter(|(_, flag)| *flag == 1).map(|(id, _)| *id));
        }
        Ok(missing)
    }

    pub(super) async fn run<T: redis::FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        call.invoke_async(&mut self.connection.clone()).await
    }
}

/// A queue's wake channel.
pub(super) fn wake_channel(queue: QueueName) -> String {
    format!("mr:{{{queue}}}:wake")
}

/// A key of a queue.
pub(super) fn key(queue: QueueName, name: &str) -> String {
    format!("mr:{{{queue}}}:{name}")
}

pub(super) fn on(script: &Script, queue: QueueName) -> ScriptInvocation<'_> {
    script.key(key(queue, "ctl"))
}

fn claimed(parts: &[Vec<u8>], token: i64) -> Option<Claimed> {
    let [id_and_meta, envelope] = parts else { return None };
    let (id, meta) = id_and_meta.split_at_checked(16)?;
    let id = JobId::try_from(id).ok()?;
    let (priority, org) = Envelope::lane(envelope)?;
    let envelope = Envelope::decode(envelope);
    Some(Claimed { lease: Lease { id, token }, org, priority, meta: Meta::decode(meta), envelope })
}

/// The longest time a script is told: what is added to a clock in µs stays an exact number in Lua (below 2^53).
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

#[expect(clippy::cast_possible_truncation, reason = "bounded by LONGEST")]
fn millis(duration: Duration) -> i64 {
    duration.min(LONGEST).as_millis() as i64
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by LONGEST")]
fn micros(duration: Duration) -> i64 {
    duration.min(LONGEST).as_micros() as i64
}
