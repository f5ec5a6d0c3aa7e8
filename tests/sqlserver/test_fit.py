"""How declared types go into existing columns: one row a rule."""

from __future__ import annotations

import pytest

from penstock.connectors.sqlserver.fit import Way, fit
from penstock.connectors.sqlserver.types import Declared, parse

CASES = [
    ("int", "int", Way.SAME, ""),
    ("int", "bigint", Way.KEEP, ""),
    ("bigint", "int", Way.WIDEN, "bigint"),
    ("smallint", "tinyint", Way.WIDEN, "smallint"),
    ("bit", "int", Way.KEEP, ""),
    ("int", "decimal(10,0)", Way.KEEP, ""),
    ("bigint", "decimal(10,2)", Way.WIDEN, "decimal(21,2)"),
    ("int", "float", Way.KEEP, ""),
    ("bigint", "float", Way.LOSSY, ""),
    ("int", "real", Way.WIDEN, "float"),
    ("decimal(10,2)", "decimal(12,2)", Way.KEEP, ""),
    ("decimal(10,4)", "decimal(10,2)", Way.WIDEN, "decimal(12,4)"),
    ("decimal(38,0)", "decimal(38,38)", Way.LOSSY, ""),
    ("decimal(9,0)", "int", Way.KEEP, ""),
    ("decimal(10,0)", "int", Way.WIDEN, "decimal(10,0)"),
    ("decimal(18,4)", "money", Way.KEEP, ""),
    ("decimal(20,6)", "money", Way.WIDEN, "decimal(20,6)"),
    ("money", "decimal(19,4)", Way.KEEP, ""),
    ("float", "real", Way.WIDEN, "float"),
    ("float", "decimal(10,2)", Way.LOSSY, ""),
    ("nvarchar(50)", "nvarchar(100)", Way.KEEP, ""),
    ("nvarchar(100)", "nvarchar(50)", Way.WIDEN, "nvarchar(100)"),
    ("nvarchar(max)", "nvarchar(50)", Way.WIDEN, "nvarchar(max)"),
    ("nvarchar(50)", "varchar(50)", Way.KEEP, ""),
    ("char(5)", "char(3)", Way.WIDEN, "varchar(5)"),
    ("varchar(8000)", "nvarchar(50)", Way.WIDEN, "nvarchar(max)"),
    ("varbinary(10)", "binary(16)", Way.KEEP, ""),
    ("int", "nvarchar(50)", Way.TEXT, ""),
    ("nvarchar(50)", "int", Way.PARSE, ""),
    ("nvarchar(50)", "decimal(10,2)", Way.LOSSY, ""),
    ("nvarchar(50)", "datetime2(7)", Way.PARSE, ""),
    ("nvarchar(50)", "datetime", Way.LOSSY, ""),
    ("nvarchar(50)", "varbinary(10)", Way.NEVER, ""),
    ("varbinary(10)", "int", Way.NEVER, ""),
    ("date", "datetime2(3)", Way.KEEP, ""),
    ("datetime2(6)", "date", Way.WIDEN, "datetime2(6)"),
    ("datetime2(6)", "datetime2(3)", Way.WIDEN, "datetime2(6)"),
    ("datetime2(6)", "datetime", Way.LOSSY, ""),
    ("datetime", "datetime2(3)", Way.KEEP, ""),
    ("datetime", "datetime2(0)", Way.WIDEN, "datetime2(3)"),
    ("smalldatetime", "datetime", Way.KEEP, ""),
    ("datetimeoffset(6)", "datetime2(6)", Way.KEEP, ""),
    ("time(6)", "time(3)", Way.WIDEN, "time(6)"),
    ("time(6)", "datetime2(6)", Way.NEVER, ""),
    ("uniqueidentifier", "int", Way.NEVER, ""),
]


def _declared(text: str) -> Declared:
    found = parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(("wanted", "target", "way", "wider"), CASES)
def test_types_go_into_each_other_as_the_table_says(wanted: str, target: str, way: Way, wider: str) -> None:
    found = fit(_declared(wanted), _declared(target))

    assert (found.way, found.wider.text if found.wider else "") == (way, wider)


def test_a_size_that_nobody_declared_is_left_to_the_values() -> None:
    assert fit(_declared("nvarchar(max)"), _declared("nvarchar(50)"), is_measured=True).way is Way.KEEP
