"""The suite that every connector passes: import all of it into a test module that has a fixture `subject`.

    from penstock.testing.conformance import *

    @pytest.fixture
    def subject(tmp_path):
        return Subject(lambda: ConnectionSpec("lines", f"lines:{tmp_path}"), put=write_lines)

What the connector claims (its abilities) decides which cases run; each skipped case names the ability it needs.
"""

from importlib import import_module

import pytest

_PARTS = ("catalog", "manners", "modes", "passing", "reading", "staging", "values", "windows")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in (*_PARTS, "subject")))

from penstock.testing.conformance.subject import Subject  # noqa: E402

_cases = {
    name: case
    for part in _PARTS
    for name, case in vars(import_module(f"{__name__}.{part}")).items()
    if name.startswith("test_")
}
globals().update(_cases)

__all__ = ["Subject", *_cases]  # noqa: PLE0604
