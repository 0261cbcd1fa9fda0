ALTER TABLE webhook_sources DROP COLUMN connection_id;
DROP TABLE crm_conflicts, crm_drift, crm_syncs, crm_watermarks, crm_changes, crm_records, connection_credentials, connections;
DROP SEQUENCE crm_reads;
