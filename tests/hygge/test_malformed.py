"""Old projects that cannot be read: each error says where and what, all of a project's at once, and nothing is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.api.hygge.convert import import_hygge
from penstock.core.errors import SpecError
from tests.hygge.old import FLOW, write


def error(folder: Path, files: dict[str, Any]) -> str:
    write(folder, files)
    with pytest.raises(SpecError) as caught:
        import_hygge(folder)
    assert caught.value.exit_code == 2
    assert not (folder / "penstock.yml").exists()
    return str(caught.value).replace(str(folder), "DIR")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "DIR has no hygge.yml; name the folder of a hygge project"),
        ({"hygge.yaml": "name: a\n"}, "DIR has no hygge.yml; rename hygge.yaml to hygge.yml"),
        (
            {"hygge.yml": "name: a\n"},
            "DIR has no flow; a flow is a folder with flow.yml in it, below flows_dir of hygge.yml",
        ),
        (
            {"hygge.yml": "flows_dir: ../other\n"},
            "hygge.yml: flows_dir '../other' leads out of DIR; move the flows below the project's folder and name them there",
        ),
        (
            {"hygge.yml": "flows_dir: /etc\n"},
            "hygge.yml: flows_dir '/etc' leads out of DIR; move the flows below the project's folder and name them there",
        ),
        (
            {"hygge.yml": "flows_dir: ${FLOWS}\n"},
            "flows_dir is '${FLOWS}', which names no folder; write the folder's name",
        ),
        ({"hygge.yml": "- a\n"}, "hygge.yml:1: hygge.yml must hold keys and values; write one key a line, indented"),
        (
            {"hygge.yml": "name: a\nname: b\n"},
            'hygge.yml:2:1: key "name" stands twice, first in line 1; keep one of them',
        ),
        (
            {"hygge.yml": "name: a\n", "flows/f/flow.yml": ""},
            "flows/f/flow.yml: the file is empty; write home and store",
        ),
        (
            {"hygge.yml": "", "flows/f/flow.yml": {**FLOW, "entities": "users"}},
            "flows/f/flow.yml:1: entities must be a list; write one entity a line, each with a dash",
        ),
        (
            {"hygge.yml": "", "flows/f/flow.yml": FLOW, "flows/f/entities/a.yml": "columns: [a]\n"},
            "flows/f/entities/a.yml:1: an entity has no name; add name: and the table's name",
        ),
        (
            {"hygge.yml": "", "flows/f/flow.yml": FLOW, "flows/f/entities/a.yml": "# nothing yet\n"},
            "flows/f/entities/a.yml: the file is empty; write name and what is special about the table",
        ),
        (
            {"hygge.yml": "connections: [a]\n", "flows/f/flow.yml": FLOW},
            "hygge.yml:1: connections must hold keys and values; write one key a line, indented",
        ),
        (
            {"hygge.yml": "", "flows/f/flow.yml": {**FLOW, "home": {"type": ["parquet"]}}},
            "flows/f/flow.yml:2: home.type must be text; write one value",
        ),
        (
            {"hygge.yml": "", "flows/f/flow.yml": {**FLOW, "watermark": "updated_at"}},
            "flows/f/flow.yml:3: watermark must hold keys and values; write one key a line, indented",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    assert error(tmp_path, files) == message


def test_every_file_that_is_no_yaml_is_named_at_once(tmp_path: Path) -> None:
    found = error(
        tmp_path,
        {
            "hygge.yml": "name: a\n",
            "flows/a/flow.yml": "home: [x\n",
            "flows/b/flow.yml": "home: x\nstore: y\nstore: z\n",
            "flows/c/flow.yml": "home:\tx\n  y: {\n",
        },
    ).splitlines()

    assert [line.partition(": ")[0] for line in found] == [
        "flows/a/flow.yml:2:1",
        "flows/b/flow.yml:3:1",
        "flows/c/flow.yml:1:6",
    ]


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"hygge.yml": "name: a\n", "flows/f/flow.yml": FLOW})
    (tmp_path / "flows" / "f" / "flow.yml").write_bytes(b"home: \xff\n")

    assert error(tmp_path, {}) == "flows/f/flow.yml: is no UTF-8 text: byte 6 is wrong; save it as UTF-8"


def test_flows_behind_a_link_that_leads_out_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"f/flow.yml": FLOW})
    write(tmp_path / "project", {"hygge.yml": "name: a\n"})
    (tmp_path / "project" / "flows").symlink_to(tmp_path / "elsewhere")

    assert "leads out of" in error(tmp_path / "project", {})


def test_a_flow_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"hygge.yml": "name: a\n", "flows/f/flow.yml": FLOW})
    file = tmp_path / "flows" / "f" / "flow.yml"
    file.unlink()
    file.symlink_to(tmp_path / "gone.yml")

    assert error(tmp_path, {}).startswith("DIR has no flow")
