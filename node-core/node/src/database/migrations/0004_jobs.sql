-- Jobs that this node did (provider) or had done (requester). A request that was tried at two providers is two jobs, the
-- second of which names the first. Times are Unix seconds. What is paid for a job stands in `shares`.
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,
  side TEXT NOT NULL CHECK (side IN ('payee', 'payer')),
  job TEXT NOT NULL,
  first_job TEXT,
  kind TEXT NOT NULL,
  model TEXT,
  counterparty TEXT NOT NULL,
  price TEXT NOT NULL,
  units INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'cancelled', 'failed', 'interrupted')),
  error_code TEXT,
  error TEXT,
  UNIQUE (side, job)
) STRICT;

CREATE INDEX jobs_by_state ON jobs (state) WHERE state = 'running';

-- Vouchers that were received or signed, also those that are forgotten since.
CREATE TABLE voucher_counts (
  side TEXT PRIMARY KEY CHECK (side IN ('payee', 'payer')),
  vouchers INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO voucher_counts (side, vouchers) VALUES ('payee', 0), ('payer', 0);

-- How far other nodes are trusted, and why.
CREATE TABLE standing (
  node TEXT PRIMARY KEY,
  penalty INTEGER NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE faults (
  number INTEGER PRIMARY KEY,
  node TEXT NOT NULL,
  fault TEXT NOT NULL,
  at INTEGER NOT NULL,
  detail TEXT NOT NULL
) STRICT;

-- Streams that this node published, and those that it relays. The manifest is signed; the largest revision counts.
CREATE TABLE streams (
  id TEXT PRIMARY KEY,
  own INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  created INTEGER NOT NULL,
  manifest BLOB NOT NULL
) STRICT, WITHOUT ROWID;
