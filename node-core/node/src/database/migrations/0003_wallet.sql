-- The wallet's own transactions. outcome is null while one is open, then final, refused or superseded.
CREATE TABLE wallet_transactions (
  number INTEGER PRIMARY KEY,
  request_id TEXT NOT NULL,
  sender TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  hash TEXT NOT NULL,
  raw BLOB NOT NULL,
  outcome TEXT,
  height INTEGER,
  reason TEXT,
  UNIQUE (sender, request_id)
) STRICT;

-- A send that was refused and is asked for again under another name has the same bytes, and so the same hash.
CREATE INDEX wallet_transactions_by_hash ON wallet_transactions (hash);

-- A sequence is free again only when its transaction was refused.
CREATE UNIQUE INDEX wallet_transactions_by_sequence ON wallet_transactions (sender, sequence)
  WHERE outcome IS NULL OR outcome <> 'refused';
