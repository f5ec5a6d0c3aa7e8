"""A database that is emptied for each test: quicker than making one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.mariadb import MariadbServer


@pytest.fixture(scope="module")
def shared_database(mariadb_server: MariadbServer) -> Iterator[str]:
    mariadb_server.start()
    name = mariadb_server.create_database()
    yield name
    mariadb_server.start()
    mariadb_server.drop_database(name)


@pytest.fixture
def database(mariadb_server: MariadbServer, shared_database: str) -> str:
    """Name of a database with nothing in it."""
    mariadb_server.start()
    where = f"TABLE_SCHEMA = '{shared_database}'"
    held = mariadb_server.execute(f"SELECT TABLE_TYPE, TABLE_NAME FROM information_schema.TABLES WHERE {where}")
    drops = [f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} `{name.replace('`', '``')}`" for kind, name in held]
    if drops:
        mariadb_server.execute("SET foreign_key_checks = 0", *drops, database=shared_database)
    return shared_database


@pytest.fixture
def url(mariadb_server: MariadbServer, database: str) -> str:
    return mariadb_server.url(database)
