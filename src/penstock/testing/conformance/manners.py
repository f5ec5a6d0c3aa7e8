"""Manners: sessions open, stop and close as told; errors name what failed, say what to do and keep secrets."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from penstock.connectors import registry
from penstock.core.errors import CredentialsRefused, Missing, PenstockError, Stopped, TimedOut, Unavailable
from penstock.core.load import BatchSize
from penstock.core.ports import Ability, Option, Session
from penstock.core.spec import ConnectionSpec
from penstock.testing.conformance.catalog import SMALL
from penstock.testing.conformance.subject import WHOLE, Subject, load_whole, many_rows, read_table, source_of

KINDS = {"text", "integer", "number", "boolean", "secret", "path", "choice"}
# A cancel that has not worked by then counts as not working.
PATIENCE_S = 20.0


def test_the_connector_describes_itself(subject: Subject) -> None:
    connector = subject.connector

    assert connector.name
    assert subject.make_connection().scheme in connector.schemes
    assert connector.abilities <= set(Ability)
    assert isinstance(connector.one_process, bool)
    assert isinstance(dict(connector.limits(subject.make_connection())), dict)


def test_options_are_declared_with_kind_help_and_scope(subject: Subject) -> None:
    options: tuple[Option, ...] = subject.connector.options

    assert len({option.name for option in options}) == len(options)
    for option in options:
        assert option.kind in KINDS, option
        assert option.help, option
        assert option.scope in {"connection", "source", "target"}, option
        assert bool(option.choices) == (option.kind == "choice"), option
        assert option.default is None or not option.choices or option.default in option.choices, option


def test_check_tells_what_the_other_side_is(subject: Subject) -> None:
    with subject.session() as session:
        assert session.check().server


def test_close_may_be_repeated(subject: Subject) -> None:
    session = registry.open_session(subject.make_connection())

    session.close()
    session.close()


def test_cancel_does_nothing_when_nothing_runs(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("calm", SMALL)

    with subject.session() as session:
        session.cancel()
        session.cancel()

        assert read_table(session, table).num_rows == 2
    session.cancel()


def test_cancel_from_another_thread_ends_a_write(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    load = subject.load(subject.table_name("endless"), SMALL.schema)
    flowing = threading.Event()

    def endless() -> Iterator[pa.RecordBatch]:
        until = time.monotonic() + PATIENCE_S
        for batch in itertools.cycle(SMALL.to_batches()):
            flowing.set()
            if time.monotonic() > until:
                return
            yield batch

    with subject.session() as session:
        session.writer().prepare(load)
        _cancelled(session, flowing, lambda: session.writer().write(load, "000000", endless()))
    with subject.session() as session:
        assert session.writer().write(load, "000000", iter(SMALL.to_batches())).again is False


def test_cancel_from_another_thread_ends_a_read(subject: Subject) -> None:
    subject.needs_rows()
    table = subject.fill("long", many_rows())
    flowing = threading.Event()

    def read_for_ever() -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for _ in session.reader().read(source, WHOLE, BatchSize(rows=10)):
                flowing.set()

    with subject.session() as session:
        source = source_of(session, table)
        _cancelled(session, flowing, read_for_ever)
    with subject.session() as session:
        assert read_table(session, table).num_rows == 3000


def _cancelled(session: Session, flowing: threading.Event, call: Callable[[], object]) -> None:
    """Make `call` and cancel it from another thread, as often as it takes to meet a call in progress."""
    ended = threading.Event()

    def cancel() -> None:
        flowing.wait(PATIENCE_S)
        while not ended.wait(0.01):
            session.cancel()

    other = threading.Thread(target=cancel)
    other.start()
    try:
        with pytest.raises((Stopped, TimedOut)):
            call()
    finally:
        ended.set()
        other.join()


def test_a_place_that_is_not_there_is_unavailable(subject: Subject) -> None:
    if subject.unreachable is None:
        pytest.skip("the subject names no unreachable connection")

    error = _refused(subject.unreachable)

    assert isinstance(error, Unavailable | Missing)
    _is_helpful_and_discreet(error, subject.unreachable)


def test_a_wrong_password_is_told_apart(subject: Subject) -> None:
    if subject.refused is None:
        pytest.skip("the subject names no connection with a wrong password")

    error = _refused(subject.refused)

    assert isinstance(error, CredentialsRefused)
    _is_helpful_and_discreet(error, subject.refused)


def _refused(spec: ConnectionSpec) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        _look(registry.open_session(spec))
    return caught.value


def _look(session: Session) -> None:
    """Use a session that may have been opened without touching the other side."""
    try:
        session.check()
        session.catalog().tables()
    finally:
        session.close()


def _is_helpful_and_discreet(error: PenstockError, spec: ConnectionSpec) -> None:
    assert error.hint
    assert spec.name in error.what
    chain: BaseException | None = error
    while chain is not None:
        assert spec.password is None or spec.password.reveal() not in str(chain)
        chain = chain.__cause__ if isinstance(chain, PenstockError) else None
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.retry) == (type(error), str(error), error.retry)


def test_a_session_serves_one_table_after_another(subject: Subject) -> None:
    subject.needs_rows()
    subject.needs(Ability.WRITE)
    data = many_rows(100)

    with subject.session() as session:
        for number in range(5):
            table = subject.table_name(f"table_{number}")
            load_whole(session, subject.load(table, data.schema), data)

            assert read_table(session, table).num_rows == 100
