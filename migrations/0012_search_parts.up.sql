-- Ranking and phrases read a vector of each candidate, which is compressed in its row: LZ4 is undone several times faster. Servers that were built
-- without it, of which there are few, keep what they have.
DO $$ BEGIN
    ALTER TABLE asset_chunks ALTER COLUMN search SET COMPRESSION lz4, ALTER COLUMN text SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server has no LZ4';
END $$;

-- Which part a new asset goes to, by a look at few assets: of many small ones a part holds thousands, and to sum them up for each that is stored
-- cost more than storing it. Where the first 512 do not fill a part, all are summed up for one asset in 64, so that a part has about 64 assets of
-- that size more than is meant, which does no harm.
CREATE OR REPLACE FUNCTION search_next_part(org uuid) RETURNS integer LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE(newest.part + CASE
        WHEN looked.assets < 512 OR looked.chunks >= 16384 THEN (looked.chunks >= 16384)::integer
        WHEN random() < 1.0 / 64 THEN
            ((SELECT sum(chunks) FROM assets WHERE org_id = org AND search_part = newest.part) >= 16384)::integer
        ELSE 0 END, 0)
    FROM (SELECT max(search_part) AS part FROM assets WHERE org_id = org) AS newest,
         LATERAL (SELECT count(*) AS assets, COALESCE(sum(chunks), 0) AS chunks
                  FROM (SELECT chunks FROM assets WHERE org_id = org AND search_part = newest.part LIMIT 512) AS first) AS looked
$$;
