"""The real command at work: exit codes from outcomes, what goes where, stops, and what each option does."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, environment, until

PROGRAM = Path(__file__).with_name("program.py")
ROOT = Path(__file__).parents[2]


class Shop:
    """A project over tables in memory; each run of the command is a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connections: dict[str, Any] = {
            "shop": {"url": "fault+memory:shop"},
            "dw": {"url": "fault+memory:dw"},
        }
        self.defaults: dict[str, Any] = {"retry": {"attempts": 2, "backoff_s": 0.01, "max_backoff_s": 0.01}}
        self.jobs: dict[str, Any] = {
            "raw": {"kind": "copy", "source": "shop", "target": "dw", "tables": ["*"], "chunk_size": "16KiB"}
        }

    def write(self) -> None:
        project = {"version": 1, "connections": self.connections, "defaults": self.defaults, "jobs": self.jobs}
        (self.folder / "penstock.yml").write_text(json.dumps(project))

    def start(self, *args: str, **variables: str) -> subprocess.Popen[str]:
        self.write()
        env = environment(self.folder, **variables)
        env["PYTHONPATH"] += os.pathsep + str(ROOT)
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *args], cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True
        )

    def __call__(self, *args: str, **variables: str) -> Done:
        with self.start(*args, **variables) as process:
            try:
                out, err = process.communicate(timeout=120)
            except BaseException:
                process.kill()
                raise
        return Done(process.returncode, out, err)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_run_that_is_done_says_so_on_stdout_and_exits_0(shop: Shop) -> None:
    done = shop("run")

    assert done.code == 0
    assert re.match(r"run \S+ done in ", done.out)
    assert re.search(r"^  raw +done +\d+/\d+ +13,100 ", done.out, re.MULTILINE)
    assert "raw: running" in done.err
    assert "100 %" in done.err.splitlines()[-1]


def test_json_lines_end_with_the_summary(shop: Shop) -> None:
    done = shop("run", "--json")

    assert done.code == 0
    assert done.err == ""
    *events, summary = done.events
    assert {event["event"] for event in events} >= {"run", "job", "planned", "plan_done", "done"}
    assert summary["event"] == "summary"
    assert (summary["state"], summary["exit_code"]) == ("done", 0)
    assert summary["jobs"][0]["counts"]["rows"] == 13_100
    assert {t["table"]: (t["rows_read"], t["rows_after"]) for t in summary["tables"]} == {
        "public.orders": (4000, 4000),
        "public.customers": (100, 100),
        "public.items": (9000, 9000),
    }


def test_text_and_json_tell_the_same_numbers(shop: Shop) -> None:
    shop("run")

    text, document = shop("report").out, shop("report", "--json").json

    job = document["run"]["jobs"][0]
    assert f"{job['counts']['done']}/{job['counts']['planned']} items, {job['counts']['rows']:,} rows" in text
    for stage in job["stages"]:
        assert re.search(rf"{stage['kind']} +{stage['counts']['done']}/{stage['counts']['planned']} ", text)


def test_quiet_says_nothing_when_all_is_well(shop: Shop) -> None:
    done = shop("run", "--quiet")

    assert (done.code, done.out, done.err) == (0, "", "")


