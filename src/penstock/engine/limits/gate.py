"""Politeness towards a database: at most so many connections, at most so many rows a second."""

from __future__ import annotations

from penstock.core.spec import RateSpec
from penstock.engine.clock import SYSTEM_CLOCK, Clock, StopEvent
from penstock.engine.limits.limiter import Limiter, LimiterState, Slot


class PoliteGate:
    """Limits what a run takes from one database, over all its workers and jobs. May be used from any thread."""

    def __init__(
        self,
        max_connections: int | None = None,
        rows_per_s: float | None = None,
        *,
        name: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._connections = Limiter(RateSpec(concurrency=max_connections), name=name, clock=clock)
        self._rows = Limiter(RateSpec(per_second=rows_per_s), name=name, clock=clock)

    def connection(self, stop: StopEvent, share: str = "") -> Slot:
        """A context manager that waits for a free connection and holds it for the block; shares take turns.

        Entering raises Stopped when `stop` is or gets set.
        """
        return self._connections.slot(stop, share=share)

    def spend_rows(self, rows: int, stop: StopEvent, share: str = "") -> None:
        """Wait until `rows` more rows fit the rate. In any t seconds at most rate * (t + LATE_S) + `rows` pass.

        A batch passes as soon as the ones before it are paid for, so a batch is never cut. Raises Stopped when `stop` is
        or gets set.
        """
        if rows > 0:
            with self._rows.slot(stop, cost=rows, share=share):
                return

    def connections(self) -> LimiterState:
        """How many connections are held and waited for."""
        return self._connections.state()

    def rows(self) -> LimiterState:
        """How long workers waited for the row rate."""
        return self._rows.state()
