-- Tenants, and the keys by which their programs identify themselves.

CREATE TABLE organisations (
    id         uuid        PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id           uuid        PRIMARY KEY,
    org_id       uuid        NOT NULL REFERENCES organisations (id),
    role         text        NOT NULL CHECK (role IN ('submitter', 'operator', 'admin')),
    label        text        NOT NULL CHECK (char_length(label) <= 200),
    -- SHA-256 of the key; the key itself is shown once and never stored.
    hash         bytea       NOT NULL CHECK (octet_length(hash) = 32),
    -- The key's first characters, by which people tell their keys apart.
    prefix       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- To the minute: it is not written on every request.
    last_used_at timestamptz,
    revoked_at   timestamptz
);

CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_org ON api_keys (org_id, id);
