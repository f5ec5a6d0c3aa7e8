"""Wrong project files: each message in full, with line and column, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.api.project_file.document import ProjectErrors
from tests.api.conftest import Read

CONNECTIONS = """\
version: 1
connections:
  a: {url: "shelf:one"}
  b: {url: "shelf:two"}
"""
JOB = """\
jobs:
  raw:
    kind: copy
    source: a
    target: b
    tables: ["*"]
"""


def errors(read: Read, text: str, **given: object) -> list[str]:
    with pytest.raises(ProjectErrors) as caught:
        read(text, **given)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def job_errors(read: Read, *lines: str) -> list[str]:
    """The errors of a good project with `lines` added to its job; the first of them is line 11."""
    return errors(read, CONNECTIONS + JOB + "".join(f"    {line}\n" for line in lines))


def test_all_errors_come_at_once_in_the_order_of_the_file(read: Read) -> None:
    found = errors(
        read,
        'version: 2\nconections: {}\nconnections:\n  a: {url: "shelf:x", max_connections: 0}\n'
        "jobs:\n  raw: {kind: copy, source: z, target: a, tables: [], mode: upsrt}\n",
    )

    assert found == [
        "penstock.yml:1:10: version is 2, but this Penstock reads version 1; write version: 1",
        'penstock.yml:2:1: unknown key "conections" at the top of the file; did you mean "connections"?',
        "penstock.yml:4:40: connections.a.max_connections is 0, but must be at least 1",
        'penstock.yml:6:29: jobs.raw.source is "z", which is no connection; connections: a',
        (
            'penstock.yml:6:61: jobs.raw.mode is "upsrt", but must be one of replace, append, upsert, delete_insert, '
            'insert_only; did you mean "upsert"?'
        ),
    ]


def test_a_key_that_stands_twice_is_an_error(read: Read) -> None:
    assert errors(read, 'version: 1\nconnections:\n  a: {url: "shelf:x"}\n  a: {url: "shelf:y"}\n') == [
        'penstock.yml:4:3: key "a" stands twice, first in line 3; keep one of them'
    ]


def test_broken_yaml_names_line_and_column(read: Read) -> None:
    (message,) = errors(read, "version: 1\njobs: [a\n")

    assert message.startswith("penstock.yml:3:1: is no YAML: while parsing a flow sequence, ")
    assert message.endswith("; mind indentation (no tabs), colons and closing quotes")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_says_so(read: Read, text: str) -> None:
    (message,) = errors(read, text)

    assert "the file is empty; run `penstock init DIR` for an example" in message or "must hold keys" in message


def test_a_file_that_is_no_mapping_says_so(read: Read) -> None:
    assert errors(read, "- a\n") == ["penstock.yml:1:1: the file must hold keys and values; begin with `version: 1`"]


def test_the_version_is_asked_for(read: Read) -> None:
    assert errors(read, "jobs: {}\n") == ['penstock.yml:1:1: the file lacks the key "version"; add version: 1']


def test_an_anchor_that_holds_itself_is_refused(read: Read) -> None:
    (message,) = errors(read, "version: 1\nconnections: &c\n  a: *c\n")

    assert message.startswith("penstock.yml:2:14: an anchor refers to itself; take the alias out")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modus: append", 'unknown key "modus" in jobs.raw; did you mean "mode"?'),
        ("shap: deep", 'unknown key "shap" in jobs.raw; did you mean "shape"?'),
        ("shape: round", 'jobs.raw.shape is "round", but must be one of flat, deep'),
        ("where: 5", "jobs.raw.where is 5, but must be text; put it in quotes"),
        ("key: {}", "jobs.raw.key is a mapping, but must be a list"),
        ("split: maybe", 'jobs.raw.split is "maybe", but must be true or false'),
        (
            "chunk_size: 50000",
            'jobs.raw.chunk_size is 50000, but must be a size with its unit, such as "64MiB" or "500 MB"',
        ),
        ("workers: 0", 'jobs.raw.workers is 0, but must be "auto" or a whole number from 1'),
        ("workers: true", 'jobs.raw.workers is true, but must be "auto" or a whole number from 1'),
        (
            "executor: thread",
            'jobs.raw.executor is "thread", but must be one of threads, processes, serial; did you mean "threads"?',
        ),
        ("max_errors: -1", 'jobs.raw.max_errors is -1, but must be a whole number from 0 or a share such as "5%"'),
        (
            "max_errors: 101%",
            'jobs.raw.max_errors is "101%", but must be a whole number from 0 or a share such as "5%"',
        ),
        (
            "timeout: soon",
            'jobs.raw.timeout is "soon", but must be a number of seconds or a duration such as "90 s", "10 minutes" or "1h 30m"',
        ),
        ("timeout: 0", "jobs.raw.timeout is 0, but must be more than 0 seconds"),
        ("retry: {attempts: 0}", "jobs.raw.retry.attempts is 0, but must be a whole number from 1"),
        ("retry: {attemts: 3}", 'unknown key "attemts" in jobs.raw.retry; did you mean "attempts"?'),
        ("cursor: {lag: 5}", 'jobs.raw.cursor lacks the key "column"; add it'),
        (
            "cursor: {column: a, lag: soon}",
            'jobs.raw.cursor.lag is "soon", but must be a number or a duration such as "10 minutes"',
        ),
        ("columns: {exclud: [a]}", 'unknown key "exclud" in jobs.raw.columns; did you mean "exclude"?'),
        (
            "columns: {case: title}",
            'jobs.raw.columns.case is "title", but must be one of snake, camel, pascal, upper, lower',
        ),
        (
            "columns: {mask: {mail: hide}}",
            'jobs.raw.columns.mask.mail is "hide", but must be one of hash, null, {keep: 4} or {constant: "text"}',
        ),
        (
            "columns: {add: {at: now}}",
            'jobs.raw.columns.add.at is "now", but must be one of {value: ...}, {now: utc}, {run: id} or {hash: [columns]}',
        ),
        ("columns: {add: {at: {now: local}}}", "jobs.raw.columns.add.at is a mapping, but must be {now: utc}"),
        ("columns: {salt: [a]}", "jobs.raw.columns.salt is ***, but must be text"),
        (
            "types: {numeric: decimal}",
            'jobs.raw.types.numeric is "decimal", but must be one of text, double, error or decimal(p,s)',
        ),
        (
            "schema_changes: adapt",
            'jobs.raw.schema_changes is "adapt", but must be one of evolve, strict, ask',
        ),
        (
            "schema_changes: {widend: strict}",
            'unknown key "widend" in jobs.raw.schema_changes; did you mean "widened"?',
        ),
        ("after: [row]", 'jobs.raw comes after "row", which is no job; did you mean "raw"?'),
        ("after: [raw]", "jobs.raw comes after itself, by way of raw; take one of the steps out"),
        (
            'overrides: {"a..b": {}}',
            'jobs.raw.overrides."a..b": table name \'a..b\' has an empty part; quote parts that hold dots: "a.b".c',
        ),
        ("overrides: {a: {mod: append}}", 'unknown key "mod" in jobs.raw.overrides.a; did you mean "mode"?'),
        ("overrides: {a: {shape: round}}", 'jobs.raw.overrides.a.shape is "round", but must be one of flat, deep'),
        ("target_name:", "jobs.raw.target_name is empty, but must be text"),
    ],
)
def test_a_wrong_key_of_a_job_is_named_with_what_to_write(read: Read, line: str, message: str) -> None:
    (found,) = job_errors(read, line)

    where, _, what = found.partition(": ")
    assert what == message
    assert where.startswith("penstock.yml:11:")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", 'connections.c lacks the key "url"; add it'),
        ('url: ""', 'connections.c.url is "", but must not be empty'),
        ("url: lake", 'connections.c.url is "lake", which has no scheme; begin with one of shelf:'),
        ('url: "shelv:x"', 'no connector for URLs that begin with "shelv:"; did you mean "shelf:"?'),
        ('url: "shelf:x", pags: 3', 'unknown key "pags" in connections.c; did you mean "pages"?'),
        ('url: "shelf:x", pages: many', 'pages of connections.c is "many", but must be a whole number'),
        ('url: "shelf:x", patience: no', 'patience of connections.c is "no", but must be a number'),
        ('url: "shelf:x", strict: perhaps', 'strict of connections.c is "perhaps", but must be true or false'),
        ('url: "shelf:x", badge: [hunter2]', "badge of connections.c is a list, but must be text"),
        ('url: "shelf:x", corner: top', 'corner of connections.c is "top", but must be one of left, right'),
        ('url: "shelf:x?pages=3", pages: 4', "pages stands in the url of connections.c and beside it; keep one"),
        (
            'url: "shelf://u:p1@h", password: p2',
            "connections.c has a password in its url and another beside it; keep one",
        ),
        (
            'url: "shelf://u:p/w@h/db"',
            "connections.c.url has a password with a character that ends it early: write / as %2F, ? as %3F and # as %23",
        ),
        (
            'url: "shelf:x", rate: {per_secund: 1}',
            'unknown key "per_secund" in connections.c.rate; did you mean "per_second"?',
        ),
        ('url: "shelf:x", rate: {burst: true}', "connections.c.rate.burst is true, but must be a whole number"),
        (
            'url: "shelf:x", connect_timeout_s: 0',
            "connections.c.connect_timeout_s is 0, but must be more than 0 seconds",
        ),
    ],
)
def test_a_wrong_key_of_a_connection_is_named_with_what_to_write(
    read: Read, monkeypatch: pytest.MonkeyPatch, keys: str, message: str
) -> None:
    monkeypatch.setattr("penstock.connectors.registry.BUILT_IN", {})

    (found,) = errors(read, CONNECTIONS + f"  c: {{{keys}}}\n" + JOB)

    assert found.partition(": ")[2] == message
    assert "hunter2" not in found
    assert "p1" not in found


def test_a_job_must_choose_tables_or_queries(read: Read) -> None:
    text = CONNECTIONS + "jobs:\n  raw: {kind: copy, source: a, target: b}\n"

    assert errors(read, text) == [
        'penstock.yml:6:3: jobs.raw names no tables and no queries; add tables: ["*"] for all tables'
    ]


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("{source: a}", 'jobs.raw lacks the key "kind"; add kind: copy'),
        (
            "{kind: cpy}",
            'jobs.raw.kind is "cpy", but must be one of copy, dimension, schema, extract; did you mean "copy"?',
        ),
        ("copy", "jobs.raw must hold keys and values; write kind, source and target, indented"),
    ],
)
def test_a_job_without_a_known_kind_is_an_error(read: Read, job: str, message: str) -> None:
    (found,) = errors(read, CONNECTIONS + f"jobs:\n  raw: {job}\n")

    assert found.partition(": ")[2] == message


def test_a_connection_without_connector_is_an_error_only_when_a_job_uses_it(read: Read) -> None:
    unused = CONNECTIONS + '  bi: {url: "looker:https://bi", anything: 1}\n' + JOB

    assert read(unused).project.connections["bi"].options == {"anything": 1}
    (found,) = errors(read, unused.replace("source: a", "source: bi"))
    assert found.startswith("penstock.yml:5:13: no connector for URLs that begin with 'looker'; known: ")


def test_an_unset_variable_names_its_line_and_the_ways_out(read: Read) -> None:
    assert errors(read, CONNECTIONS + JOB + "    where: \"day = '${DAY}'\"\n") == [
        "penstock.yml:11:12: variable DAY is not set; set it in the environment, pass --var DAY=..., or write ${DAY:-default}"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${DAY", "${ has no closing }; write ${NAME}, or $${ for a literal ${"),
        ("${1}", "${1} is no reference; write ${NAME}, ${NAME:-default}, ${file:PATH}, or $${ for a literal ${"),
        (
            "${file:gone.txt}",
            "cannot read /project/gone.txt: No such file or directory; the path after file: is relative to the project file",
        ),
    ],
)
def test_a_broken_reference_is_explained(read: Read, text: str, message: str) -> None:
    (found,) = errors(read, CONNECTIONS + JOB + f'    where: "{text}"\n')

    assert found.partition(": ")[2] == message


def test_a_message_shows_the_reference_and_never_what_it_held(read: Read) -> None:
    (found,) = errors(read, CONNECTIONS + JOB + "    workers: ${PASSWORD}\n", variables={"PASSWORD": "hunter2"})

    assert found.partition(": ")[2] == 'jobs.raw.workers is "${PASSWORD}", but must be "auto" or a whole number from 1'


def test_options_of_a_job_fit_their_side(read: Read) -> None:
    (found,) = job_errors(read, "account: me")

    assert 'unknown key "account" in jobs.raw; known keys: ' in found


def test_a_secret_in_the_file_itself_is_a_warning(read: Read, tmp_path: Path) -> None:
    (tmp_path / "badge.txt").write_text("b\n")
    text = (
        'version: 1\nconnections:\n  a: {url: "shelf:x", password: pw, badge: "${file:badge.txt}"}\n'
        '  b: {url: "shelf:y", badge: plain}\n'
    )

    assert read(text, root=str(tmp_path)).warnings == (
        (
            "penstock.yml:3:33: connections.a.password stands in the file itself; "
            "write ${A_PASSWORD} or ${file:path} and keep the value elsewhere"
        ),
        (
            "penstock.yml:4:30: connections.b.badge stands in the file itself; "
            "write ${B_BADGE} or ${file:path} and keep the value elsewhere"
        ),
    )


def test_limits_of_calls_are_refused_where_no_calls_are_made(read: Read) -> None:
    text = 'version: 1\nconnections:\n  c: {url: "sqlite:x.db", rate: {per_minute: 5}}\njobs: {}\n'

    assert errors(read, text) == [
        (
            "penstock.yml:3:34: per_minute counts calls, which connections.c does not make; "
            "for a database or a folder set rate.rows_per_s or max_connections"
        )
    ]
