COMMENT ON COLUMN assets.root_id IS NULL;
COMMENT ON COLUMN assets.uploaded IS NULL;
COMMENT ON TABLE stray_objects IS NULL;
CREATE INDEX asset_parts_child ON asset_parts (child_id) WHERE child_id IS NOT NULL;
DROP INDEX asset_parts_holders;
ALTER TABLE stray_objects DROP COLUMN failures;
