ALTER TABLE assets
    DROP COLUMN revision, DROP COLUMN reprocess_error_code, DROP COLUMN reprocess_error_message;
ALTER TABLE asset_chunks DROP COLUMN headings;
