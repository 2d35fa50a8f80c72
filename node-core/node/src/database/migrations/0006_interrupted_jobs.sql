-- A provider that refuses work may be owed a unit of a job that the end of the program interrupted.
CREATE INDEX jobs_interrupted ON jobs (side, counterparty) WHERE state = 'interrupted';
