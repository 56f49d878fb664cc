"""What a transaction did to whole tables: dropped, truncated, rewritten. Told by the rows of pg_class that it wrote.

A commit record lists the files that it removes. Which relation a file belongs to, and which file took its place, the relation's row in
pg_class says, by its oid: a TRUNCATE gives it a new and empty file, a rewrite (VACUUM FULL, CLUSTER, REFRESH, ALTER TABLE) the file of a
transient relation that the same transaction makes and drops. The order of files in the record decides nothing. A file that no row of
pg_class explains is not known: it is never taken for another relation's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runbook.recovery.catalogrows import PG_CLASS, TRANSIENT
from runbook.recovery.relnames import TABLES, ColumnChange, NameBook, RelationName
from runbook.recovery.transactions import ClassRow, FileEvidence, RelFile, Transaction
from runbook.recovery.walnames import Chain, Oid, chains_of


@dataclass(frozen=True)
class FileChanges:
    """Files by what happened to them. `dropped` and `truncated` hold tables only; `replaced` are pairs of old and new file of the same
    relation; `unclear` were removed, and nothing tells how, or of what. `sizes` are rows as the catalog estimated them just before."""

    dropped: tuple[RelFile, ...] = ()
    truncated: tuple[RelFile, ...] = ()
    rewritten: tuple[RelFile, ...] = ()
    replaced: tuple[tuple[RelFile, RelFile], ...] = ()
    unclear: tuple[RelFile, ...] = ()
    databases: tuple[int, ...] = ()
    sizes: dict[RelFile, float | None] = field(default_factory=dict)
    #: Tables of which columns were dropped or changed, by (database, oid).
    columns: tuple[tuple[RelationName, tuple[ColumnChange, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dropped or self.truncated or self.unclear or self.databases or self.columns)


def classify(one: Transaction, names: NameBook) -> FileChanges:
    """Return a transaction's evidence as drops, truncations, rewrites."""
    evidence = one.files
    if evidence is None:
        return FileChanges()
    chains = chains_of(evidence.catalog)
    made_as = {chain.path[0]: oid for oid, chain in chains.items() if chain.path and _is_made(chain, evidence)}
    explained = set(made_as)
    dropped: set[RelFile] = set()
    truncated: set[RelFile] = set()
    rewritten: set[RelFile] = set()
    unclear: set[RelFile] = set()
    #: Files of tables whose rows of pg_class do not tell to the end what became of them.
    untold: dict[RelFile, int] = {}
    pairs: list[tuple[RelFile, RelFile]] = []
    sizes: dict[RelFile, float | None] = {}
    is_insert_unread = any(one.catalog == PG_CLASS and one.kind == "i" and one.new is None for one in evidence.catalog)
    half_read = [chain for chain in chains.values() if _is_transient(chain) and not chain.is_made]
    passing = {chain.row.name for chain in half_read if chain.row is not None}
    for oid, chain in chains.items():
        before = _row_before(chain, evidence)
        # What a transient relation was given, another one had: that one explains it.
        explained.update(chain.path if before is not None or not _is_transient(chain) else ())
        old = before.file if before is not None else None
        if before is None or old is None:
            continue
        sizes[old] = chain.before.estimated_rows if chain.before is not None else None
        is_table = before.kind in TABLES and not before.is_shared and not names.is_catalog_file(old)
        if chain.is_gone:
            dropped |= {old} if is_table else set()
            continue
        if chain.path[-1] != old:
            pairs.append((old, chain.path[-1]))
        if not is_table:
            continue
        if chain.path[-1] in evidence.removed:
            untold[old] = oid[1]
        elif chain.path[-1] != old:
            may_be_rewritten = is_insert_unread or f"{TRANSIENT}{oid[1]}" in passing
            fate = _fate(oid, chain, made_as, evidence, may_be_rewritten)
            if fate is None:
                untold[old] = oid[1]
            else:
                (truncated if fate else unclear if _was_unlogged(chain) else rewritten).add(old)
    # What rows of pg_class do not explain is judged by its name or its oid alone, as far as that goes.
    for file in (set(evidence.removed) - explained - set(evidence.created)) | set(untold):
        known = names.find(file)
        if file not in untold and (names.is_catalog_file(file) or (known is not None and known.kind not in TABLES)):
            continue
        number = untold.get(file, known.oid if known is not None else None)
        if (file.database, number) in evidence.dropped_oids:
            dropped.add(file)
        elif number in [oid for database, oid in evidence.truncated_oids if database in (0, file.database)]:
            truncated.add(file)
        else:
            unclear.add(file)
    order = list(reversed(evidence.removed))
    return FileChanges(
        dropped=_in_order(dropped, order),
        truncated=_in_order(truncated, order),
        rewritten=_in_order(rewritten, order),
        replaced=tuple(pairs),
        unclear=_in_order(unclear, order),
        databases=tuple(evidence.databases),
        sizes=sizes,
        columns=tuple(changed_columns(evidence, names, rewritten)),
    )


