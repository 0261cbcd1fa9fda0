-- The ledger by time: `jobs` and `job_attempts` become range-partitioned by the job's id, which is a UUIDv7 and so carries the time of acceptance.
-- What is too old is then dropped as a whole instead of deleted row by row. Workers make partitions ahead and drop old ones
-- (shared/src/ledger/keeping.rs); a row that no partition is there for goes to the default one, so that no insert ever fails.
--
-- The tables as they are become the first partition, up to a bound that lies ahead: no row is copied, and the tables are read once.
-- Attempts have no foreign key any more: both tables are always partitioned alike and dropped together.
ALTER TABLE job_attempts DROP CONSTRAINT job_attempts_job_id_fkey;

ALTER TABLE jobs RENAME TO jobs_first;
ALTER INDEX jobs_pkey RENAME TO jobs_first_pkey;
ALTER INDEX jobs_due RENAME TO jobs_first_due;
ALTER INDEX jobs_by_org RENAME TO jobs_first_by_org;
ALTER INDEX jobs_dead RENAME TO jobs_first_dead;
ALTER TABLE job_attempts RENAME TO job_attempts_first;
ALTER INDEX job_attempts_pkey RENAME TO job_attempts_first_pkey;

-- Defaults and checks come from the tables as they are. What the indexes are for is said in 0002.
CREATE TABLE jobs (LIKE jobs_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE INDEX jobs_due ON jobs (queue, run_at, id) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_org ON jobs (org_id, id);
CREATE INDEX jobs_dead ON jobs (org_id, id) WHERE state = 'dead' AND discarded_at IS NULL;
CREATE TABLE job_attempts (LIKE job_attempts_first, PRIMARY KEY (job_id, attempt)) PARTITION BY RANGE (job_id);

CREATE TABLE jobs_default PARTITION OF jobs DEFAULT;
CREATE TABLE job_attempts_default PARTITION OF job_attempts DEFAULT;

DO $$
DECLARE
    -- The end of tomorrow (UTC): a worker is there by then, or rows go to the default partition until one is.
    bound_time  timestamptz := date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '2 days';
    bound       uuid := (lpad(to_hex((extract(epoch FROM bound_time) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
BEGIN
    -- Rows of a host whose clock was far ahead.
    WITH moved AS (DELETE FROM jobs_first WHERE id >= bound RETURNING *) INSERT INTO jobs_default SELECT * FROM moved;
    WITH moved AS (DELETE FROM job_attempts_first WHERE job_id >= bound RETURNING *)
    INSERT INTO job_attempts_default SELECT * FROM moved;
    EXECUTE format('ALTER TABLE jobs ATTACH PARTITION jobs_first FOR VALUES FROM (MINVALUE) TO (%L)', bound);
    EXECUTE format('ALTER TABLE job_attempts ATTACH PARTITION job_attempts_first FOR VALUES FROM (MINVALUE) TO (%L)', bound);
END $$;

-- Jobs that changed while the rows to be kept of an old partition are copied; they are copied again before it is dropped.
CREATE TABLE job_changes (id uuid NOT NULL);

CREATE FUNCTION note_job_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_changes (id) VALUES (COALESCE(NEW.id, OLD.id));
    RETURN NULL;
END $$;
