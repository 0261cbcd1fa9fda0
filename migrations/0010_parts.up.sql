-- Documents within documents: attachments of mail, members of archives.

ALTER TABLE assets
    -- Whether somebody sent it for itself. Otherwise it is there as a part of others, and goes with the last of them.
    ADD COLUMN uploaded boolean  NOT NULL DEFAULT true,
    -- How deep it lay in what was uploaded, where it was first found: 0 for what was uploaded itself.
    ADD COLUMN depth    smallint NOT NULL DEFAULT 0 CHECK (depth >= 0),
    -- The upload that it was first found in, whatever has become of it: all that is unpacked from one upload is counted together.
    ADD COLUMN root_id  uuid,
    ADD CONSTRAINT assets_part_has_root CHECK (uploaded OR (root_id IS NOT NULL AND depth > 0));

CREATE INDEX assets_root ON assets (org_id, root_id) WHERE root_id IS NOT NULL;

-- What a document holds, in order.
CREATE TABLE asset_parts (
    org_id     uuid    NOT NULL,
    parent_id  uuid    NOT NULL,
    ordinal    integer NOT NULL CHECK (ordinal >= 0),
    -- A label; nothing is ever built from it.
    name       text    NOT NULL CHECK (char_length(name) <= 255),
    -- Told from the bytes, where they were read.
    media_type text,
    -- As its container states it, where its bytes were not read.
    size_bytes bigint  CHECK (size_bytes >= 0),
    -- The asset that has its bytes. Without one the reason says why there is none; without that, it was deleted.
    child_id   uuid,
    reason     text,
    PRIMARY KEY (org_id, parent_id, ordinal),
    CONSTRAINT asset_parts_one_of CHECK (child_id IS NULL OR reason IS NULL),
    FOREIGN KEY (org_id, parent_id) REFERENCES assets (org_id, id) ON DELETE CASCADE,
    -- With the organisation in it, this would set that to null, too; naming columns takes Postgres 15.
    FOREIGN KEY (child_id) REFERENCES assets (id) ON DELETE SET NULL,
    -- Proves that the organisation is the child's: at the commit, when the key above has let a deleted one go.
    FOREIGN KEY (org_id, child_id) REFERENCES assets (org_id, id) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX asset_parts_child ON asset_parts (child_id) WHERE child_id IS NOT NULL;
