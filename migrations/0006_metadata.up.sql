-- What a document states of itself.
ALTER TABLE assets
    ADD COLUMN author               text,
    -- When the document was made and last changed, by its own account.
    ADD COLUMN document_created_at  timestamptz,
    ADD COLUMN document_modified_at timestamptz,
    -- A language subtag of BCP 47.
    ADD COLUMN language             text CHECK (language ~ '^[a-z]{2,3}$');
