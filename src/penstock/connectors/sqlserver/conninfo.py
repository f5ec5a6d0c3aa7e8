"""How a connection's url and options become the driver's connection string: encrypted and verified unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.core.errors import SpecError
from penstock.core.ports import Option
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

# authentication -> the driver's keyword; "" where user and password, or nothing, go as they are.
AUTHENTICATION = {
    "sql": "",
    "integrated": "",
    "entra": "ActiveDirectoryDefault",
    "entra_service_principal": "ActiveDirectoryServicePrincipal",
    "entra_managed_identity": "ActiveDirectoryMSI",
    "entra_token": "",
}
DEFAULT_SESSIONS = 4

OPTIONS = (
    Option(
        "encrypt",
        "choice",
        "TLS towards the server: yes, strict (TDS 8, TLS before anything else) or no",
        default="yes",
        choices=("yes", "strict", "no"),
    ),
    Option(
        "trust_server_certificate",
        "boolean",
        "take any certificate of the server; only for a server on this machine or in a test",
        default=False,
    ),
    Option("host_name_in_certificate", "text", "name that the server's certificate must carry, if it is not the host"),
    Option("server_certificate", "path", "the very certificate that the server must show"),
    Option(
        "authentication",
        "choice",
        "sql (user and password), integrated (the login of this process), entra (the default credential: environment,"
        " workload, managed identity or command line), entra_service_principal (user is the client's id, password its"
        " secret), entra_managed_identity (user is the identity's client id, or none), or entra_token (access_token)",
        default="sql",
        choices=tuple(AUTHENTICATION),
    ),
    Option("access_token", "secret", "token for authentication: entra_token; it must outlive the run"),
    Option(
        "application_intent",
        "choice",
        "read_only leads to a readable secondary of an availability group",
        default="read_write",
        choices=("read_write", "read_only"),
    ),
    Option("multi_subnet_failover", "boolean", "try all addresses of a listener at once", default=False),
    Option("packet_size", "integer", "bytes of a network packet, from 512 to 32767; by default what the server says"),
    Option("statement_timeout_s", "integer", "end a statement after this many seconds; by default never", default=0),
    Option(
        "fine_times",
        "choice",
        "how datetime2(7) and datetimeoffset(7) are read, whose 100 nanoseconds microseconds cannot hold: text (exact),"
        " nanoseconds (exact from 1678 to 2261, else an error) or microseconds (lossy)",
        default="text",
        choices=("text", "nanoseconds", "microseconds"),
    ),
    Option(
        "offsets",
        "choice",
        "how datetimeoffset is read: utc (the moment; the offset is not kept) or text (with its offset)",
        default="utc",
        choices=("utc", "text"),
    ),
    Option(
        "sql_variant",
        "choice",
        "how sql_variant is read: typed (text with the value's own type in front, int:1), text (the value alone, lossy)"
        " or error",
        default="typed",
        choices=("typed", "text", "error"),
    ),
    Option(
        "spatial",
        "choice",
        "how geography and geometry are read: text (SRID=4326;POINT (1 2)) or wkb (bytes without the SRID)",
        default="text",
        choices=("text", "wkb"),
    ),
    Option(
        "read",
        "choice",
        "isolation of reading: snapshot (each statement one moment, where the database allows it, else as committed),"
        " committed, or nolock (may read rows twice, never or before they are committed)",
        default="snapshot",
        choices=("snapshot", "committed", "nolock"),
        scope="source",
    ),
    Option(
        "split_by",
        "choice",
        "how a table is cut into chunks: by ranges of a key, by partition, by page of a heap (page), not at all (none),"
        " or auto: key, else partition, else page",
        default="auto",
        choices=("auto", "key", "partition", "page", "none"),
        scope="source",
    ),
    Option("split_column", "text", "the column to cut by; by default the first of the clustered index", scope="source"),
    Option(
        "table_kind",
        "choice",
        "what a new table becomes: rowstore (clustered by the key, where there is one), heap, or columnstore (clustered)",
        default="rowstore",
        choices=("rowstore", "heap", "columnstore"),
        scope="target",
    ),
    Option(
        "bulk_rows",
        "integer",
        "rows that one batch of a bulk copy commits; at least 102400 fill a columnstore directly",
        default=1_048_576,
        scope="target",
    ),
    Option(
        "lock_timeout_s",
        "number",
        "how long to wait for a lock before the call ends as busy and is tried again later",
        default=30,
        scope="target",
    ),
    Option(
        "ledger_schema",
        "text",
        "schema of the table _penstock_ledger; by default the schema of the target table",
        scope="target",
    ),
    Option(
        "replace_with",
        "choice",
        "how replace empties an existing table: delete (readers of row versions go on; logs each row) or truncate (logs"
        " little; readers wait, the identity starts anew, and foreign keys or history forbid it)",
        default="delete",
        choices=("delete", "truncate"),
        scope="target",
    ),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_EXAMPLE = "write mssql://user@host:port/database?option=value"


@dataclass(frozen=True)
class Token:
    """What the driver asks for a token; it needs no more than these two names."""

    token: str
    expires_on: int


@dataclass(frozen=True)
class TokenHolder:
    """A token that the user brings, in the form of a credential."""

    secret: Secret

    def get_token(self, *scopes: str, **_: Any) -> Token:
        return Token(self.secret.reveal(), int(time.time()) + 3600)


def settings(spec: ConnectionSpec) -> dict[str, Any]:
    """Options of the connection: those of its url's query, under those given by name. Raises SpecError for a name that is
    no option or a value of the wrong kind."""
    found: dict[str, Any] = {}
    for name, text in parse_qsl(urlsplit(spec.url).query, keep_blank_values=True):
        if name not in _BY_NAME:
            raise SpecError(
                f"url of connection {spec.name!r} has the parameter {name!r}, which is no option",
                f"known: {', '.join(sorted(_BY_NAME))}",
            )
        found[name] = _read(spec, _BY_NAME[name], text)
    return {**found, **{name: value for name, value in spec.options.items() if value is not None}}


def _read(spec: ConnectionSpec, option: Option, text: str) -> Any:
    what = f"option {option.name} of connection {spec.name!r} is {text!r}"
    if option.kind == "boolean":
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise SpecError(what, "write true or false")
        return text.lower() in ("true", "yes", "1")
    if option.kind in ("integer", "number"):
        try:
            return int(text) if option.kind == "integer" else float(text)
        except ValueError as error:
            raise SpecError(what, f"write a number ({option.kind})") from error
    return text


def option(spec: ConnectionSpec, held: Mapping[str, Any], name: str, given: Mapping[str, Any] | None = None) -> Any:
    """An option: as given for the job's side, else for the connection, else its default."""
    declared = _BY_NAME[name]
    value = (given or {}).get(name, held.get(name, declared.default))
    if declared.choices and value not in declared.choices:
        raise SpecError(
            f"option {name} of connection {spec.name!r} is {value!r}", f"write one of {', '.join(declared.choices)}"
        )
    return value


