"""A database that is emptied for each test: quicker than making one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.parts.postgres import PostgresServer

_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO public;
END $$
"""


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Iterator[str]:
    postgres_server.start()
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture
def dsn(shared_database: str) -> str:
    """URL of a database with nothing in it but an empty schema `public`."""
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        connection.execute(_EMPTY)
    return shared_database
