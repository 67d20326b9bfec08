-- What there is to ask for (package catalogue): the paths of each type's documents, with
-- frequent values. Small, and replaced as a whole or in part; nothing is lost with it, for
-- it is made of the table asset. The row without a type and a path says until when it has
-- everything.
CREATE TABLE path (
    type          LowCardinality(String),
    path          String,
    -- text, number, quantity, time or boolean
    kind          LowCardinality(String),
    -- some assets have several values at it
    list          Bool,
    -- how many assets have it, as counted last and about since then
    assets        UInt64,
    sites         Array(LowCardinality(String)),
    values        Array(String),
    -- of each value: how many assets have it, and in which of sites, a bit each
    counts        Array(UInt64),
    value_sites   Array(String),
    -- there are other values than these
    more          Bool,
    counted_at    DateTime64(3, 'UTC'),
    deleted       Bool,
    version       UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (type, path)
SETTINGS ${durable};
