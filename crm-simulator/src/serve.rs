//! From a request to what is sent: limits first, then faults, then the vendor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::account::{Account, Limits, State};
use crate::exchange::{Content, Reply, Request};
use crate::faults::{FaultKind, drift};
use crate::provider::Provider;
use crate::switches::RateScope;
use crate::vendor;
use crate::world::{Owner, World};

/// What happens to the connection.
#[derive(Debug)]
pub(crate) enum Sent {
    Whole(Reply),
    Drip {
        reply: Reply,
        bytes: usize,
        pause: Duration,
    },
    /// The headers promise the whole body, and so much of it comes.
    Broken {
        reply: Reply,
        keep: usize,
    },
    Reset,
}

/// What a vendor's code gets beside the account.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) now_ms: i64,
    /// Where the account is reached from outside: scheme, host and what stands before the vendor's path.
    pub(crate) base: String,
}

/// Answers a request.
pub(crate) async fn answer(world: &World, mut request: Request) -> Sent {
    let account = match world.route(&mut request) {
        Owner::Account(account) => account,
        Owner::Moved(account) => return Sent::Whole(vendor::moved(&account.lock())),
        Owner::Nobody(provider) => return Sent::Whole(vendor::nobody(provider, &request)),
        Owner::NoVendor => return Sent::Whole(Reply::empty(404)),
    };
    let _refreshing = Refreshing::begin(&account, &request);
    let _under_way = UnderWay(Arc::clone(&account));
    let begun = begin(world, &account, &request);
    if !begun.delay.is_zero() {
        tokio::time::sleep(begun.delay).await;
    }
    let sent = finish(world, &account, &request, begun);
    let outcome = match &sent {
        Sent::Whole(reply) | Sent::Drip { reply, .. } | Sent::Broken { reply, .. } => reply.status.to_string(),
        Sent::Reset => "reset".to_owned(),
    };
    account.lock().counters.answered(request.method.as_str(), &request.path, outcome);
    sent
}

/// A request that is under way, until its reply is ready or the client has gone.
struct UnderWay(Arc<Account>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().counters.under_way -= 1;
    }
}

/// A refresh that is under way, until its reply is ready or the client has gone.
struct Refreshing(Arc<Account>);

impl Refreshing {
    fn begin(account: &Arc<Account>, request: &Request) -> Option<Self> {
        let is_refresh = vendor::is_token_path(account.provider, &request.path)
            && request.body.windows(13).any(|part| part == b"refresh_token");
        is_refresh.then(|| {
            account.lock().counters.refresh_began();
            Self(Arc::clone(account))
        })
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.lock().counters.refreshing -= 1;
    }
}

#[derive(Default)]
struct Begun {
    delay: Duration,
    /// What is answered without asking the vendor.
    instead: Option<Sent>,
    /// What happens to the vendor's answer.
    then: Vec<FaultKind>,
}

fn begin(world: &World, account: &Account, request: &Request) -> Begun {
    let now_ms = world.clock.now_ms();
    let mut state = account.lock();
    let state = &mut *state;
    state.counters.arrived();
    let is_api =
        !vendor::is_token_path(account.provider, &request.path) && !vendor::is_page(account.provider, &request.path);
    if is_api {
        state.mutate_before_request(now_ms);
        state.publish_changes(now_ms);
    }
    let mut begun = Begun { delay: Duration::from_millis(state.switches.latency_ms), ..Begun::default() };
    if let Some(refusal) = limit(world, state, request, is_api) {
        begun.instead = Some(Sent::Whole(refusal));
        return begun;
    }
    for fault in state.faults.draw(request.method.as_str(), &request.path) {
        match before(state, account.provider, &fault) {
            Before::Delay(delay) => begun.delay += delay,
            Before::Answer(sent) => begun.instead = begun.instead.or(Some(sent)),
            Before::Nothing => {}
            Before::Then => begun.then.push(fault),
        }
    }
    begun
}

enum Before {
    Delay(Duration),
    Answer(Sent),
    Nothing,
    Then,
}

