"""Nothing of an old project is lost in silence, and no secret of it is copied."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from penstock.api.hygge.convert import import_hygge
from tests.hygge.golden import PROJECTS, imported
from tests.hygge.old import write

POLISH = {
    "columns": {"case": "snake"},
    "hash_ids": [{"name": "h", "from_columns": ["id"]}],
    "constants": [{"name": "c", "value": 1}],
    "timestamps": [{"name": "t"}],
    "add_row_marker": {"enabled": True},
}
WHOLE: dict[str, Any] = {
    "hygge.yml": {
        "name": "whole",
        "connections": {"db": {"type": "mssql", "server": "s", "database": "d", "pool": {"max_size": 4}}},
        "options": {"concurrency": 4},
        "journal": {"location": "store"},
    },
    "flows/sql/flow.yml": {
        "home": {"type": "mssql", "connection": "db", "table": "dbo.{entity}", "options": {"batch_size": 5}},
        "store": {"type": "parquet", "path": "out", "options": {"compression": "gzip"}, "polish": POLISH},
        "watermark": {"primary_key": "id", "watermark_column": "at"},
        "options": {"queue_size": 5},
        "defaults": {"batch_size": 5},
    },
    "flows/sql/entities/a.yml": {
        "name": "a",
        "home": {"batch_size": 7},
        "store": {"compression": "zstd"},
        "source_config": {"where": "x = 1"},
        "options": {"batch_size": 5},
    },
    "flows/csv/flow.yml": {
        "home": {"type": "local", "path": "in/a.csv", "format": "csv", "format_options": {"separator": ";"}},
        "store": {"type": "sqlite", "path": "x.db", "table": "t"},
    },
    "flows/lake/flow.yml": {
        "home": {"type": "mssql", "server": "s", "database": "d", "table": "dbo.b"},
        "store": {"type": "adls", "account_url": "https://a.example", "filesystem": "c", "path": "p/q"},
    },
    "flows/mirror/flow.yml": {
        "home": {"type": "mssql", "connection": "db", "table": "dbo.c"},
        "store": {
            "type": "open_mirroring",
            "account_url": "https://a.example",
            "filesystem": "w",
            "mirror_name": "m",
            "key_columns": ["id"],
            "row_marker": 4,
        },
    },
}


def mappings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all mappings inside a value."""
    found = [path] if isinstance(value, dict) else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [inner for key, one in items for inner in mappings(one, (*path, key))]


# A mapping whose keys are names of the author's, not options.
NAMES = {("connections",)}
EVERYWHERE = [(file, path) for file, content in WHOLE.items() for path in mappings(content) if path not in NAMES]


@pytest.mark.parametrize(("file", "path"), EVERYWHERE, ids=lambda value: str(value))
def test_an_unknown_key_is_told_wherever_it_stands(tmp_path: Path, file: str, path: tuple[Any, ...]) -> None:
    files = deepcopy(WHOLE)
    at = files[file]
    for step in path:
        at = at[step]
    at["frobnicate"] = "hunter2-unknown"
    write(tmp_path, files)

    made = import_hygge(tmp_path)

    found = [note for note in made.notes if note.option.endswith("frobnicate")]
    assert found, [note.option for note in made.notes]
    assert all(place.startswith(file) for note in found for place in note.places)
    assert "frobnicate" in made.text
    assert "hunter2" not in made.text


def test_every_note_of_an_import_stands_in_the_file() -> None:
    for name in PROJECTS:
        made = imported(name)
        text = " ".join(line.strip(" #") for line in made.text.splitlines())
        for note in made.notes:
            assert f"{note.option} " in text or f"{note.option}:" in text, (name, note)
            assert " ".join(note.text.split()) in " ".join(text.split()), (name, note)


def test_the_whole_example_is_taken_over(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)

    made = import_hygge(tmp_path)

    assert (made.exit_code, made.jobs) == (0, ("csv", "lake", "mirror", "sql"))


SECRET = "hunter2-in-clear"


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("hygge.yml", ("connections", "db", "password"), SECRET),
        ("hygge.yml", ("connections", "db", "password"), f"${{DB_PASSWORD:-{SECRET}}}"),
        ("hygge.yml", ("connections", "db", "pwd"), f"prefix-${{X}}-{SECRET}"),
        ("hygge.yml", ("connections", "db", "server"), f"s;PWD={SECRET}"),
        ("flows/lake/flow.yml", ("store", "client_secret"), SECRET),
        ("flows/lake/flow.yml", ("store", "storage_account_key"), SECRET),
        ("flows/lake/flow.yml", ("store", "account_url"), f"https://a.example?sv=1&sig={SECRET}"),
        ("flows/lake/flow.yml", ("store", "account_url"), f"https://user:{SECRET}@a.example"),
        ("flows/sql/flow.yml", ("home", "query"), f"select * from openrowset('x', 'Server=s;PWD={SECRET};', 'y')"),
        ("flows/sql/entities/a.yml", ("source_config", "where"), f"token='{SECRET}'"),
        ("flows/csv/flow.yml", ("home", "path"), f"https://h/x.csv?token={SECRET}"),
    ],
)
def test_no_secret_is_copied_and_its_reference_is_told(
    tmp_path: Path, file: str, path: tuple[str, ...], value: str
) -> None:
    files = deepcopy(WHOLE)
    at = files[file]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    if path[-1] in ("client_secret", "storage_account_key"):
        files[file]["store"]["credential"] = "service_principal" if path[-1] == "client_secret" else "storage_key"
    write(tmp_path, files)

    made = import_hygge(tmp_path)

    assert SECRET not in made.text
    assert not any(SECRET in note.text + note.option for note in made.notes)
    assert [note for note in made.notes if note.kind == "secret"]


def test_a_reference_to_a_secret_is_kept_as_it_is(tmp_path: Path) -> None:
    files = deepcopy(WHOLE)
    files["hygge.yml"]["connections"]["db"] |= {"user": "loader", "password": "${SQL_PASSWORD}"}
    write(tmp_path, files)

    made = import_hygge(tmp_path)

    assert 'url: "mssql://loader@s/d", password: "${SQL_PASSWORD}"' in made.text
    assert not [note for note in made.notes if note.kind == "secret"]
