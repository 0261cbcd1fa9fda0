//! What holds for single organisations of a queue: weights, and limits of their own. Redis' copy of the ledger's settings.
//!
//! Every change in the ledger has a version, and Redis remembers up to which one it has taken them in. A change reaches it only on top of
//! the version that it follows, so that of two programs that bring changes at once none can undo the other's.

use redis::RedisResult;

use super::{
    Queues,
    client::{key, on},
};
use crate::{ids::OrgId, jobs::QueueName};

/// The largest weight of an organisation. The smallest, and everybody's unless set, is 1.
pub const MAX_WEIGHT: u16 = 1_000;

/// What is set for an organisation. What is not set is everybody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OrgSettings {
    /// How many shares of a claim it gets where others get one.
    pub weight: Option<u16>,
    /// How many of its jobs may run at once in a queue, instead of the queue's limit for each organisation.
    pub concurrency: Option<u32>,
}

/// An organisation's settings in one queue, as the ledger had them at a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrgTerms {
    /// The organisation.
    pub org: OrgId,
    /// What holds for it.
    pub settings: OrgSettings,
    /// The version of the change that made it so.
    pub version: i64,
}

impl OrgSettings {
    /// What is set here, and where nothing is, what is set there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { weight: self.weight.or(other.weight), concurrency: self.concurrency.or(other.concurrency) }
    }

    fn encode(self) -> String {
        if self == Self::default() {
            return String::new();
        }
        let concurrency = self.concurrency.map_or_else(String::new, |limit| limit.to_string());
        format!("{},{concurrency}", self.weight.unwrap_or(1))
    }
}

impl Queues {
    /// Up to which version Redis has the settings of organisations; `None` where it has none.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn organisations_version(&self, queue: QueueName) -> RedisResult<Option<i64>> {
        let mut command = redis::cmd("HGET");
        command.arg(key(queue, "ctl")).arg("own_version");
        command.query_async(&mut self.connection.clone()).await
    }

    /// Brings changed settings of organisations, at most [`super::MAX_BATCH`], to a Redis that has them up to `expected` (`None`: it has
    /// none, or what it has is to be forgotten if `forget` names a version). Gives whether that is so; if not, nothing was changed.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn apply_organisations(
        &self,
        queue: QueueName,
        known: Option<i64>,
        version: i64,
        terms: &[OrgTerms],
    ) -> RedisResult<bool> {
        let mut call = on(&self.scripts.organisations, queue);
        // A version that the ledger never gave comes from another ledger, or from this one before it was restored.
        let forget = known.is_none_or(|known| known > version);
        call.arg(known.map_or_else(String::new, |known| known.to_string())).arg(version);
        call.arg(if forget { "1" } else { "" });
        for one in terms {
            call.arg(one.org.as_bytes()).arg(one.settings.encode());
        }
        self.run(&call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_a_queue_goes_before_what_is_set_for_all() {
        let all = OrgSettings { weight: Some(3), concurrency: Some(10) };
        let one = OrgSettings { weight: None, concurrency: Some(2) };
        assert_eq!(one.or(all), OrgSettings { weight: Some(3), concurrency: Some(2) });
        assert_eq!(OrgSettings::default().or(all), all);
    }

    #[test]
    fn nothing_is_written_for_who_has_nothing_of_its_own() {
        assert_eq!(OrgSettings::default().encode(), "");
        assert_eq!(OrgSettings { weight: Some(3), concurrency: None }.encode(), "3,");
        assert_eq!(OrgSettings { weight: None, concurrency: Some(7) }.encode(), "1,7");
    }
}
