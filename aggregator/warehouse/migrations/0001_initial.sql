-- Every version of every asset, as it was observed. A version that is inserted
-- twice has the same key, and so counts once.
CREATE TABLE asset_version (
    site          LowCardinality(String),
    type          LowCardinality(String),
    uid           String,
    -- hybrid logical clock: 48 bits of Unix milliseconds, 16 bits of counter
    version       UInt64 CODEC(Delta, ZSTD(1)),
    operation     Enum8('created' = 1, 'updated' = 2, 'deleted' = 3),
    scope         LowCardinality(String),
    name          String CODEC(ZSTD(1)),
    region        LowCardinality(String),
    project       LowCardinality(String),
    status        LowCardinality(String),
    labels        Map(LowCardinality(String), String),
    hash          FixedString(16),
    document      String CODEC(ZSTD(3)),
    -- the paths of the document that differ from the version before
    changed       Array(LowCardinality(String)),
    created_at    DateTime64(3, 'UTC'),
    updated_at    DateTime64(3, 'UTC'),
    observed_at   DateTime64(3, 'UTC'),
    received_at   DateTime64(3, 'UTC'),
    -- who shipped it: the agent, its spool, and the number of the record there
    agent_id      LowCardinality(String),
    spool_id      LowCardinality(String),
    seq           UInt64 CODEC(Delta, ZSTD(1)),
    -- the insert that it came with
    ingest_id     UUID,
    INDEX uid_bloom uid TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (site, type, uid, version)
SETTINGS ${durable};

-- The newest version of every asset. A deleted asset stays, with its last state.
CREATE TABLE asset (
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
    INDEX uid_bloom uid TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
ORDER BY (site, type, uid)
SETTINGS ${durable}${bucketed_maps};

-- Edges between assets. The version is that of the asset they lead from.
CREATE TABLE relation (
    site          LowCardinality(String),
    from_type     LowCardinality(String),
    from_uid      String,
    kind          LowCardinality(String),
    to_type       LowCardinality(String),
    to_uid        String,
    version       UInt64,
    deleted       Bool,
    received_at   DateTime64(3, 'UTC'),
    ingest_id     UUID,
    INDEX to_bloom to_uid TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
ORDER BY (site, from_uid, from_type, kind, to_type, to_uid)
SETTINGS ${durable};

-- What happened, in the terms of CloudEvents 1.0.
CREATE TABLE event (
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
ORDER BY (site, time, id)
SETTINGS ${durable};

-- Rows of cost, with the columns of FOCUS 1.2.
CREATE TABLE charge (
    site                       LowCardinality(String),
    id                         String,
    BilledCost                 Decimal(38, 12),
    EffectiveCost              Decimal(38, 12),
    ListCost                   Decimal(38, 12),
    ContractedCost             Decimal(38, 12),
    BillingCurrency            LowCardinality(String),
    BillingAccountId           LowCardinality(String),
    BillingAccountName         LowCardinality(String),
    BillingPeriodStart         DateTime('UTC'),
    BillingPeriodEnd           DateTime('UTC'),
    SubAccountId               LowCardinality(String),
    SubAccountName             LowCardinality(String),
    ChargePeriodStart          DateTime('UTC'),
    ChargePeriodEnd            DateTime('UTC'),
    ChargeCategory             LowCardinality(String),
    ChargeClass                LowCardinality(String),
    ChargeDescription          String CODEC(ZSTD(1)),
    ChargeFrequency            LowCardinality(String),
    ConsumedQuantity           Nullable(Decimal(38, 12)),
    ConsumedUnit               LowCardinality(String),
    PricingQuantity            Nullable(Decimal(38, 12)),
    PricingUnit                LowCardinality(String),
    ListUnitPrice              Nullable(Decimal(38, 12)),
    ContractedUnitPrice        Nullable(Decimal(38, 12)),
    PricingCategory            LowCardinality(String),
    ProviderName               LowCardinality(String),
    PublisherName              LowCardinality(String),
    InvoiceIssuerName          LowCardinality(String),
    RegionId                   LowCardinality(String),
    RegionName                 LowCardinality(String),
    AvailabilityZone           LowCardinality(String),
    ResourceId                 String,
    ResourceName               String,
    ResourceType               LowCardinality(String),
    ServiceCategory            LowCardinality(String),
    ServiceSubcategory         LowCardinality(String),
    ServiceName                LowCardinality(String),
    SkuId                      LowCardinality(String),
    SkuPriceId                 LowCardinality(String),
    Tags                       Map(LowCardinality(String), String),
    version                    UInt64,
    received_at                DateTime64(3, 'UTC'),
    agent_id                   LowCardinality(String),
    ingest_id                  UUID
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(ChargePeriodStart)
ORDER BY (site, ChargePeriodStart, ResourceId, id)
SETTINGS ${durable};

-- Records that could not be taken, with the reason and as they came.
CREATE TABLE dead_letter (
    site          LowCardinality(String),
    agent_id      LowCardinality(String),
    spool_id      LowCardinality(String),
    class         LowCardinality(String),
    first_seq     UInt64,
    records       UInt32,
    reason        String,
    raw           String CODEC(ZSTD(3)),
    received_at   DateTime64(3, 'UTC'),
    ingest_id     UUID
) ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (site, received_at)
TTL toDateTime(received_at) + INTERVAL 90 DAY
SETTINGS ${durable};
