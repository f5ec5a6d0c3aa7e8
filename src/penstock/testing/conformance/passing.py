"""Pass-through: a raw stream from a reader to a writer of the same system loads the same rows as batches would."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from penstock.core.load import Chunk, Expected, Load, Mode, Source
from penstock.core.ports import Ability, RawReader, RawWriter, Session
from penstock.core.schema import arrow_schema
from penstock.testing.conformance.samples import SAMPLES, Sample
from penstock.testing.conformance.subject import Subject, assert_same_rows, many_rows, read, read_table, source_of
from penstock.testing.values import plain_values


def _needs(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE, Ability.PASS_THROUGH)
    if not subject.passes_through:
        pytest.skip(f"this installation of {subject.connector.name} passes nothing through")


def _ends(session: Session) -> tuple[RawReader, RawWriter]:
    reader, writer = session.reader(), session.writer()
    assert isinstance(reader, RawReader)
    assert isinstance(writer, RawWriter)
    return reader, writer


def _load_of(subject: Subject, source: Source, name: str, mode: Mode = Mode.REPLACE) -> Load:
    load = subject.load(subject.table_name(name), arrow_schema(source.columns), mode)
    return replace(load, columns=source.columns)


def test_streams_load_the_rows_of_all_chunks(subject: Subject) -> None:
    _needs(subject)
    data = many_rows()
    table = subject.fill("source", data)

    with subject.session() as session, subject.session() as target:
        source = source_of(session, table)
        load, chunks = _load_of(subject, source, "target"), session.reader().split(source, 50_000)
        reader, writer = _ends(session)[0], _ends(target)[1]
        target.writer().prepare(load)
        assert reader.raw_format(source) == writer.raw_format(load)
        written = [writer.write_raw(load, f"{each.ordinal:06d}", reader.raw(source, each)) for each in chunks]
        target.writer().publish(load, Expected(len(chunks), 3000))

        assert [part.rows for part in written] == [read(session, source, [each]).num_rows for each in chunks]
        assert all(part.size_bytes > 0 for part in written if part.rows)
        assert_same_rows(read_table(target, load.table), data)


def test_a_stream_of_a_marked_part_is_not_read_again(subject: Subject) -> None:
    _needs(subject)
    table = subject.fill("source", many_rows(100))

    with subject.session() as session, subject.session() as target:
        source = source_of(session, table)
        load = _load_of(subject, source, "target")
        reader, writer = _ends(session)[0], _ends(target)[1]
        target.writer().prepare(load)
        first = writer.write_raw(load, "000000", reader.raw(source, Chunk(0)))
        # Of a table that does not exist: whoever pulls it fails.
        nowhere = replace(source, table=subject.table_name("not_there"))
        second = writer.write_raw(load, "000000", reader.raw(nowhere, Chunk(0)))

    assert second == replace(first, again=True)


def test_values_pass_through_as_they_are(subject: Subject) -> None:
    _needs(subject)

    passed = [sample.name for number, sample in enumerate(SAMPLES) if _passes(subject, sample, f"source_{number}")]

    assert passed


def _passes(subject: Subject, sample: Sample, name: str) -> bool:
    """Whether the formats agree; if they do, what arrives must be what the source holds."""
    table = subject.fill(name, sample.table)
    with subject.session() as session, subject.session() as target:
        source = source_of(session, table)
        load = _load_of(subject, source, f"{name}_target")
        reader, writer = _ends(session)[0], _ends(target)[1]
        if reader.raw_format(source) != writer.raw_format(load):
            return False
        target.writer().prepare(load)
        written = writer.write_raw(load, "000000", reader.raw(source, Chunk(0)))
        target.writer().publish(load, Expected(1, written.rows))
        there, here = read_table(target, load.table).sort_by("id"), read_table(session, table).sort_by("id")

    assert there.schema.types == here.schema.types, sample.name
    assert all(plain_values(there[name]) == plain_values(here[name]) for name in here.column_names), sample.name
    return True


def test_formats_differ_when_columns_or_types_do(subject: Subject) -> None:
    _needs(subject)
    table = subject.fill("source", many_rows(10))
    other = subject.fill("other", pa.table({name: pa.array(["1"]) for name in many_rows(1).column_names}))

    with subject.session() as session:
        source, texts = source_of(session, table), source_of(session, other)
        reader, writer = _ends(session)
        right = reader.raw_format(source)

        assert right
        assert reader.raw_format(texts) != right
        assert reader.raw_format(replace(source, columns=source.columns[:2])) != right
        assert writer.raw_format(_load_of(subject, texts, "target")) != right
