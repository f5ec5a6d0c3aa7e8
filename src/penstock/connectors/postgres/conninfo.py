"""How a connection's url and options become libpq parameters: TLS is verified unless the server is on this machine."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from penstock.core.errors import SpecError
from penstock.core.ports import Option
from penstock.core.secret import Secret, mask
from penstock.core.spec import ConnectionSpec

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

OPTIONS = (
    Option(
        "sslmode",
        "choice",
        "TLS towards the server; by default verify-full, or prefer where the server is reached by a unix socket or a"
        " loopback address",
        choices=SSL_MODES,
    ),
    Option(
        "sslrootcert",
        "path",
        "certificates of the authorities that may sign the server's; by default ~/.postgresql/root.crt, else those of"
        " this machine",
    ),
    Option("sslcert", "path", "client certificate"),
    Option("sslkey", "path", "key of the client certificate"),
    Option("application_name", "text", "name shown in pg_stat_activity", default="penstock"),
    Option(
        "statement_timeout_s", "number", "cancel a statement after this many seconds; by default the server's setting"
    ),
    Option(
        "codec",
        "choice",
        "how rows are coded: native (compiled, fastest), portable (drivers only) or auto (native where it is built)",
        default="auto",
        choices=("auto", "native", "portable"),
    ),
    Option(
        "split_by",
        "choice",
        "how a table is cut into chunks: by ctid page ranges, by ranges of a key, not at all (none), or auto: ctid"
        " where the server and the kind of table allow it, else key",
        default="auto",
        choices=("auto", "ctid", "key", "none"),
        scope="source",
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
        "how replace empties an existing table: delete (readers go on and see the old rows until the publish; leaves dead"
        " rows to vacuum) or truncate (less work for the server, but readers wait, and a transaction in REPEATABLE READ"
        " that began before may see no rows)",
        default="delete",
        choices=("delete", "truncate"),
        scope="target",
    ),
    Option(
        "count_by",
        "choice",
        "how the rows of a load are counted before the publish: acknowledged (the sum of what the server confirmed for each"
        " part, as long as staging is the very table that took them) or scan (read staging, and the target afterwards)",
        default="acknowledged",
        choices=("acknowledged", "scan"),
        scope="target",
    ),
)
_OWN = {option.name for option in OPTIONS} - {"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"}
_PATHS = ("sslrootcert", "sslcert", "sslkey")


def settings(spec: ConnectionSpec) -> dict[str, Any]:
    """Options of the connection: those of its url's query that are not libpq's, under those given by name."""
    query = dict(parse_qsl(spec.url.partition("?")[2]))
    return {**{k: v for k, v in query.items() if k in _OWN}, **spec.options}


def parameters(spec: ConnectionSpec) -> dict[str, Any]:
    """libpq parameters of a connection. Raises SpecError for a url or a parameter that libpq does not know."""
    url, _, query_text = spec.url.partition("?")
    query = [(k, v) for k, v in parse_qsl(query_text, keep_blank_values=True) if k not in _OWN]
    try:
        found = conninfo_to_dict(url + ("?" + urlencode(query, quote_via=quote) if query else ""))
    except psycopg.Error as error:
        raise SpecError(
            f"url of connection {spec.name!r} is not understood: {mask(str(error).strip(), {'password': spec.password})}",
            "write postgresql://user@host:port/database?parameter=value with parameters of libpq",
        ) from error
    given = {k: v for k, v in spec.options.items() if k in ("sslmode", "application_name", *_PATHS) and v is not None}
    result = {
        "application_name": "penstock",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **found,
        **{k: _path(spec, v) if k in _PATHS else v for k, v in given.items()},
        "connect_timeout": max(1, round(spec.connect_timeout_s)),
        "client_encoding": "UTF8",
    }
    if spec.password is not None:
        result["password"] = spec.password.reveal()
    if "service" not in result:
        result.setdefault("sslmode", "prefer" if is_local(result) else "verify-full")
    if str(result.get("sslmode", "")).startswith("verify") and "sslrootcert" not in result:
        result.update(_authorities())
    return result


def _path(spec: ConnectionSpec, value: Any) -> str:
    text = value.reveal() if isinstance(value, Secret) else str(value)
    return text if text == "system" else str(Path(spec.base_dir, text).expanduser())


def is_local(parameters: Mapping[str, Any]) -> bool:
    """Whether every host is a unix socket or a loopback address, so that nobody can listen in between."""
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    return all(
        not host or host.startswith(("/", "@", "127.")) or host.lower() in ("localhost", "::1", "localhost.localdomain")
        for host in hosts
    )


def _authorities() -> dict[str, str]:
    """Where libpq's own default file is missing: the machine's authorities. The libpq inside binary packages of the
    driver does not find them by itself (sslrootcert=system looks where it was built)."""
    if Path("~/.postgresql/root.crt").expanduser().exists():
        return {}
    bundle = ssl.get_default_verify_paths().cafile
    return {"sslrootcert": bundle or "system"}


def address(parameters: Mapping[str, Any]) -> str:
    """Host and port as shown in messages; no secret."""
    hosts = str(parameters.get("host") or parameters.get("hostaddr") or "the local socket").split(",")
    ports = str(parameters.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return ", ".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
