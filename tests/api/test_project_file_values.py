"""What a right project file becomes: every key consumed, the right layer winning, secrets kept secret."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.api.project_file import model
from penstock.api.project_file.build import LaterJob, copies, refuse_later_kinds
from penstock.api.project_file.keys import Keys
from penstock.api.project_file.settings import SETTINGS, from_environment, run_spec
from penstock.core.errors import NotSupported, SpecError
from penstock.core.secret import Secret
from penstock.core.spec import MaxErrors, RetrySpec, RunSpec, plain
from tests.api.conftest import Read
from tests.api.connectors import SHELF

BASE: dict[str, Any] = {
    "version": 1,
    "connections": {"a": {"url": "shelf:one"}, "b": {"url": "shelf:two"}},
    "jobs": {
        "first": {"kind": "copy", "source": "a", "target": "b", "tables": ["x"]},
        "raw": {"kind": "copy", "source": "a", "target": "b", "tables": ["t"], "overrides": {"t": {}}},
    },
}
RUN = {
    "workers": 3,
    "executor": "processes",
    "retry.attempts": 2,
    "retry.backoff_s": 4,
    "retry.max_backoff_s": "2 minutes",
    "max_errors": "5%",
    "timeout": "10 minutes",
    "item_timeout": 7.5,
}
COLUMNS = {
    "include": ["a"],
    "exclude": ["b"],
    "rename": {"a": "b"},
    "case": "snake",
    "cast": {"a": "int64"},
    "mask": {"a": "hash"},
    "add": {"a": {"now": "utc"}},
    "salt": "s",
}
TABLE = {
    "target_name": "x_{table}",
    "mode": "append",
    "key": ["id"],
    "cursor.column": "at",
    "cursor.lag": "10 minutes",
    "cursor.nulls": "include",
    "where": "a > 1",
    **{f"columns.{name}": value for name, value in COLUMNS.items()},
    "types.numeric": "decimal(18,4)",
    "types.nan": "null",
    "types.arrays": "text",
    **{f"schema_changes.{name}": "strict" for name in model.SchemaChanges.known},
    "allow_lossy": True,
    "on_empty": "fail",
    "chunk_size": "8MiB",
    "split": False,
}
# A value for every key there is, unlike what BASE or the built-in value says.
SAMPLES: dict[str, Any] = {
    "connections.a.url": "shelf:other",
    "connections.a.password": "pw",
    "connections.a.max_connections": 3,
    "connections.a.connect_timeout_s": 3,
    **{f"connections.a.rate.{name}": 9 for name in model.Rate.known},
    **{f"defaults.{name}": value for name, value in RUN.items()},
    "jobs.raw.kind": "extract",
    "jobs.raw.source": "b",
    "jobs.raw.target": "a",
    "jobs.raw.after": ["first"],
    "jobs.raw.tables": ["u", "!v"],
    "jobs.raw.queries": {"q": "select 1"},
    **{f"jobs.raw.{name}": value for name, value in {**RUN, **TABLE}.items()},
    **{f"jobs.raw.overrides.t.{name}": value for name, value in TABLE.items()},
}


def keys(kind: type[Keys], names: dict[str, str], prefix: str = "") -> Iterator[str]:
    """All keys below a model, dotted; `names` says which named thing to look into."""
    for name, key in kind.known.items():
        below = key.kind.below
        path = f"{prefix}{name}"
        if below is None:
            yield path
        else:
            yield from keys(below, names, f"{path}.{names[name]}." if name in names else f"{path}.")


def text_with(path: str, value: Any) -> str:
    project = copy.deepcopy(BASE)
    at = project
    *parents, last = path.split(".")
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    if path.endswith(("cursor.lag", "cursor.nulls")):
        at["column"] = "at"
    return json.dumps(project)


def test_every_key_of_the_schema_has_a_sample() -> None:
    known = set(keys(model.ProjectFile, {"connections": "a", "jobs": "raw", "overrides": "t"}))

    assert known - set(SAMPLES) == {"version"}
    assert set(SAMPLES) <= known


@pytest.mark.parametrize("path", SAMPLES)
def test_every_key_changes_the_project(read: Read, path: str) -> None:
    less = text_with(path.replace("lag", "column").replace("nulls", "column"), "at") if ".cursor." in path else None
    before = read(less or json.dumps(BASE)).project

    after = read(text_with(path, SAMPLES[path] if not path.endswith("cursor.column") else "other")).project

    assert plain(after) != plain(before)


@pytest.mark.parametrize("option", SHELF.options, ids=lambda option: option.name)
def test_every_option_of_a_connector_reaches_its_connection(read: Read, option: Any) -> None:
    samples = {"text": "me", "integer": 3, "number": 1.5, "boolean": True, "secret": "s", "path": "p"}
    value = option.choices[-1] if option.kind == "choice" else samples[option.kind]

    found = read(text_with(f"connections.a.{option.name}", value)).project.connections["a"].options[option.name]

    assert found == (Secret("s") if option.kind == "secret" else value)


@pytest.mark.parametrize("place", ["jobs.raw", "jobs.raw.overrides.t"])
def test_options_of_source_and_target_reach_the_job_and_its_overrides(read: Read, place: str) -> None:
    spec = copies(read(text_with(f"{place}.shape", "deep")).project)["raw"]

    found = spec.overrides["t"] if "overrides" in place else spec.settings
    assert found["options"] == {"shape": "deep"}


def test_options_in_the_url_are_taken_out_and_typed(read: Read) -> None:
    found = read(text_with("connections.a.url", "shelf:x?pages=3&strict=yes&left=1&badge=b%26c")).project.connections[
        "a"
    ]

    assert found.url == "shelf:x?left=1"
    assert found.options == {"pages": 3, "strict": True, "badge": Secret("b&c")}


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        ("shelf://u:p%40w@h:5/db", "shelf://u@h:5/db", "p@w"),
        ("shelf://u:p@w@h/db", "shelf://u@h/db", "p@w"),
        ("shelf:https://u:pw@h", "shelf:https://u@h", "pw"),
        ("shelf://u@h:5432/db?x=a:b@c", "shelf://u@h:5432/db?x=a:b@c", None),
        ("shelf:./a@b:c", "shelf:./a@b:c", None),
        ("shelf://h:5432/a@b", "shelf://h:5432/a@b", None),
    ],
)
def test_a_password_never_stays_in_the_url(read: Read, url: str, bare: str, password: str | None) -> None:
    found = read(text_with("connections.a.url", url)).project.connections["a"]

    assert found.url == bare
    assert found.password == (Secret(password) if password else None)


def test_no_secret_shows_when_a_project_is_printed(read: Read) -> None:
    text = json.dumps(
        {
            **BASE,
            "connections": {
                "a": {"url": "shelf://u:hunter1@h", "badge": "hunter2"},
                "b": {"url": "shelf:x", "password": "${PW}"},
            },
            "jobs": {"raw": {**BASE["jobs"]["raw"], "columns": {"salt": "hunter4"}, "seal": "hunter5"}},
        }
    )

    project = read(text, variables={"PW": "hunter3"}).project

    assert "hunter" not in repr(project)
    assert "hunter" not in json.dumps(plain(project))


def test_short_forms_become_the_long_ones(read: Read) -> None:
    short = {"tables": "t", "after": "first", "key": "id", "cursor": "at", "schema_changes": "ask", "allow_lossy": "a"}
    long = {
        "tables": ["t"],
        "after": ["first"],
        "key": ["id"],
        "cursor": {"column": "at"},
        "schema_changes": dict.fromkeys(model.SchemaChanges.known, "ask"),
        "allow_lossy": ["a"],
    }

    made = [read(text_with("jobs.raw", BASE["jobs"]["raw"] | keys)).project for keys in (short, long)]

    assert made[0] == made[1]


def test_null_may_be_written_without_quotes_where_it_is_a_word(read: Read) -> None:
    job = BASE["jobs"]["raw"] | {"columns": {"mask": {"a": None}}, "types": {"nan": None}}

    settings = copies(read(text_with("jobs.raw", job)).project)["raw"].settings

    assert settings == {"columns": {"mask": {"a": "null"}}, "types": {"nan": "null"}}


def test_settings_hold_only_what_stands_in_the_file(read: Read) -> None:
    assert copies(read(json.dumps(BASE)).project)["raw"].settings == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("x${A}y${B}", "xoney"),
        ("${C:-two}", "two"),
        ("${B:-two}", "two"),
        ("${C:-${A}}", "one"),
        ("${C:-}", ""),
        ("$${A}", "${A}"),
        ("$A {A}", "$A {A}"),
        ("${file:sub/f.txt}", "inside ${A}\nlast"),
        ("${D}", "${A}"),
    ],
)
def test_references_are_expanded_once(read: Read, tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.txt").write_text("inside ${A}\nlast\n")
    variables = {"A": "one", "B": "", "D": "${A}"}

    project = read(text_with("jobs.raw.where", text), root=str(tmp_path), variables=variables).project

    assert copies(project)["raw"].settings["where"] == expected


def test_a_reference_may_give_a_number(read: Read) -> None:
    project = read(
        'version: 1\nconnections:\n  a: {url: "${URL}", max_connections: "${N}", pages: "${N}"}\n'
        'jobs:\n  raw: {kind: copy, source: a, target: a, tables: ["*"], workers: "${N}", chunk_size: "${N}MiB"}\n',
        variables={"URL": "shelf:x", "N": "6"},
    ).project

    assert project.connections["a"].max_connections == 6
    assert project.connections["a"].options["pages"] == 6
    assert project.jobs["raw"].run.workers == 6
    assert copies(project)["raw"].settings["chunk_size"] == 6 * 2**20


def test_yaml_is_read_as_version_1_2_and_merges_anchors(read: Read) -> None:
    project = read(
        'version: 1\nconnections:\n  a: &a {url: "shelf:x", account: no, pages: 010}\n  b: {<<: *a, pages: 3}\n'
        "  c: {<<: [{pages: 4}, *a]}\n"
    ).project

    assert project.connections["a"].options == {"account": "no", "pages": 10}
    assert project.connections["b"].options == {"account": "no", "pages": 3}
    assert project.connections["c"].options == {"account": "no", "pages": 4}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90 s", 90), ("1h 30m", 5400), ("500ms", 0.5), ("2 days", 172800), (1.5, 1.5)]
)
def test_durations_are_read_with_their_units(read: Read, text: Any, seconds: float) -> None:
    assert read(text_with("jobs.raw.timeout", text)).project.jobs["raw"].run.timeout_s == seconds


@pytest.mark.parametrize(("text", "size"), [("64MiB", 2**26), ("1.5 kB", 1500), ("7 b", 7), ("2GiB", 2**31)])
def test_sizes_are_read_with_their_units(read: Read, text: str, size: int) -> None:
    assert copies(read(text_with("jobs.raw.chunk_size", text)).project)["raw"].settings["chunk_size"] == size


# Which layer wins, key by key.

LAYERS = {
    "workers": (2, 3, 4),
    "executor": ("processes", "threads", "processes"),
    "retry.attempts": (2, 3, 4),
    "retry.backoff_s": (2.0, 3.0, 4.0),
    "retry.max_backoff_s": (2.0, 3.0, 4.0),
    "max_errors": (MaxErrors(2), MaxErrors(0, 3.0), MaxErrors(4)),
    "timeout": (2.0, 3.0, 4.0),
    "item_timeout": (2.0, 3.0, 4.0),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_the_earlier_layer_wins_for_each_setting(setting: Any) -> None:
    environment, job, defaults = ({setting.key: value} for value in LAYERS[setting.key])

    def value(*layers: dict[str, Any]) -> Any:
        found: Any = run_spec(*layers)
        for part in setting.field.split("."):
            found = getattr(found, part)
        return found

    built_in = value()
    assert value(environment, job, defaults) == LAYERS[setting.key][0]
    assert value({}, job, defaults) == LAYERS[setting.key][1]
    assert value({}, {}, defaults) == LAYERS[setting.key][2]
    assert built_in == (RetrySpec() if setting.key.startswith("retry") else RunSpec()).__getattribute__(
        setting.field.rpartition(".")[2]
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_each_variable_reaches_every_job(read: Read, setting: Any) -> None:
    value = {"executor": "processes", "max_errors": "5%"}.get(setting.key, "7")

    project = read(json.dumps(BASE), environment=from_environment({setting.variable: value})).project

    assert plain(project.jobs["raw"].run) != plain(RunSpec())
    assert project.jobs["raw"].run == project.jobs["first"].run


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SpecError) as caught:
        from_environment({"PENSTOCK_WORKERS": "many"})

    assert str(caught.value) == (
        'environment variable PENSTOCK_WORKERS is "many", but must be "auto" or a whole number from 1; correct it or unset it'
    )


def test_auto_in_a_job_beats_a_number_in_defaults(read: Read) -> None:
    text = json.dumps({**BASE, "defaults": {"workers": 3}, "jobs": {"raw": BASE["jobs"]["raw"] | {"workers": "auto"}}})

    assert read(text).project.jobs["raw"].run.workers is None


@pytest.mark.parametrize("kind", ["dimension", "schema", "extract"])
def test_a_job_of_a_later_kind_is_kept_and_refused_when_it_is_asked_for(read: Read, kind: str) -> None:
    job = {"kind": kind, "after": "first", "source": "nowhere", "anything": {"at": "all"}}
    project = read(json.dumps({**BASE, "jobs": {**BASE["jobs"], "later": job}})).project

    assert project.jobs["later"] == LaterJob(name="later", after=("first",), kind=kind)
    refuse_later_kinds(project, ["raw", "first"])
    with pytest.raises(NotSupported) as caught:
        refuse_later_kinds(project, ["raw", "later"])
    assert str(caught.value) == (
        f"job kind '{kind}' is not available in this version (job 'later'); "
        "name the jobs to take instead; available kinds: copy"
    )
    assert caught.value.exit_code == 2
