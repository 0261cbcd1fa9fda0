//! An account with a vendor: its records, tokens, limits and troubles, all behind one lock. What a request does, it does at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dice::Dice;
use crate::faults::Faults;
use crate::mutate::Waiting;
use crate::oauth::{OAuth, OAuthClient};
use crate::provider::{Object, Provider};
use crate::rate::Window;
use crate::rows::Store;
use crate::seed::{self, Seed};
use crate::stats::Counters;
use crate::switches::Switches;
use crate::webhooks::Receivers;

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) provider: Provider,
    state: Mutex<State>,
}

/// All that there is of an account.
#[derive(Debug)]
pub(crate) struct State {
    /// The name by which it is reached now.
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) oauth: OAuth,
    pub(crate) switches: Switches,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) waiting: Vec<Waiting>,
    /// What mutations in the middle of scans have done.
    pub(crate) applied: Vec<Value>,
    pub(crate) dice: Dice,
    pub(crate) limits: Limits,
    pub(crate) receivers: Receivers,
    /// Salesforce's query locators: which records of which kind a query found.
    pub(crate) locators: HashMap<String, crate::salesforce::Located>,
}

/// What counts against the vendor's limits.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// By whom they are counted for.
    pub(crate) windows: HashMap<String, Window>,
    pub(crate) searches: HashMap<String, Window>,
    pub(crate) refusals: Window,
    pub(crate) blocked_until: Option<Instant>,
    /// Requests of this day, and when it began.
    pub(crate) day: (i64, u64),
}

impl Limits {
    /// Counts a request of the day; gives how many there were, with it.
    pub(crate) fn count_day(&mut self, now_ms: i64) -> u64 {
        let today = now_ms.div_euclid(86_400_000);
        if self.day.0 != today {
            self.day = (today, 0);
        }
        self.day.1 += 1;
        self.day.1
    }

    /// Lets a request into the window of `whom`.
    pub(crate) fn admit(&mut self, whom: &str, switches: &Switches) -> bool {
        let window = self.windows.entry(whom.to_owned()).or_default();
        window.admit(Instant::now(), switches.requests, Duration::from_millis(switches.window_ms))
    }
}

/// What an account is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSpec {
    /// Access tokens that never end: long-lived tokens, those of private apps, Pipedrive's API tokens.
    pub tokens: Vec<String>,
    /// The application that may ask for access.
    pub oauth: OAuthClient,
    /// What the account begins with.
    pub seed: Seed,
    /// What the records are made from: the same number, the same records.
    pub seed_number: u64,
    /// Those that differ from the vendor's defaults, by name.
    pub switches: Map<String, Value>,
}

impl Account {
    /// A new account.
    ///
    /// # Errors
    /// When a switch is none, or its value is none of its.
    pub(crate) fn new(provider: Provider, name: &str, spec: AccountSpec) -> Result<Self, serde_json::Error> {
        let switches = Switches::of(provider).with(&spec.switches)?;
        let mut store = Store::new(provider, account_number(provider, name));
        seed::fill(&mut store, &spec.seed, spec.seed_number);
        let state = State {
            name: name.to_owned(),
            store,
            oauth: OAuth::new(spec.oauth, spec.tokens),
            switches,
            faults: Faults::new(spec.seed_number),
            counters: Counters::default(),
            waiting: Vec::new(),
            applied: Vec::new(),
            dice: Dice::new(spec.seed_number ^ 0x5bd1_e995),
            limits: Limits::default(),
            receivers: Receivers::default(),
            locators: HashMap::new(),
        };
        Ok(Self { provider, state: Mutex::new(state) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes that records were given out.
    pub(crate) fn served(&mut self, object: Object, ids: &[u64]) {
        self.counters.stats.rows_served += ids.len() as u64;
        self.store.table_mut(object).mark_served(ids.iter().copied());
    }
}

/// A number that a name always has.
fn account_number(provider: Provider, name: &str) -> u64 {
    let mixed = name.bytes().fold(provider.name().len() as u64, |sum, byte| {
        Dice::new(sum.wrapping_mul(257).wrapping_add(u64::from(byte))).next()
    });
    10_000_000 + mixed % 80_000_000
}
