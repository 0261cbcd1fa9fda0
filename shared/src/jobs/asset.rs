//! `asset.process`: turn an uploaded document into text and chunks.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobPayload, Policy, QUEUES, QueueName};
use crate::ids::AssetId;

/// Which asset to process. Uploading submits it; submitting it again processes the asset again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetProcess {
    /// The asset, which must belong to the organisation that submits.
    pub asset_id: AssetId,
}

impl JobPayload for AssetProcess {
    const KIND: &'static str = "asset.process";
    const QUEUE: QueueName = QUEUES[0];
    const DESCRIPTION: &'static str = "Extracts an uploaded document's text and cuts it into chunks.";
    const POLICY: Policy = Policy { timeout: Duration::from_secs(300), max_attempts: 5, ..Policy::DEFAULT };

    /// One job an asset at a time: two would do the same work on the same rows.
    fn unique_by(&self) -> Option<String> {
        Some(self.asset_id.to_string())
    }
}
