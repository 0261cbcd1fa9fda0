//! Jobs and queues as they are told in JSON, and shown as tables: views with their history, in the shape of the HTTP interface.

mod jobs;
mod organisations;
mod queues;
mod schedules;

pub use jobs::{Attempt, AttemptOutcome, ErrorText, Job, JobDetail, Progress, accepted, details, error_of, jobs};
pub use organisations::{OrgLimits, OrgQueueLimits, org_limits};
pub use queues::{Limits, Queue, Ready, queues};
pub use schedules::{Payload, Schedule, ScheduleError};
