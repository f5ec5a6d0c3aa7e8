"""Names and shapes from the system catalog: a fixed number of questions, however many tables are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.connectors.postgres.session import Connection, PostgresSession, query
from penstock.connectors.postgres.types import Declared, PgType, to_column
from penstock.core.errors import PenstockError, SpecError
from penstock.core.names import TableName
from penstock.core.schema import TableInfo, TableSchema, TypePolicy

KINDS = {"r": "table", "v": "view", "m": "materialized view", "f": "foreign table", "p": "partitioned table"}

# One row for each relation the user may read: oid, schema, name, relkind, estimated rows or NULL, bytes or NULL, comment,
# primary key columns in order. $1: oids, or NULL for all but system objects, leaves of partitioned tables and Penstock's
# own. A partitioned table counts its leaves together; estimates of -1 mean "never analysed".
_TABLES = """
WITH RECURSIVE chosen AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE CASE WHEN $1::oid[] IS NOT NULL THEN c.oid = ANY ($1)
        ELSE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND left(c.relname, 10) <> '_penstock_'
            AND has_schema_privilege(n.oid, 'USAGE')
            AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))
            AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.objsubid = 0 AND d.deptype = 'e' AND c.relkind IN ('v', 'f'))
    END
), member AS (
    SELECT oid AS root, oid FROM chosen WHERE relkind = 'p'
    UNION ALL
    SELECT m.root, i.inhrelid FROM member AS m JOIN pg_inherits AS i ON i.inhparent = m.oid
), leaves AS (
    SELECT m.root, sum(nullif(c.reltuples, -1)) AS rows, sum(pg_table_size(c.oid)) AS bytes,
        bool_or(c.reltuples < 0) AS has_unknown
    FROM member AS m JOIN pg_class AS c ON c.oid = m.oid WHERE c.relkind IN ('r', 'f') GROUP BY m.root
)
SELECT c.oid, c.nspname, c.relname, c.relkind,
    CASE WHEN c.relkind = 'p' THEN CASE WHEN l.has_unknown THEN NULL ELSE coalesce(l.rows, 0) END
        WHEN c.relkind = 'v' OR c.reltuples < 0 THEN NULL ELSE c.reltuples END::bigint,
    CASE WHEN c.relkind = 'p' THEN coalesce(l.bytes, 0) WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) END::bigint,
    obj_description(c.oid, 'pg_class'),
    ARRAY(SELECT a.attname::text FROM pg_index AS i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place)
FROM chosen AS c LEFT JOIN leaves AS l ON l.root = c.oid
ORDER BY c.nspname COLLATE "C", c.relname COLLATE "C"
"""

# Names to oids: the position in the question, oid. A name without schema is found by the search path.
_RESOLVE = """
SELECT w.place, c.oid
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, place)
JOIN pg_class AS c ON c.relname = w.name AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE CASE WHEN w.schema = '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = w.schema END
"""

# A type as DDL writes it, with the schema of every type that is not built in, so that it has one name whatever the search
# path: `t` is its row of pg_type, `e` that of its elements where it is an array, else its own, `n` the schema of `e`.
_TYPE_TEXT = """CASE WHEN n.nspname = 'pg_catalog' THEN format_type(t.oid, {typmod})
    ELSE quote_ident(n.nspname) || '.' || quote_ident(e.typname)
        || coalesce(substring(format_type(t.oid, {typmod}) FROM '\\([^()"]*\\)(?=(?:\\[\\])?$)'), '')
        || CASE WHEN e.oid = t.oid THEN '' ELSE '[]' END END"""
_TYPE_JOINS = """
JOIN pg_type AS e ON e.oid = CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
JOIN pg_namespace AS n ON n.oid = e.typnamespace
"""

# One row for each column in order: table, name, type, typmod, type as DDL writes it, NOT NULL.
_COLUMNS = f"""
SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, {_TYPE_TEXT.format(typmod="a.atttypmod")}, a.attnotnull
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid {_TYPE_JOINS}
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# The types asked for, with the types behind domains and array elements. int2vector and oidvector look like arrays but
# have a text form of their own.
_TYPES = f"""
WITH RECURSIVE wanted AS (
    SELECT oid FROM pg_type WHERE oid = ANY ($1::oid[])
    UNION
    SELECT x.oid FROM wanted AS w JOIN pg_type AS t ON t.oid = w.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS x (oid) WHERE x.oid <> 0
)
SELECT t.oid, s.nspname::text, t.typname::text, t.typtype::text, {_TYPE_TEXT.format(typmod="-1")}, t.typbasetype, t.typtypmod,
    CASE WHEN t.typcategory = 'A' AND t.typname NOT IN ('int2vector', 'oidvector') THEN t.typelem ELSE 0 END,
    ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
    t.typsend <> 0 AND t.typreceive <> 0
FROM wanted AS w JOIN pg_type AS t ON t.oid = w.oid JOIN pg_namespace AS s ON s.oid = t.typnamespace {_TYPE_JOINS}
"""


