CREATE OR REPLACE FUNCTION search_next_part(org uuid) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT COALESCE(newest.part + CASE WHEN (SELECT sum(chunks) FROM assets WHERE org_id = org AND search_part = newest.part) >= 16384
                                       THEN 1 ELSE 0 END, 0)
    FROM (SELECT max(search_part) AS part FROM assets WHERE org_id = org) AS newest
$$;
ALTER TABLE asset_chunks ALTER COLUMN search SET COMPRESSION default, ALTER COLUMN text SET COMPRESSION default;
