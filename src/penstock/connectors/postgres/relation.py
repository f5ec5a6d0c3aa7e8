"""The target table as the server has it: columns, keys, what hangs on it; and where a name without schema leads."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.connectors.postgres.catalog import columns_of, resolve
from penstock.connectors.postgres.session import Connection, query
from penstock.connectors.postgres.types import Declared
from penstock.core.errors import NotSupported, SpecError
from penstock.core.names import TableName

MAX_NAME_BYTES = 63

# Facts of one table: schema, name, kind, primary key, unique keys that ON CONFLICT can use (JSON list of lists), foreign
# keys of other tables that point here, triggers that may drop rows.
_FACTS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text,
    ARRAY(SELECT a.attname::text FROM pg_index AS i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place),
    coalesce((SELECT json_agg(ARRAY(SELECT a.attname::text
            FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts))
        FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
            AND i.indpred IS NULL AND i.indexprs IS NULL), '[]'),
    ARRAY(SELECT format('%s (%s)', f.conname, f.conrelid::regclass) FROM pg_constraint AS f
        WHERE f.confrelid = c.oid AND f.conrelid <> c.oid AND f.contype = 'f' AND f.conparentid = 0 ORDER BY 1)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1
"""

# What columns_of does not tell: name, has a default, identity, generated, owned sequence, views and rules that use it.
_DETAILS = """
SELECT a.attname::text, a.atthasdef AND a.attgenerated = '', a.attidentity::text, a.attgenerated::text,
    pg_get_serial_sequence(a.attrelid::regclass::text, a.attname),
    ARRAY(SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum)
FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True)
class TargetColumn:
    """A column of the target. `identity` is "", "a" (always) or "d" (by default); `views` are those that use it."""

    name: str
    declared: Declared
    is_filled: bool
    has_default: bool
    identity: str
    is_generated: bool
    sequence: str | None
    views: tuple[str, ...]

    @property
    def fills_itself(self) -> bool:
        """Whether the server gives it a value when a row brings none."""
        return self.has_default or bool(self.identity) or self.is_generated


@dataclass(frozen=True)
class Target:
    """An existing target table. `referenced_by` are foreign keys of other tables."""

    oid: int
    name: TableName
    kind: str
    columns: tuple[TargetColumn, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[frozenset[str], ...]
    referenced_by: tuple[str, ...]

    def column(self, name: str) -> TargetColumn | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def is_partitioned(self) -> bool:
        return self.kind == "p"


def located(connection: Connection, table: TableName) -> tuple[TableName, int | None]:
    """Schema and name of a table, and its oid if it exists. A name without schema is looked for in the search path, and
    belongs into its first schema."""
    for part in table.parts:
        if len(part.encode()) > MAX_NAME_BYTES:
            raise SpecError(
                f"name {part!r} of table {table} has {len(part.encode())} bytes; PostgreSQL would cut it to {MAX_NAME_BYTES}",
                "choose a shorter target_name",
            )
    oid = resolve(connection, [table]).get(table)
    if table.schema:
        return TableName(table.parts[-2:]), oid
    if oid is not None:
        rows = query(connection, _SCHEMA_OF, [oid])
        return TableName((rows[0][0], table.table)), oid
    schema = query(connection, "SELECT current_schema()")[0][0]
    if schema is None:
        raise SpecError(
            f"table {table} names no schema, and no schema of the search path exists", "name one: schema.table"
        )
    return TableName((schema, table.table)), None


_SCHEMA_OF = (
    "SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1"
)


def target_of(connection: Connection, oid: int) -> Target:
    """All that a load needs to know of its target. Raises NotSupported where rows cannot be put."""
    schema, table, kind, primary_key, unique_keys, references = query(connection, _FACTS, [oid])[0]
    name = TableName((schema, table))
    if kind in ("v", "m"):
        what = "a view" if kind == "v" else "a materialized view"
        raise NotSupported(f"table {name} is {what}, which takes no load", "choose another target_name")
    details = {row[0]: row[1:] for row in query(connection, _DETAILS, [oid])}
    found = columns_of(connection, [oid]).get(oid, [])
    columns = []
    for label, declared, is_filled in found:
        has_default, identity, generated, sequence, views = details[label]
        columns.append(
            TargetColumn(label, declared, is_filled, has_default, identity, bool(generated), sequence, tuple(views))
        )
    keys = tuple(frozenset(key) for key in unique_keys)
    return Target(oid, name, kind, tuple(columns), tuple(primary_key), keys, tuple(references))
