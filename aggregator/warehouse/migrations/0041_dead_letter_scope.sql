-- Which asset of which scope could not be taken, where the record says that: a scope shows
-- what it has and is not here. Of records from before this it is not known.
ALTER TABLE dead_letter ADD COLUMN IF NOT EXISTS scope LowCardinality(String) AFTER class;
ALTER TABLE dead_letter ADD COLUMN IF NOT EXISTS asset_type LowCardinality(String) AFTER scope;
ALTER TABLE dead_letter ADD COLUMN IF NOT EXISTS asset_uid String CODEC(ZSTD(1)) AFTER asset_type;
ALTER TABLE dead_letter ADD COLUMN IF NOT EXISTS version UInt64 CODEC(ZSTD(1)) AFTER asset_uid;
