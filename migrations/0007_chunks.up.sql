-- Where a chunk stands in its document, and documents that are processed again without losing what they have.
ALTER TABLE asset_chunks
    -- Titles of the headings it stands under, the outermost first.
    ADD COLUMN headings text[] NOT NULL DEFAULT '{}';

ALTER TABLE assets
    -- Counts up whenever text and chunks are replaced, so that who reads them in several requests can tell.
    ADD COLUMN revision                integer NOT NULL DEFAULT 0 CHECK (revision >= 0),
    -- Why the last attempt to process it again failed, whose text and chunks are those of before.
    ADD COLUMN reprocess_error_code    text,
    ADD COLUMN reprocess_error_message text,
    ADD CONSTRAINT assets_reprocess_error_is_whole CHECK ((reprocess_error_code IS NULL) = (reprocess_error_message IS NULL));

-- An asset that is counted has text, whatever became of the jobs after the one that found it.
UPDATE assets
SET revision = 1,
    state = 'ready',
    reprocess_error_code = error_code,
    reprocess_error_message = error_message,
    error_code = NULL,
    error_message = NULL
WHERE pages IS NOT NULL;
