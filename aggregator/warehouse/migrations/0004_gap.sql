-- What agents gave up for good, because their spool had no room for it or was
-- damaged: a row for the records first_seq to last_seq of a spool, with how many
-- of them are missing. Read it with FINAL.
CREATE TABLE gap (
    site          LowCardinality(String),
    agent_id      LowCardinality(String),
    spool_id      LowCardinality(String),
    class         LowCardinality(String),
    first_seq     UInt64,
    last_seq      UInt64,
    -- budget, damaged, disk or unknown
    reason        LowCardinality(String),
    -- each version that is missing was superseded by one that is there
    versions      UInt64,
    asset_types   UInt64,
    events        UInt64,
    usages        UInt64,
    -- records of which nobody knows what they were
    unknown       UInt64,
    -- when the first and the last of them was observed; the epoch where unknown
    earliest      DateTime64(3, 'UTC'),
    latest        DateTime64(3, 'UTC'),
    received_at   DateTime64(3, 'UTC'),
    ingest_id     UUID
) ENGINE = ReplacingMergeTree
ORDER BY (site, agent_id, spool_id, class, last_seq)
SETTINGS ${durable};
