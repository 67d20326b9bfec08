-- The edges that lead from an asset are part of each of its versions, so that the graph
-- can be asked for as of any moment. Of versions from before this they are not known,
-- but for those that were the newest then.
ALTER TABLE asset_version ADD COLUMN IF NOT EXISTS `edges.kind` Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER changed;
ALTER TABLE asset_version ADD COLUMN IF NOT EXISTS `edges.type` Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER `edges.kind`;
ALTER TABLE asset_version ADD COLUMN IF NOT EXISTS `edges.uid` Array(String) CODEC(ZSTD(1)) AFTER `edges.type`;
ALTER TABLE asset_version ADD COLUMN IF NOT EXISTS edges_known Bool DEFAULT false AFTER `edges.uid`;
-- The stamp that an agent gave, where the version is ordered by another because its
-- clock was far ahead; otherwise zero.
ALTER TABLE asset_version ADD COLUMN IF NOT EXISTS claimed_version UInt64 CODEC(ZSTD(1)) AFTER version;
ALTER TABLE asset_version ADD INDEX IF NOT EXISTS edges_bloom `edges.uid` TYPE bloom_filter(0.01) GRANULARITY 4;
