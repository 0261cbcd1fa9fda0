-- The ledger: one row per accepted job. "Running", "delayed" and the like are Redis' live view and are not kept here.
-- org_id has no foreign key: it comes from a verified credential, and the check would cost every insert a lock on the tenant's row.
CREATE TABLE jobs (
    id               uuid PRIMARY KEY,
    org_id           uuid NOT NULL,
    kind             text NOT NULL,
    queue            text NOT NULL,
    priority         smallint NOT NULL,
    state            text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'succeeded', 'dead', 'cancelled')),
    payload          jsonb NOT NULL,
    -- Counts replacements of the payload, so that a worker sees that the copy in its envelope is old.
    revision         integer NOT NULL DEFAULT 0,
    -- Attempts used up, and how many there may be; a replay grants as many again as were first asked for.
    attempt          integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL,
    attempt_budget   integer NOT NULL,
    snoozes          integer NOT NULL DEFAULT 0,
    timeout_ms       bigint NOT NULL,
    run_at           timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    unique_key       text,
    -- The job of the same unique key that must end first.
    blocked_by       uuid,
    trace_context    text,
    worker           text,
    progress_percent smallint,
    progress_message text,
    checkpoint       jsonb,
    result           jsonb,
    error            text,
    error_class      text,
    dead_reason      text,
    replays          integer NOT NULL DEFAULT 0,
    discarded_at     timestamptz
);

-- What is still to do, in the order in which it is due: for the reconciler, the oldest age and the rebuild of Redis. A job is queued exactly
-- as long as it has no `finished_at`. The predicate says it that way so that statements on jobs by their ids, which say `state = 'queued'`,
-- can never be planned over this index: with statistics from a time when the queue was empty, Postgres would read all of it for a batch.
ALTER TABLE jobs ADD CONSTRAINT jobs_queued_is_unfinished CHECK ((state = 'queued') = (finished_at IS NULL));
CREATE INDEX jobs_due ON jobs (queue, run_at, id) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_org ON jobs (org_id, id);
CREATE INDEX jobs_dead ON jobs (org_id, id) WHERE state = 'dead' AND discarded_at IS NULL;

CREATE TABLE job_attempts (
    job_id      uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    org_id      uuid NOT NULL,
    attempt     integer NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    outcome     text NOT NULL,
    error       text NOT NULL,
    error_class text NOT NULL,
    worker      text NOT NULL,
    PRIMARY KEY (job_id, attempt)
);

-- Which job holds a unique key, and which one comes after it.
CREATE TABLE job_uniques (
    org_id       uuid NOT NULL,
    kind         text NOT NULL,
    unique_key   text NOT NULL,
    job_id       uuid NOT NULL,
    successor_id uuid,
    PRIMARY KEY (org_id, kind, unique_key)
);
CREATE INDEX job_uniques_by_job ON job_uniques (job_id);

CREATE TABLE idempotency_keys (
    org_id          uuid NOT NULL,
    idempotency_key text NOT NULL,
    request_digest  bytea NOT NULL,
    response        jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE queue_settings (
    queue           text PRIMARY KEY,
    paused          boolean NOT NULL DEFAULT false,
    concurrency     integer CHECK (concurrency > 0),
    org_concurrency integer CHECK (org_concurrency > 0),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

-- What probes with `effect` leave behind. No unique constraint: a duplicate is to be seen, not prevented here.
CREATE TABLE probe_effects (
    job_id     uuid NOT NULL,
    org_id     uuid NOT NULL,
    attempt    integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX probe_effects_by_job ON probe_effects (job_id);