class PostgresCatalog:
    """Tables of the connection's database. Names of three parts must name this database."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    def tables(self) -> list[TableInfo]:
        """Tables, views, materialized views, foreign and partitioned tables, by schema and name. Leaves of partitioned
        tables are part of their parent and not listed."""
        connection = self._session.any
        with self._session.call("cannot list tables", connection):
            rows = query(connection, _TABLES, [None])
        return [TableInfo(TableName((row[1], row[2])), KINDS[row[3]], row[4], row[5]) for row in rows]

    def describe(self, tables: Sequence[TableName], policy: TypePolicy) -> dict[TableName, TableSchema]:
        connection = self._session.any
        with self._session.call(f"cannot describe {_some(tables)}", connection):
            oids = resolve(connection, tables)
            facts = {row[0]: row for row in query(connection, _TABLES, [list(oids.values())])}
            columns = columns_of(connection, list(oids.values()))
        return {
            name: self._schema(name, facts[oid], columns.get(oid, []), policy)
            for name, oid in oids.items()
            if oid in facts
        }

    def _schema(
        self, name: TableName, row: tuple[Any, ...], columns: list[tuple[str, Declared, bool]], policy: TypePolicy
    ) -> TableSchema:
        try:
            carried = tuple(to_column(label, declared, not filled, policy) for label, declared, filled in columns)
        except PenstockError as error:
            raise type(error)(
                f"table {name} of connection {self._session.spec.name!r}: {error.what}", error.hint
            ) from error
        return TableSchema(name, carried, tuple(row[7]), KINDS[row[3]], row[4], row[5], row[6] or "")

    def describe_query(self, query: str, policy: TypePolicy) -> TableSchema:
        """The columns a query gives; the server plans it and returns no row. All of them may be NULL. Raises SpecError
        where two columns have one name."""
        connection = self._session.any
        with self._session.call("cannot describe the query", connection):
            described = query_columns(connection, subquery(query))
        names = [name for name, _ in described]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise SpecError(
                f"the query gives more than one column named {double!r}", 'rename one: select ... as "name"'
            )
        columns = tuple(to_column(name, declared, True, policy) for name, declared in described)
        return TableSchema(None, columns, kind="query")


def _some(tables: Sequence[TableName]) -> str:
    shown = ", ".join(str(name) for name in tables[:3])
    return f"table {shown}" if len(tables) == 1 else f"tables {shown}{', …' if len(tables) > 3 else ''}"


def subquery(text: str) -> str:
    """The user's query as a table expression. The line break ends a comment at its end."""
    return f"({text.strip().rstrip(';').rstrip()}\n) AS query"


def resolve(connection: Connection, tables: Sequence[TableName]) -> dict[TableName, int]:
    """The oids of tables; those that do not exist are left out. Raises SpecError for a name in another database."""
    for name in tables:
        if len(name.parts) == 3 and name.parts[0] != connection.info.dbname:
            raise SpecError(
                f"table {name} is in another database than the connection ({connection.info.dbname!r})",
                "a connection of PostgreSQL reaches one database; leave the first part out or declare a connection for it",
            )
    rows = query(connection, _RESOLVE, [[name.schema for name in tables], [name.table for name in tables]])
    return {tables[place - 1]: oid for place, oid in sorted(rows)}


def columns_of(connection: Connection, oids: Sequence[int]) -> dict[int, list[tuple[str, Declared, bool]]]:
    """Name, type and NOT NULL of the columns of tables, in order; two questions."""
    rows = query(connection, _COLUMNS, [list(oids)])
    types = types_of(connection, {row[2] for row in rows})
    found: dict[int, list[tuple[str, Declared, bool]]] = {}
    for table, name, oid, typmod, text, filled in rows:
        found.setdefault(table, []).append((name, declare(types, oid, typmod, text), filled))
    return found


def types_of(connection: Connection, oids: set[int]) -> dict[int, PgType]:
    """The types, and those behind their domains and arrays; built-in ones are asked for once."""
    known = connection.types_by_oid
    missing = oids - known.keys()
    found = {row[0]: PgType(*row) for row in query(connection, _TYPES, [sorted(missing)])} if missing else {}
    known |= {oid: one for oid, one in found.items() if one.is_built_in}
    return known | found


def declare(types: Mapping[int, PgType], oid: int, typmod: int, text: str) -> Declared:
    """The declared type of a column, with what is behind domains."""
    found = base = types[oid]
    while base.kind == "d":
        typmod = base.base_typmod if base.base_typmod != -1 else typmod
        base = types[base.base]
    element = types[base.element] if base.element else None
    while element is not None and element.kind == "d":
        element = types[element.base]
    return Declared(text, found, base, typmod, element)


def query_columns(connection: Connection, source: str) -> list[tuple[str, Declared]]:
    """Names and types that a table expression gives, with the modifiers that the server tells."""
    with connection.transaction():
        result = connection.execute(f"SELECT * FROM {source} LIMIT 0").pgresult
    assert result is not None
    given = [((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i)) for i in range(result.nfields)]
    types = types_of(connection, {oid for _, oid, _ in given})
    texts = query(connection, _FORMAT, [[oid for _, oid, _ in given], [typmod for _, _, typmod in given]])
    return [
        (name, declare(types, oid, typmod, text[0])) for (name, oid, typmod), text in zip(given, texts, strict=True)
    ]


_FORMAT = f"""
SELECT {_TYPE_TEXT.format(typmod="w.typmod")} FROM unnest($1::oid[], $2::int[]) WITH ORDINALITY AS w (oid, typmod, place)
JOIN pg_type AS t ON t.oid = w.oid {_TYPE_JOINS} ORDER BY w.place
"""
