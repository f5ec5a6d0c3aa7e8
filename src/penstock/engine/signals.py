"""SIGINT and SIGTERM ask a run to stop: the first softly, the second at once, the third even out of a call that hangs."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from penstock.engine.stop import Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """While the block runs, signals go to `stop`; afterwards the former handlers are back.

    A signal after the one that stopped at once raises KeyboardInterrupt, for a driver that hangs in a foreign call. Only
    the main thread may receive signals: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # A handler runs on top of whatever the main thread does, which may hold the very locks that setting an event takes:
    # a second signal within the handling of the first would wait for itself. A SimpleQueue may be used even there.
    arrived: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.hard.is_set():
            raise KeyboardInterrupt
        arrived.put(signal.Signals(number).name)

    def press() -> None:
        while name := arrived.get():
            stop.press(name)

    pressing = threading.Thread(target=press, name="signals", daemon=True)
    pressing.start()
    former = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        arrived.put("")
        pressing.join()
