"""Text of an import: what was made, and everything there is to know about it."""

from __future__ import annotations

from penstock.api.hygge.convert import Imported
from penstock.api.hygge.notes import KINDS, Note, shown_places
from penstock.cli.render.numbers import plural
from penstock.cli.render.text import Paint, indent

_COLORS = {"lacking": "red", "secret": "red", "decide": "yellow", "differs": "cyan", "dropped": "dim"}


def import_lines(made: Imported, paint: Paint, *, is_written: bool) -> list[str]:
    """The notes and what to do next; the file itself where it was not written."""
    if not is_written:
        return made.text.splitlines()
    counted = (plural(len(made.connections), "connection"), plural(len(made.jobs), "job"), plural(made.tables, "table"))
    lines = [f"wrote {made.file}: {', '.join(counted)}"]
    for kind, title in KINDS.items():
        found = [note for note in made.notes if note.kind == kind]
        lines += ["", paint(_COLORS[kind], f"{title}:")] if found else []
        for note in found:
            lines += indent(_note(note), "  ")
    return [*lines, "", "next: penstock check, penstock plan, penstock run; the notes stand in the file too"]


def _note(note: Note) -> list[str]:
    where = ", ".join(one for one in (note.about, shown_places(note.places)) if one)
    return [f"{note.option}" + (f" ({where})" if where else ""), f"  {note.text}"]
