"""Outputs are compared for what matters."""

from __future__ import annotations

import pytest

from tests.docs.pages import differs

SHOWN = """
run 20261120-172606-e895 done in 0.2 s

  job  state  items     rows   bytes   time           speed
  raw  done     9/9  102,050  584 kB  0.2 s  479,108 rows/s
"""


def test_ids_times_and_sizes_may_differ() -> None:
    again = SHOWN.replace("172606-e895", "090000-0a1b").replace("0.2 s", "12 s").replace("584 kB", "1.1 MB")

    assert not differs(SHOWN, again.replace("479,108 rows/s", "8.1 rows/s"))


@pytest.mark.parametrize(
    ("old", "new"), [("done in", "failed in"), ("102,050", "102,049"), ("9/9", "8/9"), ("speed", "")]
)
def test_what_matters_may_not_differ(old: str, new: str) -> None:
    assert differs(SHOWN, SHOWN.replace(old, new))


def test_lines_may_be_left_out_where_dots_stand() -> None:
    assert not differs("run 20261120-172606-e895 done in 1 s\n...\n", SHOWN)
    assert not differs("...\n  raw  done  9/9  102,050  584 kB  0.2 s  479,108 rows/s\n", SHOWN)
    assert differs("...\n  raw  failed\n", SHOWN)


def test_a_line_too_many_is_seen() -> None:
    assert differs(SHOWN, SHOWN + "one more\n")
    assert differs(SHOWN + "one more\n", SHOWN)
