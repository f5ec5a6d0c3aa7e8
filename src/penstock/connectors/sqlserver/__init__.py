"""SQL Server, Azure SQL and Fabric SQL through Microsoft's driver mssql-python: Arrow batches both ways."""
