-- Documents that are fetched by their URL.
--
-- Until the first fetch has succeeded nothing is known of the bytes. Uploads keep the constraint assets_org_sha256, which processes of
-- the version before name in their statements: so the hash of what was fetched has a column of its own, and the same bytes by two
-- addresses are two assets.
ALTER TABLE assets
    ALTER COLUMN media_type DROP NOT NULL,
    ALTER COLUMN size_bytes DROP NOT NULL,
    ALTER COLUMN sha256 DROP NOT NULL,
    ALTER COLUMN storage_key DROP NOT NULL,
    ADD COLUMN source_url     text  CHECK (octet_length(source_url) <= 2048),
    ADD COLUMN fetched_sha256 bytea CHECK (octet_length(fetched_sha256) = 32),
    -- The last hop of the fetch that gave these bytes: what the two below belong to.
    ADD COLUMN fetched_url    text,
    ADD COLUMN etag           text,
    ADD COLUMN last_modified  text,
    -- When the source last told that these bytes are its current ones.
    ADD COLUMN fetched_at     timestamptz,
    ADD CONSTRAINT assets_upload_is_whole CHECK (
        source_url IS NOT NULL
        OR (num_nulls(media_type, size_bytes, sha256, storage_key) = 0
            AND num_nonnulls(fetched_sha256, fetched_url, etag, last_modified, fetched_at) = 0)
    ),
    ADD CONSTRAINT assets_fetched_is_whole CHECK (
        source_url IS NULL
        OR (sha256 IS NULL AND num_nulls(media_type, size_bytes, fetched_sha256, storage_key, fetched_at) IN (0, 5))
    ),
    ADD CONSTRAINT assets_ready_has_content CHECK (state <> 'ready' OR storage_key IS NOT NULL),
    -- The same address twice in one organisation is one asset.
    ADD CONSTRAINT assets_org_source_url UNIQUE (org_id, source_url);

-- Objects that nobody names, or that may turn out so: what a job is about to store, until its end names it, and what was replaced.
-- Whatever dies in between, they are deleted when they are due.
CREATE TABLE stray_objects (
    storage_key text        PRIMARY KEY,
    org_id      uuid        NOT NULL,
    due_at      timestamptz NOT NULL
);

CREATE INDEX stray_objects_due ON stray_objects (due_at);
