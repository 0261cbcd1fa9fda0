DROP TABLE asset_parts;
DROP INDEX assets_root;
ALTER TABLE assets DROP CONSTRAINT assets_part_has_root, DROP COLUMN root_id, DROP COLUMN depth, DROP COLUMN uploaded;
