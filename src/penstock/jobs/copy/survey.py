"""The survey of a copy job: which tables, how each is read and stored, and everything wrong with it, before a row moves."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.core.errors import Missing, NotSupported, PenstockError, SpecError
from penstock.core.load import Load, Mode, Source
from penstock.core.names import TableName, select
from penstock.core.ports import Ability, Catalog, Connector, RawReader, RawWriter, Reader, Session, Writer
from penstock.core.schema import Fidelity, TableInfo, TableSchema, TypeChoice, TypePolicy
from penstock.core.spec import CopySpec, TableSpec
from penstock.jobs.copy.expressions import Expressions, bind
from penstock.jobs.copy.settings import resolve, unused_overrides


@dataclass(frozen=True)
class Surveyed:
    """One table, checked: what is read, what is loaded (its load_id still empty), how each column is stored."""

    spec: TableSpec
    schema: TableSchema
    source: Source
    load: Load
    expressions: Expressions
    types: tuple[TypeChoice, ...]
    raw: bool

    @property
    def size_bytes(self) -> int:
        return self.schema.size_bytes or 0


_NO_TABLES = "it holds no table: see that the url of the connection leads to where they are"


@dataclass(frozen=True)
class Choice:
    """Names from the command line that narrow a job's tables further; both empty: all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ends:
    """The two open ends of a job and what their connectors can do."""

    source: Session
    target: Session
    source_connector: Connector
    target_connector: Connector
    target_name_parts: int


def survey(
    job: CopySpec, ends: Ends, choice: Choice, full_refresh: bool, accept_changes: bool, only: str = ""
) -> list[Surveyed]:
    """All tables of the job, or those that are loaded into the table `only`, largest first. Raises one error that names
    everything wrong."""
    _check_abilities(job, ends)
    specs = _specs(job, ends, choice)
    _check_targets(specs, job)
    specs = [spec for spec in specs if not only or str(spec.target_table) == only]
    schemas = _schemas(specs, ends.source)
    found: list[Surveyed] = []
    problems: list[PenstockError] = []
    for spec, schema in zip(specs, schemas, strict=True):
        try:
            # The spec keeps its own mode: its settings are what the watermark will mean.
            mode = Mode.REPLACE if full_refresh and spec.cursor else spec.mode
            found.append(_survey_table(job, spec, mode, schema, ends, accept_changes))
        except PenstockError as error:
            if error.retry.value != "never":
                raise
            problems.append(error)
    if problems:
        raise _all_in_one(problems)
    return sorted(found, key=lambda table: (-table.size_bytes, str(table.spec.target_table)))


def _all_in_one(problems: Sequence[PenstockError]) -> PenstockError:
    first = problems[0]
    if len(problems) == 1:
        return first
    listed = "\n".join(f"  - {problem}" for problem in problems)
    return type(first)(f"{len(problems)} tables cannot be copied:\n{listed}")


def _check_abilities(job: CopySpec, ends: Ends) -> None:
    for connector, name, needed in (
        (ends.source_connector, job.source, (Ability.CATALOG, Ability.READ)),
        (ends.target_connector, job.target, (Ability.WRITE,)),
    ):
        for ability in needed:
            if ability not in connector.abilities:
                raise NotSupported(
                    f"connection {name!r} ({connector.name}) of job {job.name!r} cannot {ability.value}",
                    "`penstock connectors` lists what each connector can do",
                )
        if connector.one_process and job.run.executor == "processes":
            raise NotSupported(
                f"connection {name!r} ({connector.name}) of job {job.name!r} can be open in one process only, and the job"
                " asks for executor processes",
                "use executor threads",
            )
    if job.queries and Ability.QUERY not in ends.source_connector.abilities:
        raise NotSupported(f"connection {job.source!r} ({ends.source_connector.name}) takes no queries", "copy tables")


