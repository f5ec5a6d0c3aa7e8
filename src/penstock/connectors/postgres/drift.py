"""Whether rows moved between the plan of page ranges and their reading.

An UPDATE puts a row's new version on another page. Within one snapshot that does not matter; when the rest of a table is
read in a later snapshot, a moved row may be read twice or never, so it is read only where nothing has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.connectors.postgres.session import Connection, query
from penstock.core.errors import SourceChanged
from penstock.core.names import TableName


@dataclass(frozen=True)
class Moment:
    """When page ranges were planned: the snapshot's text, its oldest running transaction, and the server's start."""

    snapshot: str
    oldest: str
    started: str


_MOMENT = """
SELECT pg_current_snapshot()::text, pg_snapshot_xmin(pg_current_snapshot())::text, pg_postmaster_start_time()::text
"""

# The file that holds a table (changed by CLUSTER, VACUUM FULL, TRUNCATE), and how many of its rows were put on another
# page by an UPDATE; with $2, on another line. NULL on a standby, which does not count.
_FILE = """
SELECT pg_relation_filenode(c.oid),
    CASE WHEN pg_is_in_recovery() THEN NULL WHEN $2::boolean THEN pg_stat_get_tuples_updated(c.oid)
        ELSE pg_stat_get_tuples_updated(c.oid) - pg_stat_get_tuples_hot_updated(c.oid) END
FROM pg_class AS c WHERE c.oid = $1::text::regclass
"""

# Whether a row came into being in or after the oldest transaction that ran at the planned moment.
_NEWER = "SELECT EXISTS (SELECT FROM ONLY {table} WHERE age(xmin) <= age($1::xid))"
_XID_SPAN = 2**32


def moment(connection: Connection) -> Moment:
    """The moment that the open transaction sees."""
    return Moment(*query(connection, _MOMENT)[0])


def marks(connection: Connection, table: TableName, now: Moment, by_line: bool) -> dict[str, Any]:
    """What later tells whether the table's rows have moved since `now`; plain JSON, kept with each chunk. `by_line` says
    that chunks begin on lines within pages, so that a row moves even when it stays on its page."""
    file, moved = query(connection, _FILE, [table.quoted(), by_line])[0]
    known = {"snapshot": now.snapshot, "oldest": now.oldest, "started": now.started}
    return {**known, "file": file, "moved": moved, "by_line": by_line}


def check(connection: Connection, table: TableName, planned: dict[str, Any]) -> None:
    """Raise SourceChanged when rows of `table` may have moved since it was planned.

    Counters answer while the server runs; after a restart, and on a standby, the rows' own transactions do, in one scan
    without their contents. That counts new rows as moved ones too.
    """
    now = moment(connection)
    if (now.snapshot, now.started) == (planned["snapshot"], planned["started"]):
        return
    file, moved = query(connection, _FILE, [table.quoted(), planned["by_line"]])[0]
    if file != planned["file"]:
        raise _changed(table, "the table was rewritten")
    if moved is not None and planned["moved"] is not None and now.started == planned["started"]:
        if moved != planned["moved"]:
            raise _changed(table, f"{moved - planned['moved']} updates moved rows")
        return
    oldest = str(int(planned["oldest"]) % _XID_SPAN)
    if query(connection, _NEWER.format(table=table.quoted()), [oldest])[0][0]:
        raise _changed(table, "rows were written since, and the server does not count whether they moved")


def _changed(table: TableName, why: str) -> SourceChanged:
    return SourceChanged(
        f"table {table} changed after the snapshot in which its chunks were planned was lost: {why}, so that rows could"
        " be read twice or never",
        "copy it while fewer rows move, or set split_by: key, whose chunks do not depend on where rows lie",
    )
