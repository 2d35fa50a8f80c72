-- Times are Unix milliseconds, amounts TFuelWei as decimal text.

CREATE TABLE gateway_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  secret_hash BLOB NOT NULL,
  daily_limit TEXT,
  total_limit TEXT,
  created_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE gateway_reservations (
  id TEXT PRIMARY KEY,
  key_id TEXT NOT NULL,
  day INTEGER NOT NULL,
  amount TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each key and day.
CREATE TABLE gateway_spent (
  key_id TEXT NOT NULL,
  day INTEGER NOT NULL,
  amount TEXT NOT NULL,
  PRIMARY KEY (key_id, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX gateway_spent_by_day ON gateway_spent (day);

CREATE TABLE gateway_uploads (
  id TEXT PRIMARY KEY,
  key_id TEXT NOT NULL,
  token_hash BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  state TEXT NOT NULL,
  bytes INTEGER,
  hash TEXT
) STRICT, WITHOUT ROWID;

-- resolutions and metadata are JSON.
CREATE TABLE gateway_videos (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  key_id TEXT NOT NULL,
  upload_id TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  file_name TEXT,
  resolutions TEXT NOT NULL,
  metadata TEXT NOT NULL,
  state TEXT NOT NULL,
  sub_state TEXT NOT NULL,
  progress INTEGER NOT NULL,
  error TEXT,
  duration_ms INTEGER,
  short_side INTEGER,
  stream TEXT,
  cost TEXT NOT NULL
) STRICT;

CREATE INDEX gateway_videos_by_key ON gateway_videos (key_id, number);
