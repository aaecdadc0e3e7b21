-- The ledger keeps its own files now. No other table has a BLOB.
DROP TABLE envelopes;
