-- The version before cannot hold these documents. Their objects stay in the store.
DROP TABLE stray_objects;
DELETE FROM assets WHERE source_url IS NOT NULL;
ALTER TABLE assets
    DROP CONSTRAINT assets_org_source_url,
    DROP CONSTRAINT assets_ready_has_content,
    DROP CONSTRAINT assets_fetched_is_whole,
    DROP CONSTRAINT assets_upload_is_whole,
    DROP COLUMN fetched_at,
    DROP COLUMN last_modified,
    DROP COLUMN etag,
    DROP COLUMN fetched_url,
    DROP COLUMN fetched_sha256,
    DROP COLUMN source_url,
    ALTER COLUMN storage_key SET NOT NULL,
    ALTER COLUMN sha256 SET NOT NULL,
    ALTER COLUMN size_bytes SET NOT NULL,
    ALTER COLUMN media_type SET NOT NULL;
