-- Moments are microseconds since 1970 UTC, money is billionths of the currency's unit, sums of tokens are counts.

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    scopes TEXT NOT NULL,
    models TEXT,
    limits TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT
);

-- A key that was rotated has an old secret beside the new one for a while.
CREATE TABLE secrets (
    hash TEXT PRIMARY KEY,
    key TEXT NOT NULL REFERENCES keys (id),
    until BIGINT
);
CREATE INDEX secrets_key ON secrets (key);

CREATE TABLE price_lists (
    id TEXT PRIMARY KEY,
    place BIGINT NOT NULL UNIQUE,
    added BIGINT NOT NULL,
    list TEXT NOT NULL
);

-- Processes that hold something, and until when they are believed to live unless they say so again.
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    name TEXT,
    until BIGINT NOT NULL
);

CREATE TABLE holds (
    key TEXT NOT NULL REFERENCES keys (id),
    request TEXT NOT NULL,
    server TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    at BIGINT NOT NULL,
    prices TEXT,
    currency TEXT,
    cost BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    units TEXT NOT NULL,
    progress TEXT,
    PRIMARY KEY (key, request)
);

CREATE TABLE usage (
    seq BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL REFERENCES keys (id),
    request TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    at BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    units TEXT NOT NULL,
    cost BIGINT,
    currency TEXT,
    prices TEXT,
    corrects BIGINT,
    note TEXT,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE UNIQUE INDEX usage_once ON usage (key, request) WHERE kind = 'usage';
CREATE INDEX usage_at ON usage (at);
CREATE INDEX usage_key_at ON usage (key, at);
CREATE INDEX usage_corrects ON usage (corrects) WHERE corrects IS NOT NULL;

-- What `usage` adds up to, so that limits need not add it up. Always written together with it.
CREATE TABLE totals (
    key TEXT NOT NULL REFERENCES keys (id),
    period TEXT NOT NULL,
    start BIGINT NOT NULL,
    currency TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (key, period, start, currency)
);

-- One row: the end of the chain, and how often price lists were added. Whoever writes anything locks it first.
CREATE TABLE head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    lists BIGINT NOT NULL
);
INSERT INTO head (id, seq, hash, lists) VALUES (1, 0, '', 0);
