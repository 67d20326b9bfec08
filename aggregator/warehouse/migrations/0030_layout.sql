-- The inventory by type, as it is asked for: what one type has in common lies together.
-- A key cannot be changed, so the rows are copied (relayout.go), and each table takes the
-- name of the one before it in one step.
--
-- id is that of the asset (site, type, uid) in one number, for joins and for telling rows
-- of one asset from those of another. It is a hash that anybody can compute, so of two
-- sites two assets may be made to share one: whoever decides something by it takes the
-- site along, and whoever shows an asset its whole key. Among 800,000 assets two share
-- one by chance once in 60 million estates, among 100 million once in 3,700.
--
-- Columns for what an installation says of assets itself, such as labels of its own, are
-- added behind the others when there is something that writes them.
CREATE TABLE asset_next (
    site          LowCardinality(String),
    type          LowCardinality(String),
    uid           String,
    version       UInt64,
    deleted       Bool,
    scope         LowCardinality(String),
    name          String CODEC(ZSTD(1)),
    region        LowCardinality(String),
    project       LowCardinality(String),
    status        LowCardinality(String),
    labels        Map(LowCardinality(String), String),
    hash          FixedString(16),
    document      String CODEC(ZSTD(3)),
    -- every scalar path of the document to its text; values that share a path
    -- are joined with the ASCII unit separator
    fields        Map(LowCardinality(String), String),
    created_at    DateTime64(3, 'UTC'),
    updated_at    DateTime64(3, 'UTC'),
    observed_at   DateTime64(3, 'UTC'),
    received_at   DateTime64(3, 'UTC'),
    agent_id      LowCardinality(String),
    ingest_id     UUID,
    id            UInt64 DEFAULT sipHash64(site, type, uid) CODEC(LZ4),
    -- what a search by words looks at, folded, a line each (filter.SearchText)
    search        String CODEC(LZ4),
    INDEX uid_bloom uid TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
ORDER BY (type, site, uid)
SETTINGS ${durable}, index_granularity = 1024${field_buckets};

CREATE TABLE asset_version_next (
    site            LowCardinality(String),
    type            LowCardinality(String),
    uid             String,
    -- hybrid logical clock: 48 bits of Unix milliseconds, 16 bits of counter
    version         UInt64 CODEC(Delta, ZSTD(1)),
    -- the stamp that the agent gave, where its clock was far ahead; otherwise zero
    claimed_version UInt64 CODEC(ZSTD(1)),
    operation       Enum8('created' = 1, 'updated' = 2, 'deleted' = 3),
    scope           LowCardinality(String),
    name            String CODEC(ZSTD(1)),
    region          LowCardinality(String),
    project         LowCardinality(String),
    status          LowCardinality(String),
    labels          Map(LowCardinality(String), String),
    hash            FixedString(16),
    document        String CODEC(ZSTD(3)),
    -- the paths of the document that differ from the version before
    changed         Array(LowCardinality(String)),
    -- the edges that lead from the asset; unknown of versions from before edges were kept
    `edges.kind`    Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `edges.type`    Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `edges.uid`     Array(String) CODEC(ZSTD(1)),
    edges_known     Bool DEFAULT false,
    created_at      DateTime64(3, 'UTC'),
    updated_at      DateTime64(3, 'UTC'),
    observed_at     DateTime64(3, 'UTC'),
    received_at     DateTime64(3, 'UTC'),
    -- who shipped it: the agent, its spool, and the number of the record there
    agent_id        LowCardinality(String),
    spool_id        LowCardinality(String),
    seq             UInt64 CODEC(Delta, ZSTD(1)),
    -- the insert that it came with
    ingest_id       UUID,
    id              UInt64 DEFAULT sipHash64(site, type, uid) CODEC(LZ4),
    INDEX uid_bloom uid TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX edges_bloom `edges.uid` TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (type, site, uid, version)
SETTINGS ${durable};

-- Today's edges, as they are seen from each of their ends. dir says how an edge lies to
-- the asset that it is seen from, whose key is from_: out if it leads from there, in if
-- it leads there. Every edge has a row of each, so one range of the key has all edges of
-- an asset, with the keys of its neighbours. What is DELETED, or was never there, is no
-- less a neighbour: asset says which.
--
-- An edge does not say the site of what it leads to. It is taken for the same one. Where
-- the two types are of different providers it may as well be another one, so it has a
-- third row: far, an edge that leads to an asset of this type and uid in whichever site,
-- with the from_id of sipHash64('', type, uid); site is that of the asset that it leads
-- from, in every row.
CREATE TABLE relation_next (
    site          LowCardinality(String),
    from_id       UInt64 DEFAULT sipHash64(if(dir = 'far', '', site), from_type, from_uid) CODEC(Delta, LZ4),
    dir           Enum8('out' = 1, 'in' = 2, 'far' = 3),
    kind          LowCardinality(String),
    to_id         UInt64 DEFAULT sipHash64(site, to_type, to_uid) CODEC(LZ4),
    from_type     LowCardinality(String),
    from_uid      String CODEC(ZSTD(1)),
    to_type       LowCardinality(String),
    to_uid        String CODEC(ZSTD(1)),
    -- that of the asset that the edge leads from
    version       UInt64 CODEC(ZSTD(1)),
    deleted       Bool,
    received_at   DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    ingest_id     UUID CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(version)
-- The site is part of the key, so that no site can replace an edge of another.
ORDER BY (from_id, dir, kind, to_id, site)
SETTINGS ${durable}, index_granularity = 1024;

-- How far a step is that takes long: what an interrupted one goes on behind.
CREATE TABLE IF NOT EXISTS schema_progress (
    name          String,
    -- the last key that is done, as JSON
    after         String,
    rows          UInt64,
    of            UInt64
) ENGINE = ReplacingMergeTree(rows)
ORDER BY name
SETTINGS ${durable};

-- Parts of many columns are written with buffers that begin small.
ALTER TABLE asset_next MODIFY SETTING ${small_buffers};
ALTER TABLE asset_version_next MODIFY SETTING ${small_buffers};
