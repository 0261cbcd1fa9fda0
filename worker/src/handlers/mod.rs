//! The handlers of all job kinds.

mod asset;
mod asset_parts;
mod asset_source;
mod crm;
mod probe;
mod webhook;

use std::sync::Arc;

use millrace_shared::{
    config::WorkerConfig,
    jobs::{KindSet, Kinds},
};

use crate::{crm::Clients, handler::Handlers};

/// The registry. A new kind's handler is one line here.
///
/// # Errors
/// Where a handler cannot be set up.
pub(crate) fn all(set: KindSet, config: &WorkerConfig) -> anyhow::Result<Handlers> {
    let kinds = Arc::new(Kinds::new(set));
    let clients = Clients::new(&config.crm, config.common.keyring.clone());
    let handlers = Handlers::default()
        .with(asset::AssetHandler::new(config)?)
        .with(crm::ConnectHandler { clients: Arc::clone(&clients), kinds: Arc::clone(&kinds) })
        .with(crm::PushHandler { clients: Arc::clone(&clients) })
        .with(crm::SyncHandler { clients: Arc::clone(&clients), kinds: Arc::clone(&kinds) })
        .with(crm::SyncRecordHandler { clients: Arc::clone(&clients) })
        .with(webhook::WebhookHandler { clients, kinds });
    Ok(match set {
        KindSet::Work => handlers,
        KindSet::WorkAndProbe => handlers.with(probe::ProbeHandler).with(probe::PacedProbeHandler),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_shared::{config::Source, jobs::Kinds};

    use super::*;

    #[test]
    fn every_kind_has_a_handler_and_every_handler_a_kind() {
        let source = [("DATABASE_URL", "postgres://localhost/none"), ("REDIS_URL", "redis://localhost")];
        let config = WorkerConfig::load(&Source::from_iter(source)).expect("a minimal configuration loads");
        for set in [KindSet::Work, KindSet::WorkAndProbe] {
            let kinds: BTreeSet<_> = Kinds::new(set).iter().map(|kind| kind.name).collect();
            let handlers = all(set, &config).expect("handlers can be set up");
            assert_eq!(handlers.kinds().collect::<BTreeSet<_>>(), kinds);
        }
    }
}
