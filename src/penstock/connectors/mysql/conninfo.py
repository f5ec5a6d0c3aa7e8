"""How a connection's url and options become parameters of the driver: TLS is verified unless the server is on this machine."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.core.errors import SpecError
from penstock.core.ports import Option
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
DEFAULT_PORT = 3306

OPTIONS = (
    Option(
        "ssl_mode",
        "choice",
        "TLS towards the server; by default verify_identity, or preferred where the server is reached by a unix socket or"
        " a loopback address",
        choices=SSL_MODES,
    ),
    Option(
        "ssl_ca", "path", "certificates of the authorities that may sign the server's; by default those of this machine"
    ),
    Option("ssl_cert", "path", "client certificate"),
    Option("ssl_key", "path", "key of the client certificate"),
    Option("unix_socket", "path", "path of the server's socket, instead of host and port"),
    Option("program_name", "text", "name shown among the connection's attributes", default="penstock"),
    Option(
        "statement_timeout_s",
        "number",
        "cancel a reading statement after this many seconds; by default the server's setting",
    ),
    Option(
        "codec",
        "choice",
        "how rows are coded: native (compiled, fastest), portable (Python only) or auto (native where it is built)",
        default="auto",
        choices=("auto", "native", "portable"),
    ),
    Option(
        "snapshot",
        "choice",
        "auto: all readers of a run share one moment, taken under a short FLUSH TABLES WITH READ LOCK where the user may"
        " take it (RELOAD); lock: the same, or an error; none: every chunk is read at its own moment",
        default="auto",
        choices=("auto", "lock", "none"),
        scope="connection",
    ),
    Option(
        "snapshot_connections",
        "integer",
        "connections opened at a shared moment: the most that can read it, one of them for planning",
        default=12,
    ),
    Option("snapshot_wait_s", "integer", "how long to wait for the read lock of a shared moment", default=10),
    Option(
        "zero_dates",
        "choice",
        "what to do with dates that do not exist, such as 0000-00-00: an error, or read as NULL",
        default="error",
        choices=("error", "as_null"),
    ),
    Option(
        "tinyint1",
        "choice",
        "how tinyint(1) is read: integer, or boolean (values other than 0 and 1 are an error)",
        default="integer",
        choices=("integer", "boolean"),
    ),
    Option(
        "time",
        "choice",
        "how TIME is read: duration (it holds -838:59:59 to 838:59:59), or clock, a time of day (others are an error)",
        default="duration",
        choices=("duration", "clock"),
    ),
    Option(
        "split_by",
        "choice",
        "how a table is cut into chunks: by ranges of a key, or not at all (none)",
        default="key",
        choices=("key", "none"),
        scope="source",
    ),
    Option(
        "local_infile",
        "choice",
        "how rows are sent: by LOAD DATA LOCAL where the server has local_infile on (auto), always so (an error where it"
        " is off), or never, by INSERT, at several times the work for the server",
        default="auto",
        choices=("auto", "always", "never"),
        scope="target",
    ),
    Option(
        "lock_timeout_s",
        "integer",
        "how long to wait for a lock before the call ends as busy and is tried again later",
        default=30,
        scope="target",
    ),
    Option(
        "collation",
        "text",
        "collation of text columns of new tables; by default one that tells every two texts apart, as most systems do",
        scope="target",
    ),
)
_NAMES = {option.name for option in OPTIONS}
_LOCAL = ("localhost", "::1", "localhost.localdomain")


@dataclass(frozen=True)
class Address:
    """Where a server is and what is asked of it; the password stays in the spec."""

    host: str
    port: int
    user: str
    database: str
    unix_socket: str
    ssl_mode: str

    def __str__(self) -> str:
        return self.unix_socket or f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether nobody can listen in between: a unix socket or a loopback address."""
        return bool(self.unix_socket) or self.host.lower() in _LOCAL or self.host.startswith("127.")


def settings(spec: ConnectionSpec) -> dict[str, Any]:
    """Options of the connection: those of its url's query, under those given by name. Raises SpecError for others."""
    query = dict(parse_qsl(spec.url.partition("?")[2], keep_blank_values=True))
    unknown = sorted(set(query) - _NAMES)
    if unknown:
        raise SpecError(
            f"url of connection {spec.name!r} has parameters that are not known: {', '.join(unknown)}",
            f"known: {', '.join(sorted(_NAMES))}",
        )
    given = {name: value for name, value in spec.options.items() if value is not None}
    return {**query, **given}


