-- One text for SQLite and PostgreSQL. Three spellings make that possible:
--   "binary"  SQLite's own bytewise collation; on PostgreSQL a copy of "C" that is made in the schema beforehand.
--   BLOB      SQLite's own type; on PostgreSQL a domain over bytea that is made in the schema beforehand.
--   BIGINT    also for flags, since SQLite has no other integer and no boolean.
-- Whatever is queried has a column; the whole record is JSON text in `body`.

CREATE TABLE meta (
    key   TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Permanent consumer profiles (HCPD).
CREATE TABLE contracts (
    contract TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    body     TEXT NOT NULL
);

-- Temporary profiles of visitors (VCPD). Instants are milliseconds since 1970.
CREATE TABLE visitors (
    contract   TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    body       TEXT NOT NULL
);
CREATE INDEX visitors_by_expiry ON visitors (expires_at);

-- Sessions at the organisation's stations. `authorized_by` stays when a session is denied after it was authorized.
CREATE TABLE sessions (
    id            TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
    phase         TEXT NOT NULL,
    settled       BIGINT NOT NULL,
    requested_at  BIGINT NOT NULL,
    home          TEXT,
    authorized_by TEXT,
    denial        TEXT,
    body          TEXT NOT NULL
);
CREATE INDEX sessions_unsettled ON sessions (id) WHERE settled = 0;

-- Charges of the organisation's customers. The middle columns are set for billed charges; `contract_form` comes
-- first because contracts are ordered by form before anything else.
CREATE TABLE charges (
    operator      TEXT COLLATE "binary" NOT NULL,
    cdr_id        TEXT COLLATE "binary" NOT NULL,
    state         TEXT NOT NULL,
    contract_form BIGINT,
    contract      TEXT COLLATE "binary",
    month         TEXT COLLATE "binary",
    started_at    BIGINT,
    body          TEXT NOT NULL,
    PRIMARY KEY (operator, cdr_id)
);
CREATE INDEX charges_billed ON charges (contract_form, contract, month, started_at, cdr_id, operator)
    WHERE state = 'billed';
CREATE INDEX charges_unbilled ON charges (operator, cdr_id) WHERE state <> 'billed';

-- Booked records of the organisation as operator. A period is its kind (0 day, 1 week, 2 month) and its number.
CREATE TABLE wholesale (
    emsp         TEXT COLLATE "binary" NOT NULL,
    period_kind  BIGINT NOT NULL,
    period_index BIGINT NOT NULL,
    cdr_id       TEXT COLLATE "binary" NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (emsp, period_kind, period_index, cdr_id)
);

-- The envelopes of the in-memory ledger. Each digest covers the one before it.
CREATE TABLE envelopes (
    seq     BIGINT NOT NULL PRIMARY KEY,
    height  BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    digest  TEXT NOT NULL,
    bytes   BLOB NOT NULL
);
