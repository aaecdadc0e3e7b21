-- What the anomaly rules remember of records that the organisation owes for. `ended_at` is milliseconds since 1970.
CREATE TABLE sightings (
    operator TEXT COLLATE "binary" NOT NULL,
    cdr_id   TEXT COLLATE "binary" NOT NULL,
    ended_at BIGINT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (operator, cdr_id)
);
CREATE INDEX sightings_by_end ON sightings (ended_at, operator, cdr_id);

-- What they found, and the evidence of contests. Nothing here is deleted. `waiting` is 1 until the ledger has answered.
CREATE TABLE anomalies (
    operator TEXT COLLATE "binary" NOT NULL,
    cdr_id   TEXT COLLATE "binary" NOT NULL,
    waiting  BIGINT NOT NULL,
    body     TEXT NOT NULL,
    evidence BLOB NOT NULL,
    PRIMARY KEY (operator, cdr_id)
);
CREATE INDEX anomalies_waiting ON anomalies (operator, cdr_id) WHERE waiting = 1;
