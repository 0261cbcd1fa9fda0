//! The real binary against a real Postgres and a real Redis, both private to each test.

mod basics;
mod dlq;
mod doctor;
mod jobs;
mod keys;
mod orgs;
mod place;
mod queues;
mod schedules;
mod secrets;
