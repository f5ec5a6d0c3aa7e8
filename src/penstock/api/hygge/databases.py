"""Connections of the old project: SQL Server by server and database, logged in to with a token of Microsoft Entra."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote as percent

from penstock.api.hygge.ends import Place
from penstock.api.hygge.notes import Notes
from penstock.api.hygge.references import carried, has_reference, secret
from penstock.api.hygge.section import Section, Value, flag
from penstock.core.errors import SpecError
from penstock.core.names import TableName

_PORT = re.compile(r"(?P<host>.*),\s*(?P<port>\d+)\Z")
DROPPED = {
    "driver": "named the ODBC driver; the connector brings its own",
    "min_size": "connections kept open in advance; here one is opened when a worker needs it",
}


def database(options: Section, name: str, notes: Notes, about: str) -> Place | None:
    """A SQL Server; None, with a note, where server or database is missing or the kind is another."""
    kind = options.take("type")
    if kind is not None and kind.data != "mssql":
        notes.add(
            "lacking",
            options.option("type"),
            f"the old tool knew mssql only, not {kind.data}; write the connection anew, with the url of its system",
            kind.place,
            about,
        )
        options.drop(
            dict.fromkeys(options.left(), "belongs to a connection that could not be taken over"), notes, about
        )
        return None
    server, base = options.take("server"), options.take("database")
    if server is None or base is None:
        notes.add("lacking", options.name, "server or database is missing", options.place, about)
        return None
    place = _place(options, server, base, name, notes, about)
    options.drop(DROPPED, notes, about)
    options.tell_rest(notes, about)
    return place


def _place(options: Section, server: Value, base: Value, name: str, notes: Notes, about: str) -> Place:
    host = str(server.data).removeprefix("tcp:")
    port = _PORT.match(host)
    host, port_text = (port["host"], f":{port['port']}") if port else (host, "")
    shown = carried(host, server.place, notes, lambda text: percent(text, safe=".-_")) + port_text
    into = carried(str(base.data), base.place, notes, lambda text: percent(text, safe="-_."))
    query = [pair for pair in (_encrypt(options, notes), _trust(options, notes, about)) if pair]
    user, beside = _login(options, name, notes, about)
    url = f"mssql://{user}{shown}/{into}" + ("?" + "&".join(query) if query else "")
    return Place(url, beside | _limits(options, notes, about))


def _encrypt(options: Section, notes: Notes) -> str:
    value = options.take("encrypt")
    if value is None:
        return ""
    if has_reference(str(value.data)):
        return f"encrypt={carried(str(value.data), value.place, notes)}"
    return f"encrypt={'no' if flag(value.data) is False else 'yes'}"


def _trust(options: Section, notes: Notes, about: str) -> str:
    value = options.take("trust_cert")
    if value is None:
        text = (
            "the old tool took any certificate unless told otherwise; now the server's is checked, unless "
            "trust_server_certificate=yes stands in the url"
        )
        notes.add("differs", options.option("trust_cert"), text, options.place, about)
        return ""
    if has_reference(str(value.data)):
        return f"trust_server_certificate={carried(str(value.data), value.place, notes)}"
    return f"trust_server_certificate={'yes' if flag(value.data) else 'no'}"


def _login(options: Section, name: str, notes: Notes, about: str) -> tuple[str, dict[str, Any]]:
    """The user for the URL, with @, and what stands beside it: the password's reference, or the login the old tool had,
    the default credential of Microsoft Entra."""
    user, password = options.take("user", "username", "uid"), options.take("password", "pwd")
    if user is None and password is None:
        return "", {"authentication": "entra"}
    place = (user or password or Value("", options.place)).place
    text = "the old tool never used a login of SQL Server, it knew tokens of Microsoft Entra only; now it is used"
    notes.add("differs", options.option("user"), text, place, about)
    shown = carried(str(user.data), user.place, notes, lambda part: percent(part, safe="")) + "@" if user else ""
    if password is None:
        return shown, {}
    return shown, {"password": secret(password, options.option("password"), f"{name}_PASSWORD", notes, about)}


def _limits(options: Section, notes: Notes, about: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pool = options.section("pool")
    size = options.take("pool_size") or pool.take("max_size", "size")
    found["max_connections"] = number(size, options.option("pool_size"), notes, about)
    timeout = options.take("timeout")
    found["connect_timeout_s"] = number(timeout, options.option("timeout"), notes, about, is_whole=False)
    pool.drop(DROPPED, notes, about)
    pool.tell_rest(notes, about)
    return {key: value for key, value in found.items() if value is not None}


def number(value: Value | None, option: str, notes: Notes, about: str, *, is_whole: bool = True) -> Any:
    """A number above 0, or the reference that gives it; None where there is none, with a note where it is something else."""
    if value is None:
        return None
    data = value.data
    if isinstance(data, str) and has_reference(data):
        return carried(data, value.place, notes)
    if isinstance(data, str) and data.strip().isascii() and data.strip().isdecimal():
        data = int(data)
    if isinstance(data, (int, float)) and not isinstance(data, bool) and data > 0 and not (is_whole and data % 1):
        return data
    notes.add(
        "decide", option, f"a {'whole ' if is_whole else ''}number above 0 was expected; left out", value.place, about
    )
    return None


def table_name(text: str, place: str) -> TableName:
    """A table's name as it was written. Raises SpecError that names the place."""
    try:
        return TableName.parse(text)
    except SpecError as error:
        raise SpecError(f"{place}: {error.what}", error.hint) from error


def with_schema(table: TableName) -> TableName:
    """A table without schema gets dbo, which is what a login has unless someone changed that."""
    return table if len(table.parts) > 1 else TableName(("dbo", *table.parts))
