-- Connections to accounts in CRMs, and the copy of what is there.

CREATE TABLE connections (
    id              uuid        PRIMARY KEY,
    org_id          uuid        NOT NULL REFERENCES organisations (id),
    provider        text        NOT NULL,
    name            text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    -- The account's part of the provider's addresses, where it has one.
    account         text,
    objects         text[]      NOT NULL,
    -- pending: has proved nothing yet; active: its credentials serve; reauthorize: they have been refused.
    state           text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'active', 'reauthorize')),
    state_reason    text,
    -- How the provider calls the account, once it was asked.
    account_id      text,
    account_name    text,
    -- What becomes of a change of ours where the CRM's record has changed meanwhile.
    conflict_policy text        NOT NULL DEFAULT 'crm_wins'
                    CHECK (conflict_policy IN ('crm_wins', 'local_wins', 'newest_wins', 'manual')),
    -- The circuit breaker: failures in a row; no calls until then; who tries whether it is over has until then.
    failures        integer     NOT NULL DEFAULT 0,
    open_until      timestamptz,
    probe_until     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT connections_org_id UNIQUE (org_id, id)
);
CREATE INDEX connections_list ON connections (org_id, id DESC);

-- What a connection proves itself with, sealed (shared/src/seal.rs). Whoever replaces it holds the row's lock, so that one refresh is under way at a time.
CREATE TABLE connection_credentials (
    id         uuid        PRIMARY KEY,
    org_id     uuid        NOT NULL,
    sealed     bytea       NOT NULL,
    -- Counts replacements.
    generation bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, id) REFERENCES connections (org_id, id) ON DELETE CASCADE
);

-- Numbers reads of CRMs in the order in which they begin: of two reads that say the same of a record's age, the later one is right.
CREATE SEQUENCE crm_reads;

CREATE TABLE crm_records (
    id             uuid        PRIMARY KEY,
    org_id         uuid        NOT NULL,
    connection_id  uuid        NOT NULL,
    object         text        NOT NULL,
    -- As the provider calls it.
    external_id    text        NOT NULL,
    name           text,
    emails         text[]      NOT NULL DEFAULT '{}',
    phones         text[]      NOT NULL DEFAULT '{}',
    company        text,
    amount         numeric,
    currency       text,
    pipeline       text,
    stage          text,
    owner          text,
    crm_created_at timestamptz,
    crm_updated_at timestamptz NOT NULL,
    deleted_at     timestamptz,
    -- [{"object": …, "id": …}]
    associations   jsonb       NOT NULL DEFAULT '[]',
    -- The provider's document.
    raw            jsonb       NOT NULL,
    -- Of all of the above: what has the same one is the same.
    digest         bytea       NOT NULL CHECK (octet_length(digest) = 32),
    read_number    bigint      NOT NULL,
    -- Counts changes of this copy.
    version        integer     NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT crm_records_once UNIQUE (connection_id, object, external_id),
    FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id) ON DELETE CASCADE
);
CREATE INDEX crm_records_list ON crm_records (org_id, connection_id, object, id);
CREATE INDEX crm_records_changed ON crm_records (org_id, connection_id, updated_at, id);
-- What a whole scan has not met is looked for by its age.
CREATE INDEX crm_records_age ON crm_records (connection_id, object, crm_updated_at) WHERE deleted_at IS NULL;

-- What each version of a record changed: {"field": [before, after]}. The first one has no row.
CREATE TABLE crm_changes (
    record_id  uuid        NOT NULL REFERENCES crm_records (id) ON DELETE CASCADE,
    org_id     uuid        NOT NULL,
    version    integer     NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changes    jsonb       NOT NULL,
    PRIMARY KEY (record_id, version)
);

-- Up to when an object has been read, by the provider's clock.
CREATE TABLE crm_watermarks (
    connection_id uuid        NOT NULL,
    org_id        uuid        NOT NULL,
    object        text        NOT NULL,
    read_until    timestamptz NOT NULL,
    -- When all of it was read last, by ours.
    full_at       timestamptz,
    PRIMARY KEY (connection_id, object),
    FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id) ON DELETE CASCADE
);

CREATE TABLE crm_syncs (
    -- That of its job.
    id            uuid        PRIMARY KEY,
    org_id        uuid        NOT NULL,
    connection_id uuid        NOT NULL,
    mode          text        NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    -- {"contacts": {"read": …, "created": …, "updated": …, "deleted": …, "unchanged": …, "stale": …}}
    counts        jsonb       NOT NULL DEFAULT '{}',
    cursor        text,
    error         text,
    FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id) ON DELETE CASCADE
);
CREATE INDEX crm_syncs_list ON crm_syncs (org_id, connection_id, id DESC);

-- Fields that were not what they are known to be. Names and kinds, never values.
CREATE TABLE crm_drift (
    connection_id uuid        NOT NULL,
    org_id        uuid        NOT NULL,
    object        text        NOT NULL,
    field         text        NOT NULL,
    problem       text        NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, object, field, problem),
    FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id) ON DELETE CASCADE
);

-- Changes of ours that met changes of the CRM's, and wait for somebody to say which one stays.
CREATE TABLE crm_conflicts (
    id          uuid        PRIMARY KEY,
    org_id      uuid        NOT NULL,
    record_id   uuid        NOT NULL REFERENCES crm_records (id) ON DELETE CASCADE,
    -- The job that met it.
    job_id      uuid        NOT NULL UNIQUE,
    -- {"field": [as the change knew it, as it is there, as the change has it]}
    fields      jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    -- crm or local
    taken       text        CHECK (taken IN ('crm', 'local')),
    CONSTRAINT crm_conflicts_resolved CHECK ((resolved_at IS NULL) = (taken IS NULL))
);
CREATE INDEX crm_conflicts_list ON crm_conflicts (org_id, id DESC);
CREATE INDEX crm_conflicts_record ON crm_conflicts (record_id);

-- A source may belong to a connection: then its deliveries tell which records to read again.
ALTER TABLE webhook_sources ADD COLUMN connection_id uuid;
ALTER TABLE webhook_sources ADD CONSTRAINT webhook_sources_connection
    FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id) ON DELETE CASCADE;
CREATE INDEX webhook_sources_connection ON webhook_sources (connection_id) WHERE connection_id IS NOT NULL;