def _specs(job: CopySpec, ends: Ends, choice: Choice) -> list[TableSpec]:
    names = _chosen_tables(job, ends.source.catalog().tables() if job.tables else [])
    unused = unused_overrides(job, names, job.queries)
    if unused:
        raise SpecError(
            f"override {unused[0]!r} of job {job.name!r} matches no table or query of the job",
            _suggest(unused[0], [str(name) for name in names]),
        )
    names = [name for name in names if _kept(str(name), name, choice)]
    queries = [name for name in job.queries if _kept(name, TableName((name,)), choice)]
    if not names and not queries:
        raise SpecError(f"no table of job {job.name!r} is left after --include and --exclude", "widen the patterns")
    specs = [resolve(job, name, str(name), ends.target_name_parts) for name in names]
    return specs + [resolve(job, None, name, ends.target_name_parts) for name in queries]


def _chosen_tables(job: CopySpec, tables: Sequence[TableInfo]) -> list[TableName]:
    names = [table.name for table in tables]
    for pattern in job.tables:
        if not pattern.startswith("!") and not select(names, [pattern]):
            raise Missing(
                f"pattern {pattern!r} of job {job.name!r} matches none of the {len(names)} tables of {job.source!r}",
                _suggest(pattern, [str(name) for name in names]),
            )
    return select(names, job.tables)


