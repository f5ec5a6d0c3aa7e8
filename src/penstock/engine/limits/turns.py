"""Whose turn it is: one queue a share, first come first served; the shares take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, Protocol, TypeVar


class Waiter(Protocol):
    @property
    def share(self) -> str: ...


W = TypeVar("W", bound=Waiter)


class Turns(Generic[W]):
    """Round robin over shares, FIFO within one.

    While a share waits, every other share is served at most once before it. A share that had nobody waiting joins at the
    end. Not thread-safe.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[W]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, waiter: W) -> None:
        self._queues.setdefault(waiter.share, deque()).append(waiter)
        self._size += 1

    def head(self) -> W | None:
        """Who is next, or None."""
        for queue in self._queues.values():
            return queue[0]
        return None

    def pop(self) -> W:
        """Take out who is next; the share goes to the end."""
        share, queue = next(iter(self._queues.items()))
        waiter = queue.popleft()
        self._size -= 1
        if queue:
            self._queues.move_to_end(share)
        else:
            del self._queues[share]
        return waiter

    def remove(self, waiter: W) -> None:
        """Take out somebody who gave up; the turn of the share stays. Raises ValueError if they do not wait."""
        queue = self._queues.get(waiter.share)
        if queue is None:
            raise ValueError("not waiting")
        queue.remove(waiter)
        self._size -= 1
        if not queue:
            del self._queues[waiter.share]
