"""PostgreSQL's binary COPY at the speed of libpq: to Arrow, from Arrow, and from server to server.

Needs the compiled module beside this file; `available()` says whether it works here, `why_not()` why it does not. Where
it does not, ADBC reads and writes the same tables at several times the CPU.

Formats: PostgreSQL documentation, "COPY", section "Binary Format", and the send functions of each type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psycopg.pq import ExecStatus

from penstock.connectors.postgres import _copy
from penstock.connectors.postgres._copy import Connection, Stop, never
from penstock.connectors.postgres._fields import CARRIERS, Field, arrow_schema
from penstock.connectors.postgres._libpq import require, why_not
from penstock.connectors.postgres.copy_decode import CopyReader
from penstock.connectors.postgres.copy_encode import CopyWriter
from penstock.core.errors import DataError, Stopped

__all__ = ["CARRIERS", "CopyReader", "CopyWriter", "Field", "Pumped", "arrow_schema", "available", "pump", "why_not"]


def available() -> bool:
    """Whether the codec can be used here."""
    return not why_not()


@dataclass(frozen=True)
class Pumped:
    """What went through a pump: rows that both servers counted, bytes of the binary stream."""

    rows: int
    size_bytes: int


def pump(
    source: Connection,
    copy_out: str | bytes,
    target: Connection,
    copy_in: str | bytes,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Stop | None = None,
) -> Pumped:
    """Run COPY ... TO STDOUT on `source` into COPY ... FROM STDIN on `target`, both in binary format.

    The columns of the two must have the same types in the same order; nothing is looked at. `on_progress(rows,
    size_bytes)` is called at least every 0.2 s. If anything fails on either side, or `stop` returns True, both COPYs
    are ended, nothing of this one is kept in the target, and both connections are idle (with an open transaction:
    failed), or closed when a server does not answer.

    Raises psycopg's error of the side that failed; CountMismatch when the servers counted differently (the rows are in
    the target then, unless its transaction is rolled back); DataError for a stream cut short; Stopped.
    """
    require()
    stop = stop or never
    try:
        out = _copy.start(source, copy_out, ExecStatus.COPY_OUT, stop)
        into = _copy.start(target, copy_in, ExecStatus.COPY_IN, stop)
        _copy.check_fields(into, out.nfields)
        return _pump(source, target, on_progress or _ignore, stop)
    except BaseException:
        _copy.abandon(target, "the source of the data failed or was stopped")
        _copy.abandon(source)
        raise


def _pump(source: Connection, target: Connection, on_progress: Callable[[int, int], None], stop: Stop) -> Pumped:
    from penstock.connectors.postgres import _wire

    moving = _wire.Pump(_copy.address(source), _copy.address(target))
    sent, outcome = -1, _wire.SLICE
    while outcome != _wire.DONE:
        if stop():
            raise Stopped(f"copying was stopped after {moving.rows} rows")
        outcome = moving.run(_copy.SLICE_MS)
        on_progress(moving.rows, moving.size_bytes)
        if outcome == _wire.REFUSED:
            raise _copy.refused_input(target)
        if outcome in (_wire.ENDED, _wire.LOST):
            sent = _copy.rows_of(source)  # the server's error, if that is why the data ended
            if not moving.ended:
                raise DataError(f"binary COPY ended after {moving.rows} rows without its trailer")
            _copy.check_count(sent, moving.rows, "source")
    taken = _copy.end_input(target, stop)
    _copy.check_count(taken, sent, "target")
    return Pumped(taken, moving.size_bytes)


def _ignore(rows: int, size_bytes: int) -> None:
    pass
