//! The API as its clients see it: a real API, a real worker, a real Redis and a real Postgres.

mod assets;
mod auth;
mod bad_input;
mod batch;
mod description;
mod idempotency;
mod limits;
mod lists;
mod ocr;
mod outages;
mod parts;
mod reprocess;
mod schedules;
mod search;
mod strays;
mod tenancy;
mod ticks;
mod uploads;
mod webhook_promises;
mod webhook_queries;
mod webhook_sources;
mod webhooks;