def _is_transient(chain: Chain) -> bool:
    name = chain.row.name if chain.row is not None else ""
    return name.startswith(TRANSIENT) and name.removeprefix(TRANSIENT).isdecimal()


def _is_made(chain: Chain, evidence: FileEvidence) -> bool:
    """True for a relation of the transaction's own, whose first row may not have been read. No record says so of an unlogged one's file."""
    return chain.is_made or (bool(chain.path) and chain.path[0] in evidence.created)


def _row_before(chain: Chain, evidence: FileEvidence) -> ClassRow | None:
    """The relation's row before the transaction; the first that is known where that one was not read, None for one that it made."""
    if _is_made(chain, evidence) or _is_transient(chain):
        return None
    return chain.before if chain.before is not None else next(iter(chain.rows), None)


def _fate(
    oid: Oid, chain: Chain, made_as: dict[RelFile, Oid], evidence: FileEvidence, may_be_rewritten: bool
) -> bool | None:
    """True when the relation got an empty file at some step, or a file that it got was cut to nothing; False when each holds what was in
    the one before: one that was made as another relation's, which a rewrite filled, or a copy in another tablespace. None: not known."""
    is_told = not chain.has_gap
    for before, after in zip(chain.path, chain.path[1:], strict=False):
        if after in evidence.emptied:
            return True
        if before.tablespace != after.tablespace or made_as.get(after, oid) != oid:
            continue
        if after not in evidence.filled and not may_be_rewritten:
            return True
        is_told = False  # a rewrite may have filled it, whose transient relation's row was not read
    return False if is_told else None


def _was_unlogged(chain: Chain) -> bool:
    """True when a table whose rows are in WAL went through a file whose rows are not: cut to nothing there, no record would say so."""
    before = chain.before
    return before is not None and before.persistence == "p" and any(row.persistence == "u" for row in chain.rows)


def _in_order(files: set[RelFile], order: list[RelFile]) -> tuple[RelFile, ...]:
    places = {file: place for place, file in enumerate(order)}
    return tuple(sorted(files, key=lambda file: (places.get(file, len(order)), file)))


def altered_tables(evidence: FileEvidence, names: NameBook) -> list[RelationName]:
    """Tables that the transaction locked exclusively, when it changed rows of pg_attribute: their columns may be what it changed."""
    if not evidence.changed_columns:
        return []
    found = [names.find_oid(database, oid) for database, oid in sorted(evidence.locked)]
    return [
        known for known in found if known is not None and known.file and known.kind in TABLES and not known.is_catalog
    ]


def changed_columns(
    evidence: FileEvidence, names: NameBook, rewrites: set[RelFile]
) -> Iterator[tuple[RelationName, tuple[ColumnChange, ...]]]:
    """Tables that lost a column or were rewritten with other types; no column is named where the damaged server's catalog was not read."""
    # A table that was dropped took its own rows of pg_attribute along: without the catalog nobody can say that there were others.
    is_explained = any(
        (one := names.find_oid(*oid)) is not None and one.kind in TABLES for oid in evidence.dropped_oids
    )
    is_open = not names.knows_columns and not is_explained
    for known in altered_tables(evidence, names):
        is_rewritten = any((one := names.find(file)) is not None and one.oid == known.oid for file in rewrites)
        changes = names.columns_changed(known.database, known.oid, evidence.xids)
        kept = tuple(one for one in changes if one.is_dropped or is_rewritten)
        if kept or (is_open and (is_rewritten or known.root_oid is None)):
            yield known, kept
