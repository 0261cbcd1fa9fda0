ALTER TABLE assets
    DROP COLUMN author, DROP COLUMN document_created_at, DROP COLUMN document_modified_at, DROP COLUMN language;