fn before(state: &mut State, provider: Provider, fault: &FaultKind) -> Before {
    let reply = match fault {
        FaultKind::Delay { ms } => return Before::Delay(Duration::from_millis(*ms)),
        FaultKind::Revoke { tokens } => {
            state.oauth.revoke(*tokens);
            return Before::Nothing;
        }
        FaultKind::Reset { carried_out: false } => return Before::Answer(Sent::Reset),
        FaultKind::RateLimit { retry_after_s } => vendor::too_many(provider, *retry_after_s),
        FaultKind::Blocked => vendor::blocked(provider),
        FaultKind::Status { status, carried_out: false, retry_after_s } => {
            with_retry_after(vendor::failure(provider, *status), *retry_after_s)
        }
        FaultKind::InvalidToken => vendor::bad_token(provider),
        FaultKind::InvalidGrant => vendor::invalid_grant(state),
        _ => return Before::Then,
    };
    Before::Answer(Sent::Whole(reply))
}

pub(crate) fn with_retry_after(reply: Reply, retry_after_s: Option<u64>) -> Reply {
    match retry_after_s {
        Some(seconds) => reply.with("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn limit(world: &World, state: &mut State, request: &Request, is_api: bool) -> Option<Reply> {
    if state.switches.rate_scope == RateScope::Address {
        let mut addresses = world.addresses();
        let limits = addresses.entry(request.peer).or_default();
        let refusal = limit_by(limits, state, request, is_api);
        return refusal;
    }
    let mut limits = std::mem::take(&mut state.limits);
    let refusal = limit_by(&mut limits, state, request, is_api);
    state.limits = limits;
    refusal
}

/// Refusals that are repeated within so long are what an address is blocked for.
const PATIENCE: Duration = Duration::from_secs(60);

fn limit_by(limits: &mut Limits, state: &mut State, request: &Request, is_api: bool) -> Option<Reply> {
    let now = Instant::now();
    let provider = state.store.provider;
    if limits.blocked_until.is_some_and(|until| now < until) {
        state.counters.stats.block_refusals += 1;
        return Some(vendor::blocked(provider));
    }
    if !is_api {
        return None;
    }
    let whom = match state.switches.rate_scope {
        RateScope::Token => vendor::token(provider, request).unwrap_or_default().to_owned(),
        RateScope::Account | RateScope::Address => String::new(),
    };
    let refusal = vendor::limit(limits, state, request, &whom)?;
    state.counters.stats.rate_refusals += 1;
    let refusals = limits.refusals.count(now, PATIENCE);
    let after = usize::try_from(state.switches.block_after).unwrap_or(usize::MAX);
    if after > 0 && refusals >= after {
        limits.refusals.clear();
        limits.blocked_until = Some(now + Duration::from_millis(state.switches.block_ms));
    }
    Some(with_retry_after(refusal, state.switches.retry_after_s))
}

fn finish(world: &World, account: &Account, request: &Request, begun: Begun) -> Sent {
    if let Some(sent) = begun.instead {
        return sent;
    }
    let now_ms = world.clock.now_ms();
    let mut reply = {
        let mut state = account.lock();
        let host = request.header("host").unwrap_or("127.0.0.1");
        let base = match account.provider {
            Provider::Hubspot => format!("http://{host}/hubspot"),
            provider => format!("http://{host}/{}/{}", provider.name(), state.name),
        };
        let reply = vendor::answer(&mut state, &Call { request, now_ms, base });
        state.publish_changes(now_ms);
        reply
    };
    let mut sent = None;
    for fault in begun.then {
        match fault {
            FaultKind::SchemaDrift { field, change } => drift(&mut reply, &field, &change),
            FaultKind::Reset { .. } => return Sent::Reset,
            FaultKind::Status { status, retry_after_s, .. } => {
                reply = with_retry_after(vendor::failure(account.provider, status), retry_after_s);
            }
            FaultKind::EmptyBody => reply.content = Content::Empty,
            FaultKind::Html { status } => reply = Reply::html(status),
            FaultKind::Truncate { keep_bytes, abrupt: true } => sent = Some((Some(keep_bytes), 0, 0)),
            FaultKind::Truncate { keep_bytes, abrupt: false } => {
                let mut bytes = reply.bytes();
                bytes.truncate(keep_bytes);
                reply.content = Content::Raw(bytes);
            }
            FaultKind::Drip { bytes, pause_ms } => sent = Some((None, bytes, pause_ms)),
            _ => {}
        }
    }
    match sent {
        None => Sent::Whole(reply),
        Some((Some(keep), ..)) => Sent::Broken { reply, keep },
        Some((None, bytes, pause_ms)) => Sent::Drip { reply, bytes, pause: Duration::from_millis(pause_ms) },
    }
}
