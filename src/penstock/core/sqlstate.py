"""What a SQLSTATE means for a run: which error it is, and whether the engine may try again."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    DiskFull,
    Missing,
    PenstockError,
    PermissionRefused,
    Retry,
    SnapshotLost,
    TimedOut,
    Unavailable,
)


@dataclass(frozen=True)
class SqlState:
    """`error` is the class to raise, with `retry` as its retry kind; `name` is PostgreSQL's condition name or, for a whole
    class of codes, the title of the class in snake case."""

    name: str
    error: type[PenstockError]
    retry: Retry

    @property
    def is_credentials(self) -> bool:
        """The login itself was refused: no other item of this connection can work either."""
        return self.error is CredentialsRefused


_NEVER, _LATER, _RECONNECT = Retry.NEVER, Retry.LATER, Retry.RECONNECT

# PostgreSQL documentation, Appendix A "PostgreSQL Error Codes" (release 15; 25P04 since 17). Codes that differ from their
# class. Classes 08, 22, 23, 25, 28, 40 and 42 are those of the SQL standard and hold for other databases too.
_CODES: dict[str, SqlState] = {
    # The server answered, and may take the connection in a moment.
    "08001": SqlState("sqlclient_unable_to_establish_sqlconnection", Unavailable, _LATER),
    "08004": SqlState("sqlserver_rejected_establishment_of_sqlconnection", Unavailable, _LATER),
    # These three end the session (the third since release 17), unlike the rest of their class.
    "25P03": SqlState("idle_in_transaction_session_timeout", ConnectionLost, _RECONNECT),
    "25P04": SqlState("transaction_timeout", ConnectionLost, _RECONNECT),
    "57P05": SqlState("idle_session_timeout", ConnectionLost, _RECONNECT),
    "3D000": SqlState("invalid_catalog_name", Missing, _NEVER),
    "3F000": SqlState("invalid_schema_name", Missing, _NEVER),
    # A constraint checked at commit: the data is wrong, however often it is sent.
    "40002": SqlState("transaction_integrity_constraint_violation", DataError, _NEVER),
    # Whether the commit happened is unknown; a new connection asks the ledger.
    "40003": SqlState("statement_completion_unknown", ConnectionLost, _RECONNECT),
    "42501": SqlState("insufficient_privilege", PermissionRefused, _NEVER),
    "42703": SqlState("undefined_column", Missing, _NEVER),
    "42704": SqlState("undefined_object", Missing, _NEVER),
    "42883": SqlState("undefined_function", Missing, _NEVER),
    "42P01": SqlState("undefined_table", Missing, _NEVER),
    "53100": SqlState("disk_full", DiskFull, _NEVER),
    "53300": SqlState("too_many_connections", Unavailable, _LATER),
    # A limit that an administrator set; it does not pass by waiting.
    "53400": SqlState("configuration_limit_exceeded", PenstockError, _NEVER),
    "55006": SqlState("object_in_use", Busy, _LATER),
    "55P03": SqlState("lock_not_available", Busy, _LATER),
    # statement_timeout, or somebody cancelled: the session lives on, and the load may have passed.
    "57014": SqlState("query_canceled", TimedOut, _LATER),
    "57P01": SqlState("admin_shutdown", ConnectionLost, _RECONNECT),
    "57P02": SqlState("crash_shutdown", ConnectionLost, _RECONNECT),
    # Starting up, shutting down or in recovery: the server says itself that it is a matter of time.
    "57P03": SqlState("cannot_connect_now", Unavailable, _LATER),
    "57P04": SqlState("database_dropped", Missing, _NEVER),
    "58P01": SqlState("undefined_file", PenstockError, _NEVER),
    "58P02": SqlState("duplicate_file", PenstockError, _NEVER),
    "HV00N": SqlState("fdw_unable_to_establish_connection", Unavailable, _LATER),
}

# By the first two characters. A class that is missing here (0A, 42 and the like) is the request's own fault: NEVER.
_CLASSES: dict[str, SqlState] = {
    "08": SqlState("connection_exception", ConnectionLost, _RECONNECT),
    "22": SqlState("data_exception", DataError, _NEVER),
    "23": SqlState("integrity_constraint_violation", DataError, _NEVER),
    "28": SqlState("invalid_authorization_specification", CredentialsRefused, _NEVER),
    "40": SqlState("transaction_rollback", Busy, _LATER),
    "44": SqlState("with_check_option_violation", DataError, _NEVER),
    # Memory and the like, of the server: others will give some back.
    "53": SqlState("insufficient_resources", Unavailable, _LATER),
    "57": SqlState("operator_intervention", Busy, _LATER),
    # Disk or network under the server.
    "58": SqlState("system_error", Unavailable, _LATER),
    # Up to release 16: "snapshot too old".
    "72": SqlState("snapshot_failure", SnapshotLost, _RECONNECT),
}

_UNKNOWN = SqlState("", PenstockError, _NEVER)


def sqlstate(code: str | None) -> SqlState:
    """What `code` (five characters) means; an unknown, empty or missing code means NEVER and has no name.

    A driver that loses its connection often gives no code at all: look at the connection before asking here.
    """
    if not code:
        return _UNKNOWN
    return _CODES.get(code) or _CLASSES.get(code[:2], _UNKNOWN)
