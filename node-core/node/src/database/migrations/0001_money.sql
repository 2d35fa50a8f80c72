-- Amounts are TFuelWei as decimal text: they do not fit 64 bits. Addresses are lower-case hex with 0x.

-- The provider's side.
CREATE TABLE payee_resource (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
  resource BLOB NOT NULL
) STRICT;

CREATE TABLE payee_accounts (
  payer TEXT PRIMARY KEY,
  delivered TEXT NOT NULL,
  past TEXT NOT NULL,
  lost TEXT NOT NULL,
  forgone TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE payee_reserves (
  payer TEXT NOT NULL,
  reserve INTEGER NOT NULL,
  fund TEXT NOT NULL,
  used TEXT NOT NULL,
  end_height INTEGER NOT NULL,
  closed INTEGER NOT NULL,
  PRIMARY KEY (payer, reserve)
) STRICT, WITHOUT ROWID;

-- state is open, submitted, settled or lapsed; amount, payment and raw belong to a payment, seen_at to a settled one.
CREATE TABLE payee_lines (
  payer TEXT NOT NULL,
  reserve INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  signed TEXT NOT NULL,
  state TEXT NOT NULL,
  amount TEXT,
  payment TEXT,
  raw BLOB,
  seen_at INTEGER,
  PRIMARY KEY (payer, reserve, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE payee_vouchers (
  payer TEXT NOT NULL,
  reserve INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  total TEXT NOT NULL,
  raw BLOB NOT NULL,
  PRIMARY KEY (payer, reserve, sequence, total)
) STRICT, WITHOUT ROWID;

-- The payer's side.
CREATE TABLE payer_accounts (
  provider TEXT PRIMARY KEY,
  resource BLOB NOT NULL,
  agreed TEXT NOT NULL,
  past TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- state is opening, open, failed or ended. The transaction's bytes are in the wallet's journal.
CREATE TABLE payer_reserves (
  provider TEXT NOT NULL,
  reserve INTEGER NOT NULL,
  fund TEXT NOT NULL,
  collateral TEXT NOT NULL,
  end_height INTEGER NOT NULL,
  state TEXT NOT NULL,
  payment TEXT,
  PRIMARY KEY (provider, reserve)
) STRICT, WITHOUT ROWID;

CREATE TABLE payer_lines (
  provider TEXT NOT NULL,
  reserve INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  signed TEXT NOT NULL,
  voucher BLOB NOT NULL,
  frozen INTEGER NOT NULL,
  settled TEXT,
  PRIMARY KEY (provider, reserve, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE payer_days (
  day INTEGER PRIMARY KEY,
  agreed TEXT NOT NULL
) STRICT;

-- Units of a job that one line carries; reserve and sequence are null while none does. `id` keeps the order of first units.
CREATE TABLE shares (
  id INTEGER PRIMARY KEY,
  side TEXT NOT NULL CHECK (side IN ('payee', 'payer')),
  job TEXT NOT NULL,
  counterparty TEXT NOT NULL,
  kind TEXT NOT NULL,
  price TEXT NOT NULL,
  units INTEGER NOT NULL,
  reserve INTEGER,
  sequence INTEGER
) STRICT;

CREATE UNIQUE INDEX shares_by_job ON shares (side, job, counterparty, ifnull(reserve, -1), ifnull(sequence, -1));
CREATE INDEX shares_by_line ON shares (side, counterparty, reserve, sequence);
