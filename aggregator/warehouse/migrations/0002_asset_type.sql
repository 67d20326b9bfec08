-- What the types of assets are called and how they are shown, as the newest word
-- of each site has it.
CREATE TABLE asset_type (
    site          LowCardinality(String),
    name          LowCardinality(String),
    title         String,
    -- JSON, or empty
    layout        String CODEC(ZSTD(3)),
    version       UInt64,
    received_at   DateTime64(3, 'UTC'),
    agent_id      LowCardinality(String),
    ingest_id     UUID
) ENGINE = ReplacingMergeTree(version)
ORDER BY (site, name)
SETTINGS ${durable};
