-- The extensions stay: others may use them by now.
DROP TABLE search_words;
DROP TRIGGER search_note_words ON asset_chunks;
DROP TRIGGER search_fill ON asset_chunks;
DROP FUNCTION search_note_words(), search_is_word(text), search_copy(uuid), search_fill(), search_next_part(uuid), search_places(uuid, text, integer), search_text(text), search_config(text);
ALTER TABLE asset_chunks DROP COLUMN search, DROP COLUMN search_config;
DROP INDEX assets_search_part, assets_language;
ALTER TABLE assets DROP COLUMN search_part;
