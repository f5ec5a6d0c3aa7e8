"""Whole projects, compared with the files they are expected to become, which `penstock check` takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.api.hygge.convert import import_hygge
from penstock.api.hygge.valid import problems_of
from penstock.connectors import registry
from tests.hygge.golden import HERE, PROJECTS, expected, imported


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_becomes_the_file_that_is_expected(name: str) -> None:
    assert imported(name).text == expected(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROJECTS)
def test_what_is_made_is_valid_whatever_connectors_are_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.BUILT_IN
    for scheme in ("mssql", "abfss"):
        monkeypatch.setattr(registry, "BUILT_IN", {key: value for key, value in known.items() if key != scheme})
        registry.connector.cache_clear()

        assert problems_of(imported(name).text, "penstock.yml") == []

    monkeypatch.undo()
    registry.connector.cache_clear()


def test_a_file_that_would_not_be_taken_is_noticed() -> None:
    text = 'version: 1\nconnections:\n  a: {url: "file:./a"}\njobs:\n  j: {kind: copy, source: a, target: b, tables: ["*"]}\n'

    assert problems_of(text, "penstock.yml") == [
        'penstock.yml:5:38: jobs.j.target is "b", which is no connection; connections: a'
    ]


def test_the_order_in_which_a_folder_lists_its_files_changes_nothing(tmp_path: Path) -> None:
    source = HERE / "projects" / "salesforce"
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for index, order in enumerate((files, files[::-1])):
        for file in order:
            target = tmp_path / str(index) / "salesforce" / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    assert import_hygge(tmp_path / "0" / "salesforce").text == import_hygge(tmp_path / "1" / "salesforce").text


def test_a_file_elsewhere_names_folders_from_there(tmp_path: Path) -> None:
    shutil.copytree(HERE / "projects" / "starter", tmp_path / "old")

    text = import_hygge(tmp_path / "old", tmp_path / "new" / "penstock.yml").text

    assert 'url: "file:../old/data/source"' in text
    assert 'url: "file:../old/data/destination"' in text


def test_two_hundred_tables_stay_one_job_with_what_differs_beside_it(tmp_path: Path) -> None:
    flow = tmp_path / "flows" / "lake"
    flow.mkdir(parents=True)
    (tmp_path / "hygge.yml").write_text("name: many\n")
    lines = ["home: in", "store: out", "run_type: incremental", "watermark: {primary_key: id, watermark_column: at}"]
    lines += ["entities:", *(f"  - t{number:03}" for number in range(199)), "  - {name: odd, run_type: full_drop}"]
    (flow / "flow.yml").write_text("\n".join(lines))

    made = import_hygge(tmp_path)

    assert (made.jobs, made.tables) == (("lake",), 200)
    assert "    overrides: {odd: {mode: replace, cursor: null}}\n" in made.text
    assert len(made.text.splitlines()) < 260
