ALTER TABLE queue_settings
    DROP COLUMN rate_count, DROP COLUMN rate_period_ms, DROP COLUMN org_rate_count, DROP COLUMN org_rate_period_ms;
DROP TABLE org_settings;
