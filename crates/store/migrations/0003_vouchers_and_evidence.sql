-- Sessions and reports say in another form who pays: what an older version wrote is not read (see FORMAT).

-- Vouchers of the organisation's own customers. `day` is days since 1970, `status` the name of a VoucherStatus.
CREATE TABLE vouchers (
    nullifier   TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    contract    TEXT COLLATE "binary" NOT NULL,
    day         BIGINT NOT NULL,
    status      TEXT COLLATE "binary" NOT NULL,
    valid_until BIGINT NOT NULL,
    body        TEXT NOT NULL
);
CREATE INDEX vouchers_by_day ON vouchers (contract, day, nullifier);
CREATE INDEX vouchers_open ON vouchers (valid_until, nullifier) WHERE status = 'issued' OR status = 'reserved';
CREATE INDEX vouchers_awaited ON vouchers (nullifier) WHERE status = 'blocking' OR status = 'refunding';

-- What stations sent of sessions, for disputes. `kept_at` is milliseconds since 1970.
CREATE TABLE evidence (
    session TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    kept_at BIGINT NOT NULL,
    bytes   BLOB NOT NULL
);
CREATE INDEX evidence_by_time ON evidence (kept_at);