def option(name: str, spec: ConnectionSpec, given: Mapping[str, Any] | None = None) -> Any:
    """An option: as given for the job's side, else for the connection, else its default. Raises SpecError."""
    declared = next(each for each in OPTIONS if each.name == name)
    value = (given or {}).get(name, settings(spec).get(name, declared.default))
    if declared.choices and value is not None and value not in declared.choices:
        raise SpecError(
            f"option {name} of connection {spec.name!r} is {value!r}", f"write one of {', '.join(declared.choices)}"
        )
    if declared.kind in ("integer", "number") and value is not None:
        try:
            return int(value) if declared.kind == "integer" else float(value)
        except (TypeError, ValueError) as error:
            raise SpecError(f"option {name} of connection {spec.name!r} is {value!r}", "write a number") from error
    return value


def address(spec: ConnectionSpec) -> Address:
    """Raises SpecError for a url that is not mysql://user@host:port/database."""
    try:
        parts = urlsplit(spec.url.partition("?")[0])
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise SpecError(f"url of connection {spec.name!r} is not understood: {error}", _FORM) from error
    path = unquote(parts.path.lstrip("/"))
    if "/" in path or not spec.url.partition(":")[2].startswith("//"):
        raise SpecError(f"url of connection {spec.name!r} is not understood", _FORM)
    found = Address(
        parts.hostname or "localhost",
        port,
        unquote(parts.username or "") or "root",
        path,
        str(option("unix_socket", spec) or ""),
        str(option("ssl_mode", spec) or ""),
    )
    if found.ssl_mode:
        return found
    mode = "preferred" if found.is_local else "verify_identity"
    return Address(found.host, found.port, found.user, found.database, found.unix_socket, mode)


_FORM = "write mysql://user@host:port/database, the database may be left out"


def limits(spec: ConnectionSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"name_parts": 1 if address(spec).database else 2}
    if option("snapshot", spec) != "none":
        found["max_connections"] = option("snapshot_connections", spec)
    return found


def parameters(spec: ConnectionSpec) -> dict[str, Any]:
    """Keyword parameters of the driver's Connection, with the password."""
    where = address(spec)
    password = spec.password.reveal() if spec.password is not None else _password_in(spec.url)
    found: dict[str, Any] = {
        "host": where.host,
        "port": where.port,
        "user": where.user,
        "password": password,
        "database": where.database or None,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": max(1, round(spec.connect_timeout_s)),
        "program_name": option("program_name", spec),
    }
    if where.unix_socket:
        found["unix_socket"] = _path(spec, where.unix_socket)
    if where.ssl_mode == "disabled" or where.unix_socket:
        found["ssl_disabled"] = True
    else:
        found["ssl"] = _context(spec, where.ssl_mode)
    return found


def _password_in(url: str) -> str:
    return unquote(urlsplit(url.partition("?")[0]).password or "")


def _context(spec: ConnectionSpec, mode: str) -> ssl.SSLContext:
    """Verified against ssl_ca or this machine's authorities in the modes that verify."""
    files = {name: option(name, spec) for name in ("ssl_ca", "ssl_cert", "ssl_key")}
    paths = {name: _path(spec, value) for name, value in files.items() if value}
    try:
        context = ssl.create_default_context(cafile=paths.get("ssl_ca"))
        context.check_hostname = mode == "verify_identity"
        context.verify_mode = ssl.CERT_REQUIRED if mode.startswith("verify") else ssl.CERT_NONE
        if "ssl_cert" in paths:
            context.load_cert_chain(paths["ssl_cert"], paths.get("ssl_key"))
    except OSError as error:
        raise SpecError(
            f"certificates of connection {spec.name!r} cannot be read: {error}", "check ssl_ca, ssl_cert and ssl_key"
        ) from error
    return context


def _path(spec: ConnectionSpec, value: Any) -> str:
    text = value.reveal() if isinstance(value, Secret) else str(value)
    return str(Path(spec.base_dir, text).expanduser())
