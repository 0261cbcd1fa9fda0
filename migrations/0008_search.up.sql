-- Search over chunks: words by `tsvector`, and the words that exist by trigrams, for what was mistyped. docs/search.md says what is promised.
--
-- Both extensions come with Postgres and are trusted: who may create tables in the database may create them.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- The text search configuration for a language subtag of BCP 47: those that Postgres 14 has. `simple` takes words as they are.
CREATE FUNCTION search_config(language text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE language
        WHEN 'ar' THEN 'arabic' WHEN 'hy' THEN 'armenian' WHEN 'eu' THEN 'basque' WHEN 'ca' THEN 'catalan' WHEN 'da' THEN 'danish'
        WHEN 'nl' THEN 'dutch' WHEN 'en' THEN 'english' WHEN 'fi' THEN 'finnish' WHEN 'fr' THEN 'french' WHEN 'de' THEN 'german'
        WHEN 'el' THEN 'greek' WHEN 'hi' THEN 'hindi' WHEN 'hu' THEN 'hungarian' WHEN 'id' THEN 'indonesian' WHEN 'ga' THEN 'irish'
        WHEN 'it' THEN 'italian' WHEN 'lt' THEN 'lithuanian' WHEN 'ne' THEN 'nepali' WHEN 'nb' THEN 'norwegian' WHEN 'nn' THEN 'norwegian'
        WHEN 'no' THEN 'norwegian' WHEN 'pt' THEN 'portuguese' WHEN 'ro' THEN 'romanian' WHEN 'ru' THEN 'russian' WHEN 'sr' THEN 'serbian'
        WHEN 'es' THEN 'spanish' WHEN 'sv' THEN 'swedish' WHEN 'ta' THEN 'tamil' WHEN 'tr' THEN 'turkish' WHEN 'yi' THEN 'yiddish'
        ELSE 'simple'
    END
$$;

-- A text as it is cut into words. Chinese characters, kana and hangul are words of their own (a U+0003 behind each parts them), because their
-- scripts do not part words, or not where a searcher would; a query of several then is a phrase. U+0001 to U+0003 of the text itself become
-- blanks: they are markers here, and in highlighted text; and so do < and >, between which Postgres would take words for a tag's and leave
-- them out. Each character stays one, so that offsets can be told.
CREATE FUNCTION search_text(text text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(text) = length(text) THEN translate(text, E'\x01\x02\x03<>', '     ')
        ELSE regexp_replace(translate(text, E'\x01\x02\x03<>', '     '),
            '([\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff])', E'\\1\x03', 'g')
    END
$$;

-- Words that nobody can type and every vector has: whose chunk it is, by which configuration it was read, and in which part of the organisation's
-- assets it lies. So one index finds a word among an organisation's chunks alone, and each chunk by a query in its own language.
--
-- Parts hold about 16,000 chunks each, by the time at which assets were first ready, and eight of them are a group. A search counts what it finds in
-- the newest parts, then in the newest groups, and takes all chunks only where these have not enough: so a word that stands everywhere costs no
-- more than one that stands in few chunks.
CREATE FUNCTION search_places(org uuid, config text, part integer) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[E'\x01' || org || ':' || config, E'\x01' || org || ':' || config || ':' || part,
                 E'\x01' || org || ':' || config || ':g' || part / 8]
$$;

ALTER TABLE assets ADD COLUMN search_part integer;
CREATE INDEX assets_search_part ON assets (org_id, search_part);
CREATE INDEX assets_language ON assets (org_id, language);

ALTER TABLE asset_chunks ADD COLUMN search_config text, ADD COLUMN search tsvector;
-- Beside the row where it can be: ranking reads it of up to a thousand chunks.
ALTER TABLE asset_chunks ALTER COLUMN search SET STORAGE MAIN;

-- The part that an asset which is ready now goes to. No lock: two at once may put more into a part than is meant, which does no harm.
CREATE FUNCTION search_next_part(org uuid) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT COALESCE(newest.part + CASE WHEN (SELECT sum(chunks) FROM assets WHERE org_id = org AND search_part = newest.part) >= 16384
                                       THEN 1 ELSE 0 END, 0)
    FROM (SELECT max(search_part) AS part FROM assets WHERE org_id = org) AS newest
$$;

-- A trigger, because workers of the version before store chunks too while a rollout lasts.
-- Like the one below it keeps its plans for as long as its session lasts: one that was made while a table was empty must not read all of it later.
CREATE FUNCTION search_fill() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    part integer;
BEGIN
    SELECT search_part, search_config(language) INTO part, NEW.search_config
    FROM assets WHERE org_id = NEW.org_id AND id = NEW.asset_id;
    IF part IS NULL THEN
        part := search_next_part(NEW.org_id);
        UPDATE assets SET search_part = part WHERE org_id = NEW.org_id AND id = NEW.asset_id;
    END IF;
    NEW.search := to_tsvector(NEW.search_config::regconfig, search_text(NEW.text))
        || array_to_tsvector(search_places(NEW.org_id, NEW.search_config, part));
    RETURN NEW;
END $$;
CREATE TRIGGER search_fill BEFORE INSERT OR UPDATE OF text ON asset_chunks FOR EACH ROW EXECUTE FUNCTION search_fill();

-- The words that an organisation's chunks have, as its vectors have them. A word is kept of up to four of its assets (`copy` is told by the asset's
-- id) and not of all: enough for it to outlive a deletion, and few enough for an index. There is no unique key, so that nobody who stores a
-- document waits for another; a word that two store at once is kept twice, which does no harm.
CREATE TABLE search_words (
    org_id   uuid     NOT NULL,
    config   text     NOT NULL,
    word     text     NOT NULL,
    copy     smallint NOT NULL,
    asset_id uuid     NOT NULL,
    FOREIGN KEY (org_id, asset_id) REFERENCES assets (org_id, id) ON DELETE CASCADE
);
CREATE INDEX search_words_word ON search_words (org_id, config, word, copy);
CREATE INDEX search_words_asset ON search_words (org_id, asset_id);

CREATE FUNCTION search_copy(asset uuid) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (get_byte(uuid_send(asset), 15) & 3)::smallint
$$;

-- Neither single characters nor numbers, of which there is no end; nor the words that nobody can type.
CREATE FUNCTION search_is_word(word text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT length(word) BETWEEN 3 AND 40 AND left(word, 1) <> E'\x01' AND word ~ '[[:alpha:]]'
$$;

CREATE FUNCTION search_note_words() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off SET work_mem = '32MB' AS $$
BEGIN
    INSERT INTO search_words (org_id, config, word, copy, asset_id)
    SELECT org_id, search_config, word, search_copy(asset_id), asset_id
    FROM (SELECT DISTINCT org_id, search_config, unnest(tsvector_to_array(search)) AS word, asset_id FROM stored) AS found
    WHERE search_is_word(word) AND NOT EXISTS (
        SELECT FROM search_words AS w
        WHERE w.org_id = found.org_id AND w.config = found.search_config AND w.word = found.word AND w.copy = search_copy(found.asset_id));
    RETURN NULL;
END $$;
CREATE TRIGGER search_note_words AFTER INSERT ON asset_chunks REFERENCING NEW TABLE AS stored
    FOR EACH STATEMENT EXECUTE FUNCTION search_note_words();

-- What is there already. Indexes come last, because they are made faster than they are kept.
UPDATE asset_chunks SET text = text;
INSERT INTO search_words (org_id, config, word, copy, asset_id)
SELECT DISTINCT ON (org_id, search_config, word, search_copy(asset_id)) org_id, search_config, word, search_copy(asset_id), asset_id
FROM (SELECT org_id, search_config, unnest(tsvector_to_array(search)) AS word, asset_id FROM asset_chunks) AS found
WHERE search_is_word(word);

CREATE INDEX asset_chunks_search ON asset_chunks USING gin (search);
CREATE INDEX search_words_similar ON search_words USING gin (org_id, word gin_trgm_ops);
