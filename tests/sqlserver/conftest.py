"""The server named by PENSTOCK_TEST_SQLSERVER; its database is emptied for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pytest

from penstock.connectors.sqlserver.connector import connector
from penstock.connectors.sqlserver.session import SqlServerSession
from penstock.core.names import TableName
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec


def named_server() -> ConnectionSpec:
    """The connection that the environment names, its password apart from its url."""
    url = os.environ["PENSTOCK_TEST_SQLSERVER"]
    parts = urlsplit(url)
    password = unquote(parts.password or "")
    bare = parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@")).geturl()
    return ConnectionSpec("shop", bare, password=Secret(password))


def empty(session: SqlServerSession) -> None:
    """Drop everything that tests make in the schema dbo and in schemas whose names begin with test."""
    line = session.writing
    for name, child in line.query("SELECT f.name, OBJECT_NAME(f.parent_object_id) FROM sys.foreign_keys AS f"):
        line.execute(
            f"ALTER TABLE {TableName(('dbo', str(child))).quoted()} DROP CONSTRAINT {TableName((str(name),)).quoted()}"
        )
    sql = """
SELECT s.name, o.name, RTRIM(o.type) FROM sys.objects AS o JOIN sys.schemas AS s ON s.schema_id = o.schema_id
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0 ORDER BY o.type DESC
"""
    for schema, name, kind in line.query(sql):
        what = "VIEW" if kind == "V" else "TABLE"
        line.execute(f"DROP {what} {TableName((str(schema), str(name))).quoted()}")


@pytest.fixture
def server() -> ConnectionSpec:
    """A connection to a database with nothing in it."""
    spec = named_server()
    session = connector.open(spec)
    try:
        empty(session)
    finally:
        session.close()
    return spec


@pytest.fixture
def session(server: ConnectionSpec) -> Iterator[SqlServerSession]:
    opened = connector.open(server)
    yield opened
    opened.close()


def without_password(spec: ConnectionSpec, password: str) -> ConnectionSpec:
    return replace(spec, password=Secret(password))