def test_quiet_still_tells_what_failed(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read@2x*:error=DataError"

    done = shop("run", "--quiet")

    assert done.code == 1
    assert "failed" in done.out


def test_quiet_json_is_the_summary_alone(shop: Shop) -> None:
    done = shop("run", "--quiet", "--json")

    assert [event["event"] for event in done.events] == ["summary"]


# Exit codes: one place, from the outcome or the class of the error.


@pytest.mark.parametrize(
    ("faults", "code", "state"),
    [
        ("open x*:refuse", 10, "failed"),
        ("open x*:error=CredentialsRefused", 12, "failed"),
        ("describe x*:error=DataError", 1, "failed"),
        ("read x*:error=DataError", 1, "failed"),
    ],
)
def test_a_run_that_fails_exits_with_the_code_of_its_cause(shop: Shop, faults: str, code: int, state: str) -> None:
    shop.connections["shop"]["faults"] = faults

    done = shop("run", "--json")

    assert done.code == code
    assert done.events[-1]["state"] == state
    assert done.events[-1]["exit_code"] == code


def test_a_failure_is_told_with_its_cause_and_what_to_do_next(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read@2:error=DataError"

    done = shop("run")

    assert done.code == 1
    assert "1 item failed" in done.out
    assert "read call 2: " in done.out
    assert "penstock failed show ID" in done.out
    assert re.search(r"^failed raw public\.\w+/\d+: ", done.err, re.MULTILINE)


def test_some_failed_items_within_the_limit_exit_with_3(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read@2:error=DataError"

    done = shop("run", "--json", "--max-errors", "50%")

    assert done.code == 3
    assert done.events[-1]["state"] == "partial"


def test_a_second_run_of_a_job_that_runs_is_locked_out_with_11(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=1000000"
    with running(shop) as process:
        done = shop("run", "--json")
        process.send_signal(signal.SIGKILL)

    assert done.code == 11
    assert done.events[-1]["kind"] == "Locked"


class running:  # noqa: N801
    """A run that is under way: its items are planned, and (faults permitting) in work."""

    def __init__(self, shop: Shop, *args: str) -> None:
        self.shop = shop
        self.process = shop.start("run", *args)
        self.is_json = "--json" in args

    def __enter__(self) -> subprocess.Popen[str]:
        stream = self.process.stdout if self.is_json else self.process.stderr
        assert stream is not None
        wanted = '"plan_done"' if self.is_json else "raw: running"
        assert any(wanted in line for line in stream), "the process ended too early"
        until(self._has_begun_items)
        return self.process

    def _has_begun_items(self) -> bool:
        journal = f"file:{self.shop.folder}/.penstock/journal.db?mode=ro"
        with closing(sqlite3.connect(journal, uri=True)) as db:
            return db.execute("SELECT 1 FROM items WHERE started_ms IS NOT NULL").fetchone() is not None

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_a_safe_point_with_130(shop: Shop, number: signal.Signals) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=0.2"
    with running(shop) as process:
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)

        assert process.returncode == 130
        assert "stopped" in out
        assert number.name in out
        assert "run the same command again to continue" in out


def test_a_second_signal_stops_at_once(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=1000000"
    with running(shop, "--json") as process:
        process.send_signal(signal.SIGINT)
        until((shop.folder / "asked").exists)  # two signals at the same moment are one
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)

        assert process.returncode == 130


def test_stop_from_another_process_waits_until_the_run_has_ended(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=4"
    with running(shop, "--workers", "1") as process:
        stopped = shop("stop", "--json")
        out, _ = process.communicate(timeout=120)

    assert stopped.code == 0
    assert (stopped.json["state"], stopped.json["is_live"]) == ("stopped", False)
    assert process.returncode == 130
    assert "raw: stopped by " in out


def test_stop_now_does_not_wait_for_what_is_in_work(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=1000000"
    with running(shop) as process:
        shop("stop", "--now")

        process.communicate(timeout=120)
        assert process.returncode == 130


def test_stop_without_waiting_comes_back_while_the_run_goes_on(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=1000000"
    with running(shop):
        stopped = shop("stop", "--no-wait", "--json")

        assert stopped.code == 0
        assert stopped.json["is_live"]
        assert stopped.json["stop_requested"] == 1


def test_stop_without_a_run_is_an_error(shop: Shop) -> None:
    shop("run")

    done = shop("stop")

    assert done.code == 1
    assert done.err.startswith("error: ")


def test_follow_stays_with_a_run_until_it_ends(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=0.2"
    with running(shop) as process, shop.start("status", "--follow") as follower:
        assert follower.stderr is not None
        process.send_signal(signal.SIGSTOP)
        try:
            assert any(re.search(r"^\[.*\] raw  ", line) for line in follower.stderr)
        finally:
            process.send_signal(signal.SIGCONT)
        out, _ = follower.communicate(timeout=120)

    assert follower.returncode == 0
    assert re.match(r"run \S+ done, exit code 0\n", out)


# Every option does something that can be seen.


def items(done: Done) -> int:
    """How many items a JSON run had planned."""
    count: int = done.events[-1]["jobs"][0]["counts"]["planned"]
    return count


def settings(done: Done) -> dict[str, Any]:
    """The run settings of a JSON plan."""
    found: dict[str, Any] = done.json["jobs"][0]["settings"]
    return found


@pytest.mark.parametrize(
    ("args", "changed"),
    [
        (["--workers", "3"], {"workers": 3}),
        (["--workers", "auto"], {"workers": None}),
        (["--executor", "processes"], {"executor": "processes"}),
        (["--max-errors", "5%"], {"max_errors": {"count": 0, "percent": 5.0}}),
        (["--max-errors", "7"], {"max_errors": {"count": 7, "percent": None}}),
        (["--timeout", "2 minutes"], {"timeout_s": 120.0}),
    ],
)
def test_options_of_a_run_go_before_environment_and_project(
    shop: Shop, args: list[str], changed: dict[str, Any]
) -> None:
    shop.jobs["raw"] |= {"workers": 2, "max_errors": 1, "timeout": 10}
    from_environment = {"PENSTOCK_WORKERS": "4", "PENSTOCK_MAX_ERRORS": "2", "PENSTOCK_TIMEOUT": "20"}

    before, after = (
        settings(shop("plan", "--json", **from_environment)),
        settings(shop("plan", "--json", *args, **from_environment)),
    )

    assert before["workers"] == 4
    assert before["timeout_s"] == 20
    assert after == before | changed


def test_workers_is_what_the_run_takes(shop: Shop) -> None:
    shop("run", "--workers", "3")

    assert shop("report", "--json").json["run"]["jobs"][0]["workers"] == 3


def test_a_time_out_ends_the_run(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read x*:slow=1000000"

    done = shop("run", "--json", "--timeout", "1")

    assert done.code != 0


@pytest.mark.parametrize("command", [["run"], ["plan"], ["run", "--dry-run"]])
def test_include_and_exclude_narrow_the_tables(shop: Shop, command: list[str]) -> None:
    found = [
        shop(*command, "--json", *args)
        for args in ([], ["--include", "orders", "--include", "public.items"], ["--exclude", "orders"])
    ]

    def tables(done: Done) -> set[str]:
        last = done.events[-1] if command == ["run"] else done.json["jobs"][0]["preview"]
        return {table.get("table", table.get("target")) for table in last["tables"]}

    assert [tables(done) for done in found] == [
        {"public.orders", "public.items", "public.customers"},
        {"public.orders", "public.items"},
        {"public.items", "public.customers"},
    ]


def test_dry_run_is_the_plan_and_writes_nothing(shop: Shop) -> None:
    planned, dry = shop("plan"), shop("run", "--dry-run")

    assert (planned.code, dry.code) == (0, 0)
    assert dry.out == planned.out
    assert sorted(path.name for path in shop.folder.iterdir()) == ["penstock.yml"]


def test_only_the_named_jobs_run_in_dependency_order(shop: Shop) -> None:
    for name, after in (("c", ["b"]), ("b", ["a"]), ("a", [])):
        shop.jobs[name] = {
            **shop.jobs["raw"],
            "tables": ["customers"],
            "target_name": f"{name}_{{table}}",
            "after": after,
        }
    del shop.jobs["raw"]

    every, some = shop("run", "--quiet", "--json"), shop("run", "--quiet", "--json", "c", "a")

    assert [job["job"] for job in every.events[-1]["jobs"]] == ["a", "b", "c"]
    assert [job["job"] for job in some.events[-1]["jobs"]] == ["a", "c"]


def test_an_unknown_job_is_named_with_the_nearest_one(shop: Shop) -> None:
    done = shop("run", "rwa")

    assert (done.code, done.err) == (2, 'error: there is no job "rwa"\n  -> did you mean "raw"?\n')


def test_a_job_of_a_later_kind_stops_the_run_before_it_begins(shop: Shop) -> None:
    shop.jobs["later"] = {"kind": "dimension"}

    whole, named = shop("run"), shop("run", "raw", "--quiet")

    assert whole.code == 2
    assert "job kind 'dimension' is not available in this version" in whole.err
    assert named.code == 0


def test_fresh_does_not_continue(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read@2:error=DataError"
    shop("run", "--workers", "1")
    shop.connections["shop"]["faults"] = ""

    continued, fresh = (shop("plan", "--json", *args).json["jobs"][0] for args in ([], ["--fresh"]))

    assert continued["continues"]
    assert continued["items_left"] > 0
    assert (fresh["continues"], fresh["items_left"]) == ("", 0)
    summary = shop("run", "--fresh", "--json").events[-1]
    assert not summary["jobs"][0]["resumed"]


def test_full_refresh_ignores_watermarks(shop: Shop) -> None:
    shop.jobs["raw"] |= {"tables": ["orders"], "mode": "upsert", "key": ["id"], "cursor": "updated_at"}
    assert shop("run").code == 0

    def window(*args: str) -> Any:
        return shop("plan", "--json", *args).json["jobs"][0]["preview"]["tables"][0]["window"]

    assert window()[0] is not None
    assert window("--full-refresh") is None or window("--full-refresh")[0] is None


def test_verbose_lists_every_column_of_a_plan_and_a_traceback_with_an_error(shop: Shop) -> None:
    assert "updated_at" not in shop("plan").out
    assert "updated_at" in shop("plan", "--verbose").out

    assert "Traceback" not in shop("run", "nojob").err
    assert "Traceback" in shop("run", "nojob", "--verbose").err


def test_plan_shows_numbers_windows_and_publish_statements(shop: Shop) -> None:
    done = shop("plan")

    assert done.code == 0
    assert re.search(r"^  public\.items +public\.items +replace +~9,000 ", done.out, re.MULTILINE)
    assert "publish:" in done.out
    assert re.search(
        r"^1 job, 3 tables, \d+ items, about 13,100 rows, \S+ kB; nothing was written$", done.out, re.MULTILINE
    )


def test_a_plan_tells_each_jobs_error_and_exits_with_its_code(shop: Shop) -> None:
    shop.jobs["broken"] = {**shop.jobs["raw"], "tables": ["nothing_like_it"]}

    done = shop("plan")

    assert done.code == 1
    assert "pattern 'nothing_like_it' of job 'broken' matches none of the 3 tables" in done.out
    assert "1 job not planned" in done.out


def test_a_job_that_reads_what_another_makes_is_planned_later(shop: Shop) -> None:
    shop.jobs["second"] = {
        **shop.jobs["raw"],
        "source": "dw",
        "target": "shop",
        "after": ["raw"],
        "tables": ["nothing"],
    }

    done = shop("plan")

    assert done.code == 0
    assert "cannot be planned before raw has run" in done.out


# Looking back.


def test_status_lists_runs_newest_first_and_one_whole(shop: Shop) -> None:
    assert shop("status").out == "no run has been made yet\n"
    assert not (shop.folder / ".penstock").exists()
    for _ in range(3):
        shop("run", "--quiet")

    runs = shop("status", "--json").json
    limited = shop("status", "--json", "--limit", "2").json
    one = shop("status", runs[1]["run_id"], "--json").json

    assert [run["started_ms"] for run in runs] == sorted((run["started_ms"] for run in runs), reverse=True)
    assert limited == runs[:2]
    assert one["run"]["run"]["run_id"] == runs[1]["run_id"]


def test_commands_that_look_back_work_while_the_project_file_is_broken(shop: Shop) -> None:
    shop("run")
    (shop.folder / "penstock.yml").write_text("version: [")
    write, shop.write = shop.write, lambda: None  # type: ignore[method-assign]
    try:
        codes = [shop(*args).code for args in (["status"], ["report"], ["failed", "list"])]
    finally:
        shop.write = write  # type: ignore[method-assign]

    assert codes == [0, 0, 0]


@pytest.mark.parametrize(
    "args", [["report"], ["stop"], ["failed", "show", "1"], ["failed", "retry"], ["failed", "clear"]]
)
def test_looking_back_before_the_first_run_says_so(shop: Shop, args: list[str]) -> None:
    done = shop(*args)

    assert done.code == 1
    assert done.err == f"error: no run has been made yet in {shop.folder}\n  -> start one with `penstock run`\n"
    assert not (shop.folder / ".penstock").exists()


def test_failed_items_are_listed_shown_retried_and_cleared(shop: Shop) -> None:
    shop.connections["shop"]["faults"] = "read@2:error=DataError; read@3:error=DataError"
    shop("run", "--workers", "1", "--max-errors", "50%")

    first, second = shop("failed", "list", "--json").json
    shown = shop("failed", "show", str(first["item_id"]), "--json").json
    other_job = shop("failed", "list", "--job", "nothing", "--json").json
    retried = shop("failed", "retry", str(first["item_id"]), "--json").json
    cleared = shop("failed", "clear", "--job", "raw", "--json").json

    assert shown["error"]["kind"] == "DataError"
    assert shown["payload"] == first["payload"]
    assert other_job == []
    assert (retried, cleared) == ({"retried": 1}, {"cleared": 1})
    assert shop("failed", "list").out == "no failed items\n"
    assert second["item_id"] != first["item_id"]


def test_the_report_page_needs_nothing_else_and_escapes_everything(shop: Shop) -> None:
    shop.jobs["<b>&"] = shop.jobs["raw"]
    shop.connections["shop"]["faults"] = "read@2:error=DataError"
    name = "a<script>b"
    shop.jobs = {"raw": {**shop.jobs["raw"], "queries": {}, "target_name": f'"{name}_{{table}}"'}}
    shop("run", "--max-errors", "50%")

    done = shop("report", "--html", "r.html")
    page = (shop.folder / "r.html").read_text()

    assert (done.code, done.err) == (0, "wrote r.html\n")
    assert "<script" not in page
    assert "a&lt;script&gt;b_" in page
    assert page.count("<svg") >= 1
    assert re.findall(r"(?:src|href)=|https?://|url\(", page) == []
    assert "read call 2" in page
    assert done.out == ""


def test_a_report_page_that_cannot_be_written_is_an_error(shop: Shop) -> None:
    shop("run")

    done = shop("report", "--html", "no/where.html")

    assert (done.code, done.err) == (
        2,
        "error: cannot write no/where.html: No such file or directory\n  -> choose another file\n",
    )


def test_a_report_of_an_unknown_run_is_an_error(shop: Shop) -> None:
    shop("run")

    done = shop("report", "nothing")

    assert done.code == 1
    assert "nothing" in done.err


# check and connectors


def test_check_tells_what_each_connection_can_do(shop: Shop) -> None:
    done = shop("check")

    assert done.code == 0
    assert "fault+memory can: catalog, read, write" in done.out
    assert done.out.endswith("2 connections, 1 job: everything answers\n")


@pytest.mark.parametrize(
    ("faults", "code"),
    [("open:refuse", 10), ("open:error=CredentialsRefused", 12), ("check:error=PermissionRefused", 1)],
)
def test_check_never_looks_good_when_something_failed(shop: Shop, faults: str, code: int) -> None:
    shop.connections["dw"]["faults"] = faults

    done, document = shop("check"), shop("check", "--json")

    assert (done.code, document.code) == (code, code)
    assert "failed connection dw" in done.out
    assert done.out.endswith("1 of 2 connections, 1 job failed the check\n")
    assert document.json["exit_code"] == code
    assert [one["is_open"] for one in document.json["connections"]] == [True, False]


def test_check_offline_opens_nothing_and_says_so(shop: Shop) -> None:
    shop.connections["dw"]["faults"] = "open x*:refuse"

    done = shop("check", "--offline")

    assert done.code == 0
    assert done.out.endswith("the project file is valid; no connection was opened (--offline)\n")


def test_check_of_a_job_opens_only_its_connections(shop: Shop) -> None:
    shop.connections["other"] = {"url": "fault+memory:other", "faults": "open x*:refuse"}

    assert shop("check", "raw").code == 0
    assert shop("check").code == 10


def test_a_connection_that_does_not_answer_fails_the_check_in_time(shop: Shop) -> None:
    shop.connections["dw"] |= {"faults": "open:hang", "connect_timeout_s": 0.5}

    done = shop("check")

    assert done.code == 10
    assert "connection 'dw' gave no answer within 5.5 s" in done.out


def test_check_reports_a_job_of_a_later_kind(shop: Shop) -> None:
    shop.jobs["later"] = {"kind": "extract"}

    done = shop("check")

    assert done.code == 2
    assert "job kind 'extract' is not available in this version" in done.out


def test_check_warns_of_secrets_in_the_file(shop: Shop) -> None:
    shop.connections["dw"]["password"] = "hunter2"

    done = shop("check")

    assert done.code == 0
    assert "warning penstock.yml:1:" in done.out
    assert "hunter2" not in done.out + done.err


def test_connectors_of_other_packages_are_listed(shop: Shop) -> None:
    done, document = shop("connectors"), shop("connectors", "--json")

    head, schemes, *abilities = done.out.splitlines()
    assert "fault+memory" in head.split()
    assert "fault+memory" in schemes
    assert "upsert" in [line.split()[0] for line in abilities]
    (found,) = [one for one in document.json if one["name"] == "fault+memory"]
    assert found["origin"] == "tests.cli.program"
    assert "faults" in {option["name"] for option in found["options"]}
    assert "options of fault+memory" in shop("connectors", "--verbose").out
