-- Records that may be trued up when the grid's load is known. `look_at` is milliseconds since 1970.
CREATE TABLE true_ups (
    operator TEXT COLLATE "binary" NOT NULL,
    cdr_id   TEXT COLLATE "binary" NOT NULL,
    look_at  BIGINT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (operator, cdr_id)
);
CREATE INDEX true_ups_by_time ON true_ups (look_at, operator, cdr_id);
