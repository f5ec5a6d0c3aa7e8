"""The journal: one SQLite file for a project, in which everything a run must remember is committed in small groups."""

from __future__ import annotations

from pathlib import Path


def journal_path(root: str | Path) -> Path:
    """Where the journal of a project lies: <root>/.penstock/journal.db."""
    return Path(root) / ".penstock" / "journal.db"


class Journal:
    """An open journal file; belongs to the thread that opened it. Use as a context manager."""

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open, and create or migrate if need be. Raises SettingsChanged for a file of a later version of Penstock."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
