//! Identifiers as types, so that an organisation's id can never be passed where a job's is meant.
//!
//! All are UUIDv7 (RFC 9562): ordered by time of creation, so that they serve as keyset cursors and keep B-tree inserts at the right edge.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type, schemars::JsonSchema,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id, ordered after every id this process made before.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "every call gives another id, which no default should")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes, as Redis keeps them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = uuid::Error;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                Uuid::from_slice(bytes).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A tenant.
    OrgId
);
id!(
    /// An accepted job.
    JobId
);
id!(
    /// An uploaded document.
    AssetId
);
id!(
    /// An API key's record; never the key itself.
    KeyId
);
id!(
    /// A source of webhooks.
    SourceId
);
id!(
    /// A secret of a source; never the secret itself.
    SecretId
);
id!(
    /// A delivery that a source made.
    EventId
);
id!(
    /// A connection to an account in a CRM.
    ConnectionId
);
id!(
    /// Our copy of a record in a CRM.
    RecordId
);
id!(
    /// A change of ours that met one of a CRM's.
    ConflictId
);
id!(
    /// A schedule.
    ScheduleId
);

impl JobId {
    /// The lowest id of a job accepted at `time`, to the millisecond: every id made earlier is below it. The ledger's partitions and whatever
    /// else goes by the time of acceptance are bounded by it. It is no valid UUIDv7 itself, so that nothing can be below it.
    ///
    /// The time in an id is that of the API's host. It decides where a row lies and never what becomes of it: whether a job is due is decided by
    /// `run_at`, and whether it may be forgotten by `finished_at`, which are Postgres' times. So a wrong clock costs nothing but order.
    #[must_use]
    pub fn lowest_at(time: DateTime<Utc>) -> Self {
        // 48 bits of milliseconds since 1970: https://www.rfc-editor.org/rfc/rfc9562#section-5.7
        let millis = u128::try_from(time.timestamp_millis()).unwrap_or(0).min((1 << 48) - 1);
        Self(Uuid::from_u128(millis << 80))
    }

    /// The time that is in it, to the millisecond. Ids made elsewhere than here may hold any.
    #[must_use]
    pub fn time(self) -> DateTime<Utc> {
        let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX);
        DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_at(time: DateTime<Utc>) -> JobId {
        let seconds = u64::try_from(time.timestamp()).unwrap();
        JobId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, time.timestamp_subsec_nanos())))
    }

    #[test]
    fn a_times_lowest_id_is_between_the_ids_before_and_from_it() {
        let time: DateTime<Utc> = "2026-11-21T08:00:00.123Z".parse().unwrap();
        let bound = JobId::lowest_at(time);
        for _ in 0..1_000 {
            assert!(id_at(time - chrono::Duration::milliseconds(1)) < bound);
            assert!(id_at(time) >= bound);
        }
        assert_eq!(bound.to_string(), "01a1fd1e-8c7b-0000-0000-000000000000");
    }

    #[test]
    fn an_id_gives_its_time_back() {
        let time: DateTime<Utc> = "2026-11-21T08:00:00.123Z".parse().unwrap();
        assert_eq!(JobId::lowest_at(time).time(), time);
        assert_eq!(id_at(time).time(), time);
    }

    #[test]
    fn times_that_no_id_can_hold_are_the_ends_of_the_range() {
        assert_eq!(JobId::lowest_at(DateTime::<Utc>::MIN_UTC), JobId(Uuid::nil()));
        let last = JobId::lowest_at(DateTime::<Utc>::MAX_UTC);
        assert!(last > JobId::new());
        assert_eq!(last.time(), DateTime::from_timestamp_millis((1 << 48) - 1).unwrap());
        assert!(JobId(Uuid::max()).time() >= last.time());
    }
}
