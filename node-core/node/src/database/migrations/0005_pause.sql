-- The owner's pause: a row while there is one. Its end is in Unix seconds, and null when it ends by hand alone.
CREATE TABLE pause (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
  until INTEGER
) STRICT;
