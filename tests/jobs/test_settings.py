"""Settings of a copy job: defaults, overrides, and every mistake named."""

from __future__ import annotations

import pytest

from penstock.core.errors import SpecError
from penstock.core.load import Mode
from penstock.core.names import TableName
from penstock.core.spec import CopySpec, CursorSpec
from penstock.jobs.copy.settings import resolve, unused_overrides

ORDERS = TableName(("public", "orders"))


def job(**values: object) -> CopySpec:
    return CopySpec(name="raw", source="shop", target="lake", **values)  # type: ignore[arg-type]


def test_an_override_wins_over_the_defaults_for_its_table_only():
    spec = job(
        settings={"mode": "append", "columns": {"case": "snake"}},
        overrides={"public.orders": {"mode": "upsert", "key": ["id"], "columns": {"exclude": ["note"]}}},
    )

    orders, other = resolve(spec, ORDERS, "public.orders", 3), resolve(spec, TableName(("public", "x")), "public.x", 3)

    assert (orders.mode, orders.key, orders.columns.case, orders.columns.exclude) == (
        Mode.UPSERT,
        ("id",),
        "snake",
        ("note",),
    )
    assert other.mode is Mode.APPEND


def test_a_cursor_may_be_a_name_or_a_map():
    assert resolve(job(settings={"mode": "append", "cursor": "at"}), ORDERS, "o", 3).cursor == CursorSpec("at")
    spec = resolve(job(settings={"mode": "append", "cursor": {"column": "at", "lag": "1 day"}}), ORDERS, "o", 3)
    assert spec.cursor == CursorSpec("at", "1 day", "error")


def test_names_are_joined_where_the_target_has_fewer_parts():
    assert resolve(job(), ORDERS, "public.orders", 1).target_table == TableName(("public_orders",))
    assert resolve(job(), ORDERS, "public.orders", 2).target_table == ORDERS


def test_target_name_template_fills_schema_and_table():
    spec = resolve(job(target_name="raw.{schema}_{table}"), ORDERS, "public.orders", 2)

    assert spec.target_table == TableName(("raw", "public_orders"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "upsert"}, "table public.orders of job 'raw' has mode upsert but no key; name the key columns: key: [column, ...]"),
        ({"mode": "merge"}, "mode of table public.orders of job 'raw' is 'merge'; use replace, append, upsert, delete_insert, insert_only"),
        ({"cursor": "at"}, ("table public.orders of job 'raw' has mode replace and a cursor, but replace reads every row each time; "
         "remove the cursor, or choose append, upsert, delete_insert or insert_only")),
        ({"mdoe": "append"}, "unknown setting 'mdoe' for table public.orders of job 'raw'; did you mean 'mode'?"),
        ({"schema_changes": "maybe"}, "schema_changes.new_column of table public.orders of job 'raw' is 'maybe'; use evolve, strict, ask"),
        ({"mode": "append", "on_empty": "keep"}, "on_empty of table public.orders of job 'raw' has no effect in mode append; remove it"),
    ],
)  # fmt: skip
def test_mistakes_are_named(settings, message):
    with pytest.raises(SpecError) as caught:
        resolve(job(settings=settings), ORDERS, "public.orders", 3)

    assert str(caught.value) == message


def test_an_override_that_no_table_takes_is_found():
    spec = job(overrides={"public.ordres": {}, "public.*": {}, "totals": {}}, queries={"totals": "select 1"})

    assert unused_overrides(spec, [ORDERS], spec.queries) == ["public.ordres"]
