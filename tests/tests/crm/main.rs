//! CRMs: every provider, against a simulator that is a process of its own, ends with a copy that is what is there, field by field.

mod contract;
mod faults;
mod limits;
mod push;
mod secrets;
mod tokens;
mod webhooks;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use millrace_harness::{RunDir, Stack, StackBuilder};
use millrace_tests::crm::{Account, Connected, PROVIDERS, Simulator, crm_stack};
use serde_json::{Value, json};

/// A long-lived token of simulated accounts.
const TOKEN: &str = "planted-token-of-the-account";

/// A simulator and a stack that takes it for the world's CRMs.
struct World {
    stack: Stack,
    simulator: Simulator,
    _dir: RunDir,
}

impl World {
    async fn start() -> Result<Self> {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(change: impl FnOnce(StackBuilder) -> StackBuilder) -> Result<Self> {
        let dir = RunDir::create()?;
        let simulator = Simulator::start(dir.path()).await?;
        let stack = change(crm_stack(&simulator)).start().await?;
        Ok(Self { stack, simulator, _dir: dir })
    }

    /// An account with some of everything, awkward in every way that the simulator knows, without a rate.
    async fn account(&self, provider: &'static str, contacts: u32) -> Result<Account> {
        self.simulator.account(provider, "acme", &account(contacts)).await
    }

    /// The same, connected by its token.
    async fn connected(&self, provider: &'static str, contacts: u32) -> Result<Connected> {
        let account = self.account(provider, contacts).await?;
        Connected::by_token(self.stack.client(), account, TOKEN).await
    }
}

/// Has every provider keep the same contract, side by side on one stack with two workers.
async fn for_every_provider(contract: impl AsyncFn(&World, &'static str) -> Result<()>) -> Result<()> {
    let world = World::start_with(|builder| builder.workers(2)).await?;
    let one = async |provider: &'static str| contract(&world, provider).await.with_context(|| provider.to_owned());
    let all = join_all(PROVIDERS.map(one)).await;
    all.into_iter().collect()
}

fn account(contacts: u32) -> Value {
    json!({
        "tokens": [TOKEN],
        "seed": {
            "contacts": contacts, "companies": contacts / 4, "deals": contacts / 2, "notes": contacts / 4, "tasks": contacts / 4,
            "owners": 5, "burst": contacts / 5,
        },
        "seed_number": 7,
        "switches": { "requests": 0, "searches_per_second": 0 },
    })
}