def _suggest(text: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, names, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else _NO_TABLES


def _kept(text: str, name: TableName, choice: Choice) -> bool:
    patterns = [*(choice.include or ("*",)), *(f"!{pattern}" for pattern in choice.exclude)]
    return bool(select([name], patterns)) or (bool(choice.include) and text in choice.include)


def _check_targets(specs: Sequence[TableSpec], job: CopySpec) -> None:
    first: dict[TableName, TableSpec] = {}
    for spec in specs:
        if spec.target_table in first:
            one, two = (s.source_table or "a query" for s in (first[spec.target_table], spec))
            raise SpecError(
                f"job {job.name!r} would load {one} and {two} into one table, {spec.target_table}",
                "set target_name, for instance '{schema}_{table}'",
            )
        first[spec.target_table] = spec


def _schemas(specs: Sequence[TableSpec], source: Session) -> list[TableSchema]:
    """The schema of each spec. Set-based: one describe for each type policy in use, which is nearly always one."""
    catalog = source.catalog()
    policies: dict[TypePolicy, list[TableName]] = {}
    for spec in specs:
        if spec.source_table:
            policies.setdefault(spec.types, []).append(spec.source_table)
    described = {policy: _described(catalog, tables, policy) for policy, tables in policies.items()}
    out: list[TableSchema] = []
    for spec in specs:
        if spec.source_table is None:
            out.append(catalog.describe_query(spec.query, spec.types))
        elif spec.source_table in described[spec.types]:
            out.append(described[spec.types][spec.source_table])
        else:
            raise Missing(f"table {spec.source_table} is gone from the source", "run again")
    return out


def _described(catalog: Catalog, tables: Sequence[TableName], policy: TypePolicy) -> Mapping[TableName, TableSchema]:
    """All tables described at once. Where that fails, one after the other: the error names every table that cannot be."""
    try:
        return catalog.describe(tables, policy)
    except PenstockError as error:
        if error.retry.value != "never" or len(tables) == 1:
            raise
        problems = [found for table in tables if (found := _why_not(catalog, table, policy))]
        raise _all_in_one(problems or [error]) from error


def _why_not(catalog: Catalog, table: TableName, policy: TypePolicy) -> PenstockError | None:
    try:
        catalog.describe([table], policy)
    except PenstockError as error:
        if error.retry.value != "never":
            raise
        return error
    return None


def _survey_table(
    job: CopySpec, spec: TableSpec, mode: Mode, schema: TableSchema, ends: Ends, accept_changes: bool
) -> Surveyed:
    where = f"table {spec.source_table}" if spec.source_table else f"query {spec.target_table.table!r}"
    expressions = bind(spec.columns, schema.columns, where)
    source = Source(
        spec.source_table,
        spec.query,
        expressions.read,
        spec.where,
        None,
        spec.types,
        _side(ends.source_connector, spec, "source"),
    )
    policy = spec.schema_changes
    if accept_changes:
        policy = replace(policy, **{n: "evolve" for n, v in vars(policy).items() if v == "ask"})
    load = Load(
        load_id="",
        job=job.name,
        table=spec.target_table,
        columns=expressions.columns,
        mode=mode,
        key=tuple(_target_column(expressions, name, "key", where) for name in _row_key(spec, mode)),
        cursor=expressions.renamed(spec.cursor.column) if spec.cursor else "",
        volatile=expressions.volatile,
        policy=policy,
        options=_side(ends.target_connector, spec, "target"),
    )
    if spec.cursor and schema.column(spec.cursor.column) is None:
        names = [column.name for column in schema.columns]
        raise SpecError(f"cursor {spec.cursor.column!r} is no column of {where}", _suggest(spec.cursor.column, names))
    if spec.cursor and mode is Mode.APPEND and not load.cursor:
        raise SpecError(
            f"cursor {spec.cursor.column!r} of {where} is not copied, so rows that tie with the last one cannot be told apart",
            "copy the cursor column too, or use mode upsert with a key",
        )
    writer, reader = ends.target.writer(), ends.source.reader()
    types = tuple(writer.types(load))
    _check_lossy(spec, types, where)
    return Surveyed(
        spec, schema, source, load, expressions, types, _passes_raw(reader, writer, source, load, expressions)
    )


def _row_key(spec: TableSpec, mode: Mode) -> tuple[str, ...]:
    """The key of a load. A full refresh of a job that later appends, or deletes slices by key, must not make that key
    the target's primary key: it may repeat."""
    return () if mode is not spec.mode and spec.mode in (Mode.APPEND, Mode.DELETE_INSERT) else spec.key


def _side(connector: Connector, spec: TableSpec, scope: str) -> dict[str, object]:
    """The table's options that are meant for one side, as the connector declares them."""
    names = {option.name for option in connector.options if option.scope == scope}
    return {name: value for name, value in spec.options.items() if name in names}


def _target_column(expressions: Expressions, name: str, setting: str, where: str) -> str:
    """The target's name of a column given by its source name, or by its own name if it is an added column."""
    renamed = expressions.renamed(name)
    if renamed:
        return renamed
    out = [column.name for column in expressions.columns]
    if name in out:
        return name
    raise SpecError(f"{setting} {name!r} is no copied column of {where}", _suggest(name, out))


def _check_lossy(spec: TableSpec, types: Sequence[TypeChoice], where: str) -> None:
    """Lossy needs consent, before anything runs; reading and storing both count."""
    if "*" in spec.allow_lossy:
        return
    lossy = [
        choice
        for choice in types
        if Fidelity.LOSSY in (choice.fidelity, choice.column.fidelity) and choice.column.name not in spec.allow_lossy
    ]
    if lossy:
        listed = "; ".join(
            f"{choice.column.name} ({choice.column.native or choice.column.type} to {choice.native}: "
            f"{choice.note or choice.column.note})"
            for choice in lossy
        )
        names = ", ".join(choice.column.name for choice in lossy)
        raise SpecError(
            f"{where} would lose values in {len(lossy)} column(s): {listed}",
            f"cast or exclude them, or consent with allow_lossy: [{names}]",
        )


def _passes_raw(reader: Reader, writer: Writer, source: Source, load: Load, expressions: Expressions) -> bool:
    """Whether the source's wire format can go through to the target untouched."""
    if not expressions.identity or not isinstance(reader, RawReader) or not isinstance(writer, RawWriter):
        return False
    wanted = writer.raw_format(load)
    return bool(wanted) and wanted == reader.raw_format(source)
