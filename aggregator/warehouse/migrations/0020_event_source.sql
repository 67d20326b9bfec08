-- Source and id together tell events apart: two scopes may have one id at one time.
-- A key cannot be changed, so the rows move. Each statement may be repeated: what was
-- moved before is moved again, to the same keys.
CREATE TABLE event_by_source (
    site          LowCardinality(String),
    id            String,
    type          LowCardinality(String),
    source        LowCardinality(String),
    asset_type    LowCardinality(String),
    asset_uid     String,
    time          DateTime64(3, 'UTC'),
    severity      LowCardinality(String),
    message       String CODEC(ZSTD(1)),
    data          String CODEC(ZSTD(3)),
    received_at   DateTime64(3, 'UTC'),
    agent_id      LowCardinality(String),
    spool_id      LowCardinality(String),
    seq           UInt64,
    ingest_id     UUID
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (site, time, source, id)
SETTINGS ${durable};

INSERT INTO event_by_source (site, id, type, source, asset_type, asset_uid, time, severity, message, data, received_at, agent_id, spool_id, seq, ingest_id)
SELECT site, id, type, source, asset_type, asset_uid, time, severity, message, data, received_at, agent_id, spool_id, seq, ingest_id FROM event
SETTINGS max_partitions_per_insert_block = 0;

RENAME TABLE event TO event_before, event_by_source TO event;

DROP TABLE IF EXISTS event_before;

DROP TABLE IF EXISTS event_by_source;
