-- What metrics (package metric) were at moments: a row for each sample with all of its
-- groups, so that a sample is there as a whole or not at all, and one that is taken again
-- takes the place of the one before. A sample of no groups is a row too: what has no row
-- was not sampled. Of two rows of one key the later insert holds. Read it with FINAL.
CREATE TABLE metric_sample (
    -- what is sampled: a new one for each metric, and for each question of a metric
    series        LowCardinality(String),
    -- as of when
    moment        DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    -- of each group the texts of its labels, and its values
    labels        Array(Array(String)) CODEC(ZSTD(3)),
    `values`      Array(Array(Nullable(Float64))) CODEC(ZSTD(3)),
    -- the values of all groups that are not kept, or empty if there are none
    others        Array(Nullable(Float64)) CODEC(ZSTD(3)),
    taken_at      DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(moment)
ORDER BY (series, moment)
SETTINGS ${durable};
