-- What assets used, by meter and period. A period that was not over is told of
-- again and replaced, so read it with FINAL. Periods of one asset and meter with
-- other starts do not overlap: they add up.
CREATE TABLE usage (
    site          LowCardinality(String),
    asset_type    LowCardinality(String),
    asset_uid     String CODEC(ZSTD(1)),
    -- what was used, as in cpu.used, and in what it is counted: core.second
    meter         LowCardinality(String),
    unit          LowCardinality(String),
    -- the part of time that was measured
    start         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    end           DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    quantity      Float64 CODEC(ZSTD(1)),
    -- hybrid logical clock: the larger replaces the smaller
    version       UInt64 CODEC(Delta, ZSTD(1)),
    scope         LowCardinality(String),
    received_at   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    agent_id      LowCardinality(String),
    spool_id      LowCardinality(String),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    ingest_id     UUID CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(start)
ORDER BY (site, asset_type, asset_uid, meter, start)
SETTINGS ${durable};
