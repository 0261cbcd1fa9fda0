-- What an organisation gets that others do not: its weight in the queues' turns, and a limit of its own instead of the queues'.
CREATE TABLE org_settings (
    org_id      uuid        NOT NULL REFERENCES organisations (id),
    -- '' stands for all queues, because a column of the primary key takes no NULL; what is set for one queue goes before it.
    queue       text        NOT NULL DEFAULT '',
    weight      smallint    CHECK (weight BETWEEN 1 AND 1000),
    concurrency integer     CHECK (concurrency > 0),
    -- Counts the changes of the whole table, so that Redis can be brought those since the last. A row is never deleted: one without any
    -- value tells that nothing holds any more.
    version     bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, queue)
);
CREATE UNIQUE INDEX org_settings_version ON org_settings (version);

-- So many jobs may begin in so many milliseconds: of the whole queue, and of each organisation.
ALTER TABLE queue_settings
    ADD COLUMN rate_count         integer CHECK (rate_count > 0),
    ADD COLUMN rate_period_ms     bigint  CHECK (rate_period_ms > 0),
    ADD COLUMN org_rate_count     integer CHECK (org_rate_count > 0),
    ADD COLUMN org_rate_period_ms bigint  CHECK (org_rate_period_ms > 0),
    ADD CONSTRAINT queue_settings_rate_is_whole CHECK ((rate_count IS NULL) = (rate_period_ms IS NULL)),
    ADD CONSTRAINT queue_settings_org_rate_is_whole CHECK ((org_rate_count IS NULL) = (org_rate_period_ms IS NULL));
