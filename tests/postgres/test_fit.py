"""What happens to a column that meets an existing one of another type, held against the server's own casts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.connectors.postgres.fit import Way, fit, shape
from penstock.connectors.postgres.mapping import mapped
from penstock.core.errors import SpecError
from penstock.core.schema import Column, Fidelity
from tests.postgres.loading import run

# wanted, target, what happens, and the wider type
CASES = [
    ("integer", "integer", Way.SAME, ""),
    ("smallint", "integer", Way.KEEP, ""),
    ("bigint", "integer", Way.WIDEN, "bigint"),
    ("integer", "numeric", Way.KEEP, ""),
    ("integer", "numeric(10,0)", Way.KEEP, ""),
    ("bigint", "numeric(10,2)", Way.WIDEN, "numeric(21,2)"),
    ("smallint", "real", Way.KEEP, ""),
    ("integer", "real", Way.WIDEN, "double precision"),
    ("bigint", "double precision", Way.LOSSY, ""),
    ("integer", "text", Way.TEXT, ""),
    ("integer", "boolean", Way.NEVER, ""),
    ("numeric(10,2)", "numeric(12,2)", Way.KEEP, ""),
    ("numeric(10,2)", "numeric(10,4)", Way.WIDEN, "numeric(12,4)"),
    ("numeric(12,4)", "numeric(10,2)", Way.WIDEN, "numeric(12,4)"),
    ("numeric(10,2)", "numeric", Way.KEEP, ""),
    ("numeric", "numeric(10,2)", Way.WIDEN, "numeric"),
    ("numeric(9,0)", "integer", Way.KEEP, ""),
    ("numeric(10,0)", "integer", Way.WIDEN, "numeric(10,0)"),
    ("numeric(20,0)", "bigint", Way.WIDEN, "numeric(20,0)"),
    ("numeric(6,2)", "integer", Way.WIDEN, "numeric(12,2)"),
    ("numeric(10,2)", "double precision", Way.LOSSY, ""),
    ("real", "double precision", Way.KEEP, ""),
    ("double precision", "real", Way.WIDEN, "double precision"),
    ("double precision", "numeric", Way.LOSSY, ""),
    ("character varying(10)", "character varying(20)", Way.KEEP, ""),
    ("character varying(20)", "character varying(10)", Way.WIDEN, "character varying(20)"),
    ("text", "character varying(10)", Way.WIDEN, "text"),
    ("character varying(10)", "text", Way.KEEP, ""),
    ("character varying(3)", "character(5)", Way.KEEP, ""),
    ("character(5)", "character varying(3)", Way.WIDEN, "text"),
    ("text", "public.citext", Way.KEEP, ""),
    ("text", "uuid", Way.PARSE, ""),
    ("text", "integer", Way.PARSE, ""),
    ("text", "public.mood", Way.PARSE, ""),
    ("text", "numeric(10,2)", Way.LOSSY, ""),
    ("text", "timestamp without time zone", Way.LOSSY, ""),
    ("uuid", "text", Way.TEXT, ""),
    ("uuid", "bigint", Way.NEVER, ""),
    ("date", "timestamp without time zone", Way.KEEP, ""),
    ("timestamp without time zone", "date", Way.WIDEN, "timestamp without time zone"),
    ("timestamp with time zone", "timestamp without time zone", Way.KEEP, ""),
    ("timestamp without time zone", "timestamp(3) without time zone", Way.WIDEN, "timestamp without time zone"),
    ("timestamp(3) without time zone", "timestamp without time zone", Way.KEEP, ""),
    ("json", "jsonb", Way.KEEP, ""),
    ("jsonb", "json", Way.KEEP, ""),
    ("jsonb", "text", Way.TEXT, ""),
    ("cidr", "inet", Way.KEEP, ""),
    ("inet", "cidr", Way.NEVER, ""),
    ("integer[]", "bigint[]", Way.KEEP, ""),
    ("bigint[]", "integer[]", Way.WIDEN, "bigint[]"),
    ("integer[]", "text", Way.TEXT, ""),
    ("integer[]", "integer", Way.NEVER, ""),
    ("bytea", "text", Way.TEXT, ""),
    ("boolean", "bytea", Way.NEVER, ""),
]
# Values at the edges of types whose whole range must survive where the fit says so.
EDGES = {
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric(10,2)": ["-99999999.99", "0.01"],
    "numeric(12,4)": ["99999999.9999"],
    "numeric(9,0)": ["999999999"],
    "numeric(10,0)": ["-9999999999"],
    "numeric(20,0)": ["18446744073709551615"],
    "numeric(6,2)": ["9999.99"],
    "real": ["3.4028235e38", "0.1"],
    "double precision": ["1.7976931348623157e308", "0.1"],
    "character varying(20)": ["twenty characters ok"],
    "timestamp without time zone": ["2020-01-01 00:00:00.123456"],
}


@pytest.mark.parametrize(("wanted", "target", "way", "wider"), CASES)
def test_types_meet_as_stated(wanted, target, way, wider):
    found = fit(shape(wanted), shape(target))

    assert (found.way, found.wider) == (way, wider)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("wanted", "target", "wider"), [(w, t, x) for w, t, way, x in CASES if way in (Way.KEEP, Way.WIDEN) and w in EDGES]
)
def test_edges_survive_in_the_type_that_is_kept_or_widened_to(shared_database, wanted, target, wider):
    final = wider or target
    for value in EDGES[wanted]:
        same = f"SELECT '{value}'::{wanted}::{final}::{wanted}::text = '{value}'::{wanted}::text"
        assert run(shared_database, same) == [(True,)], value
    if wider:  # what the column held before fits as well
        for value in EDGES.get(target, []):
            same = f"SELECT '{value}'::{target}::{wider}::{target}::text = '{value}'::{target}::text"
            assert run(shared_database, same) == [(True,)], value


@pytest.mark.parametrize(
    ("kind", "native", "fidelity"),
    [
        (pa.int8(), "smallint", Fidelity.WIDENING),
        (pa.uint32(), "bigint", Fidelity.WIDENING),
        (pa.uint64(), "numeric(20,0)", Fidelity.WIDENING),
        (pa.float16(), "real", Fidelity.WIDENING),
        (pa.decimal128(38, 10), "numeric(38,10)", Fidelity.LOSSLESS),
        (pa.decimal256(70, 5), "numeric(70,5)", Fidelity.LOSSLESS),
        (pa.decimal128(5, -2), "numeric(7,0)", Fidelity.LOSSLESS),
        (pa.timestamp("s"), "timestamp without time zone", Fidelity.LOSSLESS),
        (pa.timestamp("ns", "UTC"), "timestamp with time zone", Fidelity.LOSSY),
        (pa.time64("ns"), "time without time zone", Fidelity.LOSSY),
        (pa.duration("us"), "interval", Fidelity.LOSSLESS),
        (pa.duration("ns"), "interval", Fidelity.LOSSY),
        (pa.dictionary(pa.int32(), pa.string()), "text", Fidelity.LOSSLESS),
        (pa.list_(pa.int32()), "integer[]", Fidelity.LOSSLESS),
        (pa.list_(pa.list_(pa.int32())), "jsonb", Fidelity.TEXT),
        (pa.struct([("a", pa.int32())]), "jsonb", Fidelity.TEXT),
        (pa.map_(pa.string(), pa.int32()), "jsonb", Fidelity.TEXT),
        (pa.null(), "text", Fidelity.LOSSLESS),
        (pa.binary(16), "bytea", Fidelity.LOSSLESS),
    ],
)
def test_carriers_of_other_systems_have_a_type(kind, native, fidelity):
    found = mapped(Column("c", kind))

    assert (found.text, found.fidelity) == (native, fidelity)


def test_a_carrier_without_type_is_refused_by_name():
    with pytest.raises(SpecError, match=r"column 'odd' is dense_union"):
        mapped(Column("odd", pa.dense_union([pa.field("a", pa.int32())])))
