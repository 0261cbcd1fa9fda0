use millrace_shared::jobs::{FieldError, QueueName};
use millrace_shared::queue::{MAX_WEIGHT, OrgSettings};
use serde::Deserialize;
use utoipa::ToSchema;

use super::queue::concurrency;

/// What is to hold for an organisation and not for everybody. Absent or null means: as for everybody.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "queue": "asset", "weight": 3, "concurrency": 20 }))]
pub struct OrgLimitsBody {
    /// Where; absent or null: in all queues for which nothing else was set.
    #[serde(default)]
    pub queue: Option<String>,
    /// How many shares of the workers it gets where others get one.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000)]
    pub weight: Option<u32>,
    /// How many of its jobs may run at once in a queue, instead of the queue's limit for each organisation.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub concurrency: Option<u32>,
}

impl OrgLimitsBody {
    /// The settings and where they hold.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(&self) -> Result<(Option<QueueName>, OrgSettings), Vec<FieldError>> {
        let mut wrong = Vec::new();
        let queue = self.queue.as_ref().and_then(|queue| {
            queue.parse::<QueueName>().map_err(|error| wrong.push(FieldError::new("queue", error.to_string()))).ok()
        });
        let weight = self.weight.and_then(|weight| u16::try_from(weight).ok());
        if self.weight.is_some() && !weight.is_some_and(|weight| (1..=MAX_WEIGHT).contains(&weight)) {
            wrong.push(FieldError::new("weight", format!("must be from 1 to {MAX_WEIGHT}, or null for everybody's 1")));
        }
        wrong.extend(concurrency("concurrency", self.concurrency));
        if wrong.is_empty() { Ok((queue, OrgSettings { weight, concurrency: self.concurrency })) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::MAX_CONCURRENCY;
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let body =
            OrgLimitsBody { queue: Some("mail".into()), weight: Some(0), concurrency: Some(MAX_CONCURRENCY + 1) };
        let fields: Vec<String> =
            body.check().expect_err("all are wrong").into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["queue", "weight", "concurrency"]);
    }
}
