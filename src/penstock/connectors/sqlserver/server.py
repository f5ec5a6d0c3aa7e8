"""What a server is: version, edition, and the few things in which versions differ."""

from __future__ import annotations

from dataclasses import dataclass

OLDEST = 13
NAMES = {13: "2016", 14: "2017", 15: "2019", 16: "2022", 17: "2025"}

# EngineEdition of SERVERPROPERTY: what is not an installed SQL Server.
AZURE, SYNAPSE, MANAGED, EDGE, SERVERLESS, FABRIC = 5, 6, 8, 9, 11, 12
_CLOUD = {
    AZURE: "Azure SQL Database",
    MANAGED: "Azure SQL Managed Instance",
    EDGE: "Azure SQL Edge",
    FABRIC: "Fabric SQL database",
}
# Engines of another kind, that lack transactions, locks or constraints which a load rests on.
OTHER_ENGINES = {SYNAPSE: "Azure Synapse Analytics", SERVERLESS: "a serverless or warehouse endpoint"}

# One row: version, engine edition, edition, database, user, default schema, compatibility level, whether snapshot
# isolation is allowed, whether read committed reads row versions, collation of the database.
ASK = """
SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), CAST(SERVERPROPERTY('EngineEdition') AS int),
    CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), DB_NAME(), SUSER_SNAME(), SCHEMA_NAME(),
    d.compatibility_level, d.snapshot_isolation_state, d.is_read_committed_snapshot_on, d.collation_name
FROM sys.databases AS d WHERE d.database_id = DB_ID()
"""


@dataclass(frozen=True)
class Server:
    """A connection's server and database, as ASK tells them."""

    version: str
    engine_edition: int
    edition: str
    database: str
    user: str
    schema: str
    compatibility: int
    allows_snapshot: bool
    versions_rows: bool
    collation: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def is_cloud(self) -> bool:
        return self.engine_edition in _CLOUD

    @property
    def name(self) -> str:
        """In words: "SQL Server 2022 (16.0.4135.4), Developer Edition"."""
        if self.is_cloud:
            return f"{_CLOUD[self.engine_edition]} ({self.version})"
        return f"SQL Server {NAMES.get(self.major, '')}".strip() + f" ({self.version}), {self.edition}"

    # ---- where versions differ

    @property
    def is_supported(self) -> bool:
        """A cloud service counts its own versions (12), and always has what 2016 has."""
        return self.is_cloud or self.major >= OLDEST

    @property
    def has_json_type(self) -> bool:
        return self.engine_edition in (AZURE, FABRIC) or self.major >= 17

    @property
    def has_pages(self) -> bool:
        """Whether %%physloc%% tells where a row lies."""
        return self.engine_edition != FABRIC


def server_of(row: tuple[object, ...]) -> Server:
    version, engine, edition, database, user, schema, level, snapshot, versions, collation = row
    return Server(
        str(version), int(str(engine)), str(edition), str(database), str(user), str(schema or "dbo"), int(str(level)),
        int(str(snapshot)) == 1, str(versions) in ("True", "1"), str(collation or ""),
    )  # fmt: skip
