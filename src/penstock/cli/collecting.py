"""When the garbage collector works: not while a command is loaded, and then without looking at what was loaded."""

from __future__ import annotations

import gc

# Net new objects before the youngest are looked at. Rows are no Python objects here, so that few are ever made; the
# default of 700 would look hundreds of times while drivers are imported.
_YOUNGEST = 10_000


def pause() -> None:
    """Collect nothing: modules, classes and functions are made to stay, and each look at them costs more than the last.

    For the program alone, whose process ends with the command; who uses the library decides for himself.
    """
    gc.disable()


def resume() -> None:
    """Collect again, for work that may take long; what is there by now stays out of it for good."""
    gc.freeze()
    gc.set_threshold(_YOUNGEST, 10, 10)
    gc.enable()
