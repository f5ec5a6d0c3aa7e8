"""The public Python API: what it returns, and that the command line says the same."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import penstock
from penstock.api.records import timeline
from penstock.api.selection import select_jobs
from penstock.cli.render.output import to_json
from penstock.connectors import registry
from penstock.core.spec import ConnectionSpec, JobSpec, MaxErrors, Project, RateSpec
from penstock.engine.journal import Journal, journal_path
from penstock.engine.progress import RunEvent
from penstock.engine.stop import Stop
from penstock.testing.store import Store, drop_store, store
from tests.api.conftest import Read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """`memory:shop` with two tables; `memory:dw` is empty."""
    monkeypatch.setitem(registry.BUILT_IN, "memory", ("penstock.testing.memory", ""))
    shop = store("shop")
    shop.put("public.orders", pa.table({"id": pa.array(range(1000)), "n": pa.array(range(1000))}), ("id",))
    shop.put("public.users", pa.table({"id": pa.array(range(10)), "n": pa.array(range(10))}), ("id",))
    yield store("dw")
    drop_store("shop")
    drop_store("dw")


@pytest.fixture
def project(tables: Store, tmp_path: Path) -> Project:
    text = {
        "version": 1,
        "connections": {"shop": {"url": "memory:shop"}, "dw": {"url": "memory:dw"}},
        "jobs": {
            "raw": {"kind": "copy", "source": "shop", "target": "dw", "tables": ["*"], "chunk_size": "2KiB"},
            "users": {
                "kind": "copy",
                "source": "shop",
                "target": "dw",
                "tables": ["users"],
                "target_name": "u_{table}",
            },
        },
    }
    (tmp_path / "penstock.yml").write_text(json.dumps(text))
    return penstock.load_project(tmp_path / "penstock.yml", environ={})


def test_every_public_name_exists_and_is_documented() -> None:
    for name in penstock.__all__:
        found = getattr(penstock, name)
        assert name == "__version__" or found.__doc__, name
    assert set(penstock.__all__) <= set(dir(penstock))
    with pytest.raises(AttributeError, match="module 'penstock' has no attribute 'nonsense'"):
        penstock.nonsense  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    program = "import sys, penstock; print([name for name in sys.modules if name.startswith(('penstock.', 'pyarrow'))])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT / "src")

    assert done.stdout == "[]\n"


def test_run_returns_the_outcome_and_tells_events(project: Project, tables: Store) -> None:
    events: list[RunEvent] = []

    result = penstock.run(project, on_event=events.append)

    assert (result.state, result.exit_code) == ("done", 0)
    assert [job.job for job in result.jobs] == ["raw", "users"]
    assert tables.get("public.orders").num_rows == 1000
    assert {event.kind for event in events} >= {"run", "job", "planned", "done"}


def test_options_win_over_the_project(project: Project) -> None:
    options = penstock.RunOptions(workers=3, include=("users",), max_errors=MaxErrors(2), timeout_s=60)

    result = penstock.run(project, ["raw"], options)

    assert result.jobs[0].counts.rows == 10
    assert penstock.report(project).run.jobs[0].workers == 3


def test_a_plan_tells_what_a_run_does_and_writes_nothing(project: Project, tables: Store) -> None:
    planned = penstock.plan(project)

    assert not tables.tables
    assert not journal_path(project.root).exists()
    result = penstock.run(project)
    previews = [job.preview for job in planned.jobs]
    assert [preview.items for preview in previews if preview] == [job.counts.planned for job in result.jobs]


def test_a_run_can_be_stopped_from_its_events(project: Project) -> None:
    stop = Stop()

    def at_first_done(event: RunEvent) -> None:
        if event.kind == "done":
            stop.request("enough")

    result = penstock.run(project, ["raw"], penstock.RunOptions(workers=1), on_event=at_first_done, stop=stop)
    again = penstock.run(project, ["raw"])

    assert (result.state, result.exit_code) == ("stopped", 130)
    assert result.jobs[0].reason == "enough"
    assert again.state == "done"
    assert again.jobs[0].resumed


def test_stop_reaches_a_run_through_the_journal(project: Project) -> None:
    polite = replace(project.connections["shop"], rate=RateSpec(rows_per_s=200))
    slow = replace(project, connections={**project.connections, "shop": polite})
    started = threading.Event()
    results: list[penstock.RunResult] = []

    def work() -> None:
        results.append(
            penstock.run(slow, ["raw"], on_event=lambda event: started.set() if event.kind == "done" else None)
        )

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(120)
    ended = penstock.stop(slow)
    thread.join(120)

    assert (ended.state, ended.is_live) == ("stopped", False)
    assert results[0].exit_code == 130


def test_status_and_report_tell_the_same_run(project: Project) -> None:
    assert penstock.status(project) == []
    result = penstock.run(project, ["raw"])

    (line,) = penstock.status(project)
    report = penstock.report(project, result.run_id[:-1])

    assert line.run_id == report.run.run.run_id == result.run_id
    assert {one.table: (one.rows_read, one.rows_after, one.is_compared) for one in report.tables} == {
        "public.orders": (1000, 1000, True),
        "public.users": (10, 10, False),
    }
    assert len(timeline(project)) == result.jobs[0].counts.planned
    assert len(timeline(project, limit=2)) == 2


def test_check_opens_what_the_project_names(project: Project) -> None:
    found = penstock.check(project)

    assert found.exit_code == 0
    assert [(one.name, one.is_open, one.server) for one in found.connections] == [
        ("shop", True, "memory of this process"),
        ("dw", True, "memory of this process"),
    ]


def test_a_connector_without_the_ability_fails_the_check(read: Read) -> None:
    project = read(
        'version: 1\nconnections: {a: {url: "shelf:x"}}\n'
        "jobs:\n  q: {kind: copy, source: a, target: a, queries: {x: select 1}}\n  t: {kind: copy, source: a, target: a, tables: [x]}\n"
    ).project

    found = penstock.check(project, offline=True)

    assert found.exit_code == 2
    first, second = found.jobs
    assert first.error is not None
    assert first.error.what == "job 'q' needs query of connection 'a', which shelf lacks"
    assert first.error.hint.startswith("connectors that have it: ")
    assert second.error is None


def test_jobs_are_ordered_by_what_they_come_after_and_else_as_written() -> None:
    def job(name: str, *after: str) -> JobSpec:
        return JobSpec(name, after)

    jobs = [job("d", "b"), job("c"), job("b", "a"), job("a")]
    project = Project("/p", {}, {one.name: one for one in jobs})

    assert select_jobs(project) == ("c", "a", "b", "d")
    assert select_jobs(project, ["d", "a"]) == ("a", "d")
    with pytest.raises(penstock.SpecError, match='there is no job "e"'):
        select_jobs(project, ["e"])
    with pytest.raises(penstock.SpecError, match="the project has no jobs"):
        select_jobs(Project("/p", {}, {}))


def test_copy_needs_no_project(tables: Store, tmp_path: Path) -> None:
    within = penstock.OneOff(state_dir=tmp_path / "state", base_dir=tmp_path)

    result = penstock.copy("memory:shop", "memory:dw", {"tables": ["users"]}, within=within)

    assert result.exit_code == 0
    assert tables.get("public.users").num_rows == 10
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_same_copy_is_the_same_job_and_another_is_another(tables: Store, tmp_path: Path) -> None:
    within = penstock.OneOff(state_dir=tmp_path, base_dir=tmp_path)

    names = [
        penstock.copy("memory:shop", "memory:dw", {"tables": [pattern]}, options, within=within).jobs[0].job
        for pattern, options in (
            ("users", penstock.RunOptions()),
            ("users", penstock.RunOptions(workers=2)),
            ("orders", penstock.RunOptions()),
        )
    ]

    assert names[0] == names[1] != names[2]


def test_copy_takes_connections_of_a_project_by_name(project: Project, tables: Store) -> None:
    within = penstock.OneOff(project)

    result = penstock.copy(
        "shop", "dw", {"queries": {}, "tables": "orders", "mode": "upsert", "key": "id"}, within=within
    )

    assert result.exit_code == 0
    assert journal_path(project.root).exists()
    with pytest.raises(penstock.SpecError) as caught:
        penstock.copy("shpo", "dw", within=within)
    assert str(caught.value) == ('source "shpo" is neither a URL nor a connection of the project; did you mean "shop"?')


def test_copy_takes_a_connection_as_it_is(tables: Store, tmp_path: Path) -> None:
    source = ConnectionSpec("mine", "memory:shop")

    result = penstock.copy(source, "memory:dw", within=penstock.OneOff(state_dir=tmp_path))

    assert result.exit_code == 0


def test_a_wrong_setting_of_a_copy_is_named(tables: Store, tmp_path: Path) -> None:
    with pytest.raises(penstock.SpecError) as caught:
        penstock.copy("memory:shop", "memory:dw", {"mod": "append"}, within=penstock.OneOff(state_dir=tmp_path))

    assert str(caught.value) == 'copy: unknown key "mod" in jobs.copy; did you mean "mode"?'


def test_a_password_in_a_url_shows_nowhere(tables: Store, tmp_path: Path) -> None:
    within = penstock.OneOff(state_dir=tmp_path)

    penstock.copy("memory://u:hunter2@shop", "memory:dw", within=within)

    (journal,) = tmp_path.rglob("journal.db")
    with Journal.open(journal) as opened:
        dump = "\n".join(opened.db.iterdump())
    assert "hunter2" not in dump


# The command line is a thin shell: the same project gives the same documents.


def test_command_line_and_api_tell_the_same(project: Project) -> None:
    penstock.run(project, ["raw"])
    run_id = penstock.status(project)[0].run_id

    answers: dict[tuple[str, ...], Any] = {
        ("status",): penstock.status(project),
        ("status", run_id): penstock.report(project, run_id),
        ("report",): penstock.report(project),
        ("failed", "list"): penstock.failed_items(project),
    }

    for args, expected in answers.items():
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *args, "--json"],
            cwd=project.root, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == json.loads(json.dumps(to_json(expected))), args


def test_connectors_are_listed_with_their_abilities_and_options(tables: Store) -> None:
    found = {one.name: one for one in penstock.list_connectors()}

    assert {"duckdb", "files", "memory", "postgres", "sqlite"} <= set(found)
    assert found["postgres"].schemes == ("postgresql", "postgres")
    assert "upsert" in found["duckdb"].abilities
    assert found["files"].origin == "built in"
    assert "format" in {option.name for option in found["files"].options}


def test_a_connector_that_cannot_be_loaded_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BUILT_IN", {"nothing": ("a_module_that_is_not_there", "nothing")})
    monkeypatch.setattr(registry, "outside", dict)
    registry.connector.cache_clear()

    (found,) = penstock.list_connectors()

    assert found.error is not None
    assert str(found.error) == (
        "connector 'nothing' needs the package 'a_module_that_is_not_there', which is not installed; "
        "install it with: pip install 'penstock[nothing]'"
    )
