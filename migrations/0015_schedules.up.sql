-- Schedules: jobs that are submitted again and again, each time that was asked for once.
CREATE TABLE schedules (
    id            uuid        PRIMARY KEY,
    org_id        uuid        NOT NULL REFERENCES organisations (id),
    name          text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    kind          text        NOT NULL,
    payload       jsonb       NOT NULL,
    priority      smallint    NOT NULL,
    -- Either an interval, or a cron expression on the clocks of a time zone.
    every_seconds integer     CHECK (every_seconds > 0),
    cron          text,
    time_zone     text,
    -- Whether a tick makes no job while the one before has not ended.
    is_unique     boolean     NOT NULL,
    paused        boolean     NOT NULL DEFAULT false,
    -- The tick that is next, or due. It moves in the transaction that submits the tick's job.
    next_run_at   timestamptz NOT NULL,
    last_run_at   timestamptz,
    last_job_id   uuid,
    -- What became of the ticks: jobs made, left out because the job before had not ended, and passed while no worker was there.
    fired         bigint      NOT NULL DEFAULT 0,
    skipped       bigint      NOT NULL DEFAULT 0,
    missed        bigint      NOT NULL DEFAULT 0,
    -- Why the last tick made no job, until one does.
    error_class   text,
    error         text,
    failed_at     timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedules_has_one_timing CHECK ((every_seconds IS NULL) <> (cron IS NULL)),
    CONSTRAINT schedules_cron_has_a_zone CHECK ((cron IS NULL) = (time_zone IS NULL))
);
CREATE INDEX schedules_list ON schedules (org_id, id DESC);
CREATE INDEX schedules_due ON schedules (next_run_at, id) WHERE NOT paused;
