"""What each old option becomes, where the meaning is not that of the old tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.api.hygge.convert import import_hygge
from tests.hygge.old import FLOW, SERVER, job, project, told, values, write

INCREMENTAL = {"run_type": "incremental", "watermark": {"primary_key": "id", "watermark_column": "at"}}


@pytest.mark.parametrize(
    ("flow", "mode", "cursor"),
    [
        ({}, "replace", None),
        ({"run_type": "full_drop"}, "replace", None),
        ({"full_drop": True, "run_type": "incremental"}, "replace", None),
        ({"full_drop": False}, "append", None),
        (INCREMENTAL, "append", "at"),
        ({**INCREMENTAL, "run_type": "full_drop"}, "replace", None),
        ({**INCREMENTAL, "run_type": "${RUN:-incremental}"}, "append", "at"),
        ({**INCREMENTAL, "run_type": "sometimes"}, "append", "at"),
    ],
)
def test_run_type_and_watermark_become_mode_and_cursor(
    tmp_path: Path, flow: dict[str, Any], mode: str, cursor: str | None
) -> None:
    found = job(project(tmp_path, flow))

    assert (found["mode"], found.get("cursor")) == (mode, cursor)


@pytest.mark.parametrize(
    ("if_exists", "run_type", "mode", "told_as"),
    [
        ("replace", "full_drop", "replace", []),
        ("append", "full_drop", "append", []),
        ("append", "incremental", "append", []),
        ("fail", "full_drop", "append", ["decide"]),
        ("replace", "incremental", "append", ["decide"]),
        (None, "full_drop", "replace", []),
        (None, "incremental", "append", []),
    ],
)
def test_what_a_store_of_sql_server_says_of_existing_tables_is_never_made_worse(
    tmp_path: Path, if_exists: str | None, run_type: str, mode: str, told_as: list[str]
) -> None:
    store = {"type": "mssql", "connection": "db", "table": "dbo.T"} | ({"if_exists": if_exists} if if_exists else {})

    made = project(tmp_path, {"store": store, "run_type": run_type}, {"connections": {"db": SERVER}})

    assert job(made)["mode"] == mode
    assert told(made, "store.if_exists") == told_as


@pytest.mark.parametrize(
    ("run_type", "incremental", "mode", "cursor"),
    [
        ("incremental", None, "append", "at"),
        ("incremental", True, "append", "at"),
        ("incremental", False, "replace", None),
        ("full_drop", None, "replace", None),
        ("full_drop", True, "append", "at"),
        ("full_drop", False, "replace", None),
    ],
)
def test_a_lake_store_overrides_the_run_type_as_the_old_manual_said(
    tmp_path: Path, run_type: str, incremental: bool | None, mode: str, cursor: str | None
) -> None:
    store: dict[str, Any] = {
        "type": "adls",
        "account_url": "https://a.example",
        "filesystem": "c",
        "path": "p/{entity}",
    }
    store |= {} if incremental is None else {"incremental": incremental}
    flow = {**INCREMENTAL, "store": store, "run_type": run_type, "entities": ["t"]}

    found = job(project(tmp_path, flow))

    assert (found["mode"], found.get("cursor")) == (mode, cursor)


@pytest.mark.parametrize(
    ("marker", "flow", "mode"),
    [
        (0, {"run_type": "incremental"}, "append"),
        (0, INCREMENTAL, "upsert"),
        (1, INCREMENTAL, "upsert"),
        (2, INCREMENTAL, "upsert"),
        (4, INCREMENTAL, "upsert"),
        (4, {}, "replace"),
    ],
)
def test_a_row_marker_becomes_a_mode_with_the_key_columns(
    tmp_path: Path, marker: int, flow: dict[str, Any], mode: str
) -> None:
    store: dict[str, Any] = {
        "type": "open_mirroring",
        "account_url": "https://a.example",
        "filesystem": "w",
        "mirror_name": "m",
    }
    store |= {"row_marker": marker, "key_columns": "Id"}

    made = project(tmp_path, {**flow, "store": store})

    assert (job(made)["mode"], job(made)["key"]) == (mode, ["Id"])
    expected = {(0, "upsert"): ["differs"], (1, "upsert"): ["decide"], (2, "upsert"): ["decide"]}
    assert told(made, "store.row_marker") == expected.get((marker, mode), [])


def test_columns_of_an_entity_are_copied_with_what_key_cursor_and_hash_need(tmp_path: Path) -> None:
    flow = {
        **INCREMENTAL,
        "store": {"path": "out", "polish": {"hash_ids": [{"name": "h", "from_columns": ["code"]}]}},
        "entities": [{"name": "t", "columns": ["id", "name"]}],
    }

    found = job(project(tmp_path, flow))

    assert found["columns"]["include"] == ["id", "name", "at", "code"]
    assert found["columns"]["add"] == {"h": {"hash": ["code"]}}


def test_defaults_hold_for_inline_entities_too_and_that_is_told(tmp_path: Path) -> None:
    made = project(tmp_path, {"defaults": INCREMENTAL, "entities": ["a", {"name": "b", "run_type": "full_drop"}]})

    found = job(made)
    modes = {name: (found | found["overrides"].get(name, {})) for name in found["tables"]}
    assert {name: (keys["mode"], keys.get("cursor")) for name, keys in modes.items()} == {
        "a": ("append", "at"),
        "b": ("replace", None),
    }
    assert told(made, "defaults") == ["differs"]


def test_yaml_words_of_the_old_tool_are_read_as_it_read_them(tmp_path: Path) -> None:
    (tmp_path / "hygge.yml").write_text(
        "connections:\n  db: {type: mssql, server: h, database: d, encrypt: Yes, trust_cert: off}\n"
        "options: {continue_on_error: on}\n"
    )
    (tmp_path / "flows" / "main").mkdir(parents=True)
    (tmp_path / "flows" / "main" / "flow.yml").write_text("home: in\nstore: out\n")
    found = values(import_hygge(tmp_path))

    assert found["connections"]["db"]["url"] == "mssql://h/d?encrypt=yes&trust_server_certificate=no"
    assert found["defaults"] == {"max_errors": "100%"}


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("db.example.com", "db.example.com"),
        ("tcp:db.example.com,1533", "db.example.com:1533"),
        ("host\\instance", "host%5Cinstance"),
        ("${SERVER:-localhost}", "${SERVER:-localhost}"),
    ],
)
def test_servers_become_urls(tmp_path: Path, server: str, shown: str) -> None:
    made = project(tmp_path, top={"connections": {"db": {**SERVER, "server": server, "trust_cert": True}}})

    found = values(made)["connections"]["db"]
    assert found == {"url": f"mssql://{shown}/sales?trust_server_certificate=yes", "authentication": "entra"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in/${DAY}", "file:./in/${DAY}"),
        ("${ROOT:-./data/x}/users", "file:${ROOT:-./data/x}"),
        ("/abs/in/users.parquet", "file:/abs/in"),
        ("in#1/users", "file:./in%231"),
        ("in/$${literal}/users", "file:./in/${literal}"),
        ("in/${file:x}/users", "file:./in/$${file:x}"),
        ("in/${MY-VAR}/users", "file:./in/${MY_VAR}"),
    ],
)
def test_references_in_paths_are_carried_over(tmp_path: Path, old: str, new: str) -> None:
    made = project(tmp_path, {"home": old})

    assert values(made)["connections"][job(made)["source"]]["url"] == new


def test_a_table_read_twice_gets_a_job_of_its_own(tmp_path: Path) -> None:
    home = {"type": "mssql", "connection": "db", "table": "dbo.Orders"}
    flow = {"home": home, "entities": ["a", "b"]}

    made = project(tmp_path, flow, {"connections": {"db": SERVER}})

    assert made.jobs == ("main", "main_b")
    assert job(made)["target_name"] == "a"
    assert job(made, "main_b")["target_name"] == "b"


def test_names_that_are_no_names_here_are_made_into_some(tmp_path: Path) -> None:
    write(tmp_path, {"hygge.yml": {"connections": {"my db!": SERVER}}, "flows/01 load/flow.yml": FLOW})
    made = import_hygge(tmp_path)

    assert made.jobs == ("_01_load",)
    assert made.connections[0] == "my_db"


@pytest.mark.parametrize(
    "flow",
    [
        {"home": {"type": "mssql", "connection": "nowhere", "table": "t"}},
        {"home": {"type": "mssql", "connection": "db"}},
        {"home": {"type": "salesforce"}},
        {"home": {"type": "local", "path": "in", "format": "xml"}},
        {"store": {"type": "mssql", "connection": "db"}},
        {"store": {"type": "sqlite", "path": "x.db"}},
        {"store": {"type": "iceberg", "path": "x"}},
        {"store": {"type": "adls", "filesystem": "c", "path": "p"}},
        {"store": None},
        {"home": None},
    ],
)
def test_what_cannot_be_taken_over_is_named_and_the_rest_is_done(tmp_path: Path, flow: dict[str, Any]) -> None:
    write(tmp_path, {"flows/other/flow.yml": FLOW})

    made = project(tmp_path, flow, {"connections": {"db": SERVER}})

    assert made.jobs == ("other",)
    assert made.exit_code == 3
    assert [note.about for note in made.notes if note.kind == "lacking"] == ["jobs.main"]
    assert "# could not be taken over:\n" in made.text


@pytest.mark.parametrize(
    ("account", "host"),
    [
        ("https://a.dfs.core.windows.net/", "a.dfs.core.windows.net"),
        ("${ACCOUNT_URL}", "${ACCOUNT_URL_HOST}"),
        ("${ACCOUNT_URL:-https://a.example}", "${ACCOUNT_URL_HOST:-a.example}"),
        ("https://${ACCOUNT}.dfs.core.windows.net", "${ACCOUNT}.dfs.core.windows.net"),
    ],
)
def test_accounts_become_hosts(tmp_path: Path, account: str, host: str) -> None:
    store = {"type": "adls", "account_url": account, "filesystem": "c", "path": "raw/{entity}"}

    made = project(tmp_path, {"store": store, "entities": ["t"]})

    assert values(made)["connections"]["raw"] == {"url": f"abfss://c@{host}/raw"}
    assert told(made, "store.account_url") == (["decide"] if account.startswith("${") else [])


@pytest.mark.parametrize(
    ("path", "root", "name", "is_told"),
    [
        ("raw", "raw", "{table}", False),
        ("raw/{entity}", "raw", "{table}", False),
        ("raw/tbl_{entity}_v1/", "raw", "tbl_t_v1", False),
        ("raw/{entity}/full", "raw", "{table}", True),
        ("${OUT}", "${OUT}", "{table}", False),
    ],
)
def test_a_table_lies_in_the_folder_of_its_name(tmp_path: Path, path: str, root: str, name: str, is_told: bool) -> None:
    store = {"type": "adls", "account_url": "https://a.example", "filesystem": "c", "path": path}

    made = project(tmp_path, {"store": store, "entities": ["t"]})

    assert values(made)["connections"][job(made)["target"]]["url"] == f"abfss://c@a.example/{root}"
    assert job(made)["target_name"] == name
    assert told(made, "store.path") == (["decide"] if is_told else [])


def test_what_differs_is_said_of_tables_whose_schema_is_a_reference(tmp_path: Path) -> None:
    home = {"type": "mssql", "connection": "db", "table": "${SCHEMA}.{entity}"}
    flow = {**INCREMENTAL, "home": home, "entities": ["a", "b", {"name": "c", "run_type": "full_drop"}]}

    made = project(tmp_path, flow, {"connections": {"db": SERVER}})

    assert job(made)["tables"] == ["${SCHEMA}.a", "${SCHEMA}.b", "${SCHEMA}.c"]
    assert job(made)["overrides"] == {"c": {"mode": "replace", "cursor": None}}


def test_a_mirrored_database_is_one_landing_zone_with_the_longest_wait(tmp_path: Path) -> None:
    store: dict[str, Any] = {"type": "open_mirroring", "account_url": "https://onelake.example", "filesystem": "w"}
    store |= {"mirror_name": "m", "schema": "dbo", "row_marker": 4, "key_columns": "id", "partner_name": "P"}
    flow: dict[str, Any] = {
        **INCREMENTAL,
        "store": {**store, "folder_deletion_wait_seconds": 90},
        "entities": ["a", {"name": "b", "folder_deletion_wait_seconds": 240.5}, "c"],
    }

    made = project(tmp_path, flow)

    assert made.jobs == ("main",)
    assert job(made)["target_name"] == "dbo.{table}"
    assert values(made)["connections"]["mirror"] == {
        "url": "abfss://w@onelake.example/m/Files/LandingZone", "landing_zone": True, "partner": "P", "folder_wait_s": 241,
    }  # fmt: skip
