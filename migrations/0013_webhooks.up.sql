-- Webhooks: who may send them, and what came.

CREATE TABLE webhook_sources (
    id                uuid        PRIMARY KEY,
    org_id            uuid        NOT NULL REFERENCES organisations (id),
    name              text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    -- How a delivery is verified (shared/src/webhook).
    scheme            jsonb       NOT NULL,
    -- The kind of job that each delivery becomes, its body being the payload.
    kind              text        NOT NULL,
    -- How far the signed time may be from ours, either way.
    tolerance_seconds integer     NOT NULL CHECK (tolerance_seconds BETWEEN 1 AND 86400),
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_sources_org_id UNIQUE (org_id, id)
);
CREATE INDEX webhook_sources_list ON webhook_sources (org_id, id DESC);

-- The secrets of a source: one, or two while one replaces the other. Sealed (shared/src/seal.rs).
CREATE TABLE webhook_secrets (
    id          uuid        PRIMARY KEY,
    org_id      uuid        NOT NULL,
    source_id   uuid        NOT NULL,
    sealed      bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- From then on it verifies nothing. Without it: until it is replaced.
    valid_until timestamptz,
    FOREIGN KEY (org_id, source_id) REFERENCES webhook_sources (org_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_secrets_source ON webhook_secrets (org_id, source_id, id DESC);

-- What came and was verified. The row outlives the body, so that what comes again is known.
CREATE TABLE webhook_events (
    id           uuid        PRIMARY KEY,
    org_id       uuid        NOT NULL,
    source_id    uuid        NOT NULL,
    -- The same for deliveries that are the same.
    fingerprint  bytea       NOT NULL CHECK (octet_length(fingerprint) = 32),
    received_at  timestamptz NOT NULL DEFAULT now(),
    content_type text,
    -- As it came, until its job has ended well.
    body         bytea,
    job_id       uuid        NOT NULL,
    CONSTRAINT webhook_events_once UNIQUE (source_id, fingerprint),
    FOREIGN KEY (org_id, source_id) REFERENCES webhook_sources (org_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_events_age ON webhook_events (received_at);
