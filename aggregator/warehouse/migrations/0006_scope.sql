-- Who looks after which scope. A scope that has no row is of an agent of before scopes
-- had holders: its assets go by the agent that told of them last.
CREATE TABLE scope (
    site          LowCardinality(String),
    scope         LowCardinality(String),
    -- the holder, or empty where there is none
    agent_id      LowCardinality(String),
    epoch         UInt64,
    -- the revision of the registry in which it is so
    version       UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (site, scope)
SETTINGS ${durable};
