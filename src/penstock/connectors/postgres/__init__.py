"""PostgreSQL: catalog, snapshot reading in chunks, staging with a ledger, publishing in one transaction."""
