-- Sweeping goes on past an object that cannot be deleted, and deleting a document does not read who else holds what stays.

ALTER TABLE stray_objects
    -- How often the store refused to delete it: it waits the longer.
    ADD COLUMN failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0);

-- The first holder of a document that has very many is found without reading the others. It does all that the one before did.
CREATE INDEX asset_parts_holders ON asset_parts (child_id, parent_id) WHERE child_id IS NOT NULL;
DROP INDEX asset_parts_child;

-- What these are for has grown since they were made.
COMMENT ON TABLE stray_objects IS
    'Objects that nobody names, or that may turn out so: of an upload on its way, of what a job is about to store (its document, its document''s '
    'parts) until the transaction that names them, and of what was replaced or deleted. Whatever dies in between, they are deleted when they are due.';
COMMENT ON COLUMN assets.uploaded IS
    'Whether somebody sent it, or its URL, for itself. Otherwise it is there as a part of others, and goes with the last of them: when that is '
    'deleted, or is read anew and holds it no more.';
COMMENT ON COLUMN assets.root_id IS
    'The upload that it was first found in, whatever has become of it: all that is unpacked from one upload is counted together. Where that one '
    'holds it no more and another one does, it is counted there.';
