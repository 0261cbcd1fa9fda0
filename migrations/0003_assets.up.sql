-- Uploaded documents, and the text that was found in them.

CREATE TABLE assets (
    id            uuid        PRIMARY KEY,
    org_id        uuid        NOT NULL REFERENCES organisations (id),
    -- A label from the uploader. Nothing is ever built from it.
    name          text        NOT NULL CHECK (char_length(name) <= 255),
    -- Told from the bytes.
    media_type    text        NOT NULL,
    size_bytes    bigint      NOT NULL CHECK (size_bytes > 0),
    sha256        bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    storage_key   text        NOT NULL,
    state         text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'ready', 'failed')),
    -- The job that processes it last. No foreign key: finished jobs are dropped by age, assets are not.
    job_id        uuid        NOT NULL,
    title         text,
    pages         integer     CHECK (pages >= 0),
    words         bigint      CHECK (words >= 0),
    chunks        integer     CHECK (chunks >= 0),
    -- What a reader of the text should know: objects of code, page and message.
    warnings      jsonb       NOT NULL DEFAULT '[]',
    error_code    text,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT assets_ready_is_counted CHECK (state <> 'ready' OR (pages IS NOT NULL AND words IS NOT NULL AND chunks IS NOT NULL)),
    CONSTRAINT assets_failed_has_reason CHECK ((state = 'failed') = (error_code IS NOT NULL AND error_message IS NOT NULL)),
    -- Lets the tables below prove that their organisation is the asset's.
    CONSTRAINT assets_org_id UNIQUE (org_id, id),
    -- The same bytes twice in one organisation are one asset.
    CONSTRAINT assets_org_sha256 UNIQUE (org_id, sha256)
);

-- Text by page, from 1: the pages joined are the whole text. Offsets of chunks count characters of the whole text.
CREATE TABLE asset_texts (
    org_id   uuid    NOT NULL,
    asset_id uuid    NOT NULL,
    page     integer NOT NULL CHECK (page >= 1),
    text     text    NOT NULL,
    PRIMARY KEY (org_id, asset_id, page),
    FOREIGN KEY (org_id, asset_id) REFERENCES assets (org_id, id) ON DELETE CASCADE
);

CREATE TABLE asset_chunks (
    org_id     uuid    NOT NULL,
    asset_id   uuid    NOT NULL,
    ordinal    integer NOT NULL CHECK (ordinal >= 0),
    page       integer NOT NULL CHECK (page >= 1),
    start_char integer NOT NULL CHECK (start_char >= 0),
    end_char   integer NOT NULL CHECK (end_char > start_char),
    text       text    NOT NULL,
    PRIMARY KEY (org_id, asset_id, ordinal),
    FOREIGN KEY (org_id, asset_id) REFERENCES assets (org_id, id) ON DELETE CASCADE
);