def address(spec: ConnectionSpec) -> str:
    """Host and port, or host and instance, as the driver writes it; no secret. Raises SpecError for a bad url."""
    try:
        parts = urlsplit(spec.url)
        port = parts.port
    except ValueError as error:
        raise SpecError(f"url of connection {spec.name!r} is not understood: {error}", _EXAMPLE) from error
    host = unquote(parts.hostname or "")
    if not host:
        raise SpecError(f"url of connection {spec.name!r} names no host", _EXAMPLE)
    return f"{host},{port}" if port else host


def connection_string(spec: ConnectionSpec) -> str:
    """The driver's connection string, with the password in it. Raises SpecError for what contradicts itself."""
    held = settings(spec)
    parts = urlsplit(spec.url)
    how = option(spec, held, "authentication")
    found: dict[str, str] = {"Server": address(spec)}
    database = unquote(parts.path.strip("/"))
    if database:
        found["Database"] = database
    found |= _login(spec, how, unquote(parts.username or ""))
    found["Encrypt"] = option(spec, held, "encrypt")
    found["TrustServerCertificate"] = "yes" if option(spec, held, "trust_server_certificate") else "no"
    if option(spec, held, "application_intent") == "read_only":
        found["ApplicationIntent"] = "ReadOnly"
    if option(spec, held, "multi_subnet_failover"):
        found["MultiSubnetFailover"] = "yes"
    if held.get("host_name_in_certificate"):
        found["HostnameInCertificate"] = str(held["host_name_in_certificate"])
    if held.get("server_certificate"):
        found["ServerCertificate"] = str(Path(spec.base_dir, str(held["server_certificate"])).expanduser())
    if held.get("packet_size"):
        found["PacketSize"] = str(int(held["packet_size"]))
    found["ConnectRetryCount"] = "0"  # a line that comes back by itself has lost its locks and settings
    return ";".join(f"{name}={{{value.replace('}', '}}')}}}" for name, value in found.items())


def _login(spec: ConnectionSpec, how: str, user: str) -> dict[str, str]:
    if how == "integrated":
        return {"Trusted_Connection": "yes"}
    if how == "entra_token":
        if not settings(spec).get("access_token"):
            raise SpecError(f"connection {spec.name!r} has no access_token", "set access_token: ${SOME_VARIABLE}")
        return {}
    found = {"Authentication": AUTHENTICATION[how]} if AUTHENTICATION[how] else {}
    if how in ("sql", "entra_service_principal"):
        password = spec.password or Secret(unquote(urlsplit(spec.url).password or ""))
        if not user or not password:
            raise SpecError(
                f"connection {spec.name!r} has no {'password' if user else 'user'}",
                "name user and password, or another authentication (entra, integrated, …)",
            )
        return {**found, "UID": user, "PWD": password.reveal()}
    return {**found, "UID": user} if user and how == "entra_managed_identity" else found


def token_holder(spec: ConnectionSpec) -> TokenHolder | None:
    """The credential that stands for a token of the user's own."""
    held = settings(spec)
    if option(spec, held, "authentication") != "entra_token":
        return None
    token = held["access_token"]
    return TokenHolder(token if isinstance(token, Secret) else Secret(str(token)))
