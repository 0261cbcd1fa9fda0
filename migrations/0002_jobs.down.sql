DROP TABLE probe_effects;
DROP TABLE queue_settings;
DROP TABLE idempotency_keys;
DROP TABLE job_uniques;
DROP TABLE job_attempts;
DROP TABLE jobs;
