"""Watermarks: how far an incremental table is, which rows to read next, and whether the settings still fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.core.errors import DataError, SettingsChanged
from penstock.core.item import Json
from penstock.core.load import CursorValue, Source, Window
from penstock.core.ports import Reader
from penstock.core.spec import TableSpec, plain


@dataclass(frozen=True)
class Reading:
    """What an incremental load reads: the window, the old watermark whose rows are read again, and the new watermark."""

    window: Window
    reread_to: CursorValue | None
    watermark: Json | None


def state_key(spec: TableSpec) -> str:
    """The key of a table's watermark in the job's state."""
    return f"watermark:{spec.target_table}"


def meaning(spec: TableSpec) -> dict[str, Any]:
    """The settings that decide what a watermark means."""
    return {
        "source": str(spec.source_table) if spec.source_table else f"query: {spec.query}",
        "cursor": spec.cursor.column if spec.cursor else "",
        "where": spec.where,
        "mode": spec.mode.value,
        "key": list(spec.key),
    }


def check_settings(spec: TableSpec, saved: Json | None) -> None:
    """Raise SettingsChanged when a saved watermark belongs to other settings. A load never falls back in silence."""
    if saved is None:
        return
    now = meaning(spec)
    before: Mapping[str, Any] = saved["meaning"]
    changed = [name for name in now if now[name] != before.get(name)]
    if changed:
        differences = ", ".join(f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in changed)
        raise SettingsChanged(
            f"table {spec.target_table} was loaded up to {saved['text']} with other settings: {differences}",
            "restore the setting, or load the table anew once with --full-refresh",
        )


def reading(spec: TableSpec, source: Source, reader: Reader, saved: Json | None, now: str) -> Reading:
    """Fix the window of an incremental load: both ends belong to it, the upper one is the greatest value right now.

    The low end is the last watermark, so that rows that tie with it are never lost, or lies `lag` below it. Rows read
    again this way are recognised by key, or by APPEND's comparison with what the target holds.
    """
    if spec.cursor is None:
        raise ValueError("reading() is for incremental tables")
    open_window = Window(spec.cursor.column, nulls=spec.cursor.nulls == "include")
    source = replace(source, window=open_window)
    _check_nulls(spec, source, reader)
    old = CursorValue(saved["type"], saved["text"]) if saved else None
    low = reader.lagged(source, old, spec.cursor.lag) if old and spec.cursor.lag else old
    high = reader.high(source)
    newest = high or old
    watermark = None
    if newest is not None:
        watermark = {"type": newest.type, "text": newest.text, "meaning": plain(meaning(spec)), "at": now}
    return Reading(replace(open_window, low=low, high=high), old, watermark)


def _check_nulls(spec: TableSpec, source: Source, reader: Reader) -> None:
    if spec.cursor is None or spec.cursor.nulls != "error":
        return
    column = next((column for column in source.columns if column.name == spec.cursor.column), None)
    if column is not None and not column.nullable:
        return
    missing = reader.null_cursors(source)
    if missing:
        raise DataError(
            f"{missing} rows of {source} have no value in the cursor column {spec.cursor.column!r}",
            "set cursor.nulls to include (read them every time) or exclude (never read them)",
        )
