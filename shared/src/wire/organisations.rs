use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{db::org_settings, ids::OrgId, jobs::QueueName, queue::OrgSettings};

/// What holds for an organisation and not for everybody. What is null is everybody's: a weight of 1, and the queue's limits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "org_id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "weight": 3, "concurrency": null,
    "queues": [{ "queue": "asset", "weight": null, "concurrency": 20 }]
}))]
pub struct OrgLimits {
    /// The organisation.
    #[schema(value_type = uuid::Uuid)]
    pub org_id: OrgId,
    /// How many shares of the workers it gets where others get one.
    pub weight: Option<u16>,
    /// How many of its jobs may run at once in each queue, instead of the queue's limit for each organisation.
    pub concurrency: Option<u32>,
    /// What was set for single queues, which goes before what holds for all.
    pub queues: Vec<OrgQueueLimits>,
}

/// What holds for an organisation in one queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct OrgQueueLimits {
    /// The queue.
    #[schema(value_type = String, example = "asset")]
    pub queue: QueueName,
    /// How many shares of the workers it gets there.
    pub weight: Option<u16>,
    /// How many of its jobs may run at once there.
    pub concurrency: Option<u32>,
}

/// What is set for an organisation.
///
/// # Errors
/// Those of the database.
pub async fn org_limits(connection: &mut PgConnection, org: OrgId) -> sqlx::Result<OrgLimits> {
    let made = org_settings::list(connection, Some(org)).await?;
    let everywhere = made.iter().find(|one| one.queue.is_none()).map_or_else(OrgSettings::default, |one| one.settings);
    let single = |one: &org_settings::OrgSetting| {
        let OrgSettings { weight, concurrency } = one.settings;
        Some(OrgQueueLimits { queue: one.queue?, weight, concurrency })
    };
    Ok(OrgLimits {
        org_id: org,
        weight: everywhere.weight,
        concurrency: everywhere.concurrency,
        queues: made.iter().filter_map(single).collect(),
    })
}
