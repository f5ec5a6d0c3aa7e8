"""What SQL targets share: the statements of a publish, the ledger, and lags of cursors."""
