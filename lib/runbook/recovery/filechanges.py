"""What a transaction did to whole tables, read from the evidence on files: dropped, truncated, rewritten.

How WAL tells them apart (PostgreSQL 15 to 18, each seen on 17.10): a commit record lists the files that it removes. A DROP removes a
file and drops the statistics of its oid. A TRUNCATE puts an empty file in its place, without page images. A rewrite (VACUUM FULL,
CLUSTER, ALTER TABLE) makes a transient relation, locked under its own number and dropped again in the same transaction. A new index
file always has page images (its meta page).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runbook.recovery.relnames import TABLES, ColumnChange, NameBook, RelationName
from runbook.recovery.transactions import FIRST_NORMAL, FileEvidence, RelFile, Transaction

_PG_TYPE = 1247


@dataclass(frozen=True)
class FileChanges:
    """Files by what happened to them. `dropped` and `truncated` hold tables only, as far as kinds are known; `replaced` are pairs of
    old and new file of the same relation; `unclear` were removed and nothing tells how."""

    dropped: tuple[RelFile, ...] = ()
    truncated: tuple[RelFile, ...] = ()
    rewritten: tuple[RelFile, ...] = ()
    replaced: tuple[tuple[RelFile, RelFile], ...] = ()
    unclear: tuple[RelFile, ...] = ()
    databases: tuple[int, ...] = ()
    #: Oids of dropped relations whose file is not known, and of truncated ones named by a TRUNCATE record.
    dropped_oids: tuple[tuple[int, int], ...] = ()
    #: Tables of which columns were dropped or changed, by (database, oid).
    columns: tuple[tuple[RelationName, tuple[ColumnChange, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dropped or self.truncated or self.unclear or self.databases or self.columns)


def pair_files(evidence: FileEvidence, gone: set[RelFile]) -> tuple[tuple[RelFile, RelFile], ...]:
    """Old and new files of the same relation, as far as the order tells.

    A commit record lists files in the reverse order of their removal, dropped relations in that order. A rewrite drops its transient
    relations, which hold the old files, last. TRUNCATE and REINDEX remove one file as they make one.
    """
    transient, fresh = set(_transient(evidence)), _fresh(evidence)
    passing = set(evidence.created) & set(evidence.removed)
    removed = [file for file in reversed(evidence.removed) if file not in passing]
    by_oid = {(file.database, file.number): file for file in evidence.created}
    pairs: list[tuple[RelFile, RelFile]] = []
    for oid in reversed(evidence.dropped_oids):
        if not removed or by_oid.get(oid) not in transient:
            break
        pairs.append((removed.pop(), by_oid[oid]))
    removed = [file for file in removed if file not in gone]
    made = [file for file in evidence.created if file not in transient and file not in fresh and file not in passing]
    if len(removed) == len(made):
        pairs += zip(removed, made, strict=True)
    return tuple(pairs)


def _transient(evidence: FileEvidence) -> list[RelFile]:
    """Relations made and dropped in the same transaction, in the order of their removal."""
    made = {(file.database, file.number): file for file in evidence.created}
    return [made[oid] for oid in evidence.dropped_oids if oid in made]


def _fresh(evidence: FileEvidence) -> set[RelFile]:
    """Files of relations that the transaction created: it locked them under the file's own number."""
    return {file for file in evidence.created if (file.database, file.number) in evidence.locked}


def classify(one: Transaction, names: NameBook, major: int = 17) -> FileChanges:
    """A transaction's evidence as drops, truncations, rewrites. Go by WAL's order: the names learn which file took which one's place.

    Args:
        major: before PostgreSQL 15 commits do not say which relations were dropped; names then have to.
    """
    evidence = one.files
    if evidence is None:
        return FileChanges()
    transient = _transient(evidence)
    made_oids = {(file.database, file.number) for file in transient}
    dropped_oids = [oid for oid in evidence.dropped_oids if oid not in made_oids]
    by_oid = {(file.database, oid): file for file in evidence.removed for oid in _oids(file, names, dropped_oids)}
    # A commit lists dropped relations in the order of their removal; a partitioned table has no file to be listed.
    stored = [oid for oid in dropped_oids if _has_file(oid, names)]
    if not evidence.created and len(stored) == len(evidence.removed):
        by_oid = dict(zip(stored, reversed(evidence.removed), strict=True))
        for oid, file in by_oid.items():
            names.learn(file, oid)
    gone = {by_oid[oid] for oid in dropped_oids if oid in by_oid}
    unknown_oids = [oid for oid in dropped_oids if oid not in by_oid]
    pairs = pair_files(evidence, gone)
    names.follow(pairs)
    if not pairs and len(unknown_oids) and len(evidence.removed) - len(gone) == len(unknown_oids):
        # As many files without a name as dropped relations without a file: they are each other's.
        gone = set(evidence.removed)
        if len(unknown_oids) == 1:
            names.learn(next(iter(gone - set(by_oid.values()))), unknown_oids[0])
        unknown_oids = []
    paired = {old for old, _ in pairs}
    left = [file for file in evidence.removed if file not in gone and file not in paired]
    if left and not evidence.created and major < 15:
        gone, left = gone | set(left), []
    rewrites = {old for old, new in pairs if new in transient}
    emptied = [old for old, new in pairs if new not in transient and new not in evidence.filled]
    by_record = {_file_of(oid, evidence, names) for oid in evidence.truncated_oids} - {None}
    return FileChanges(
        dropped=tuple(
            file
            for file in reversed(evidence.removed)
            # Without a name: a rewrite drops the old TOAST table and its index too; a dropped table takes its row type along, an
            # index or a sequence has none.
            if file in gone
            and _is_table(file, names)
            and (names.find(file) is not None or (not transient and _dropped_a_type(one, names)))
        ),
        truncated=tuple(
            dict.fromkeys([*(file for file in emptied if _is_table(file, names)), *filter(None, by_record)])
        ),
        rewritten=tuple(file for file in reversed(evidence.removed) if file in rewrites),
        replaced=pairs,
        unclear=tuple(file for file in left if _is_table(file, names) and _has_emptied(evidence, transient)),
        databases=tuple(evidence.databases),
        dropped_oids=tuple(unknown_oids),
        columns=tuple(changed_columns(evidence, names, rewrites)),
    )


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


def _oids(file: RelFile, names: NameBook, dropped: list[tuple[int, int]]) -> list[int]:
    """The oids that a file may be of: by name, or its own number, which a relation starts with."""
    known = names.find(file)
    if known is not None:
        return [known.oid]
    return [file.number] if (file.database, file.number) in dropped else []


def _has_file(oid: tuple[int, int], names: NameBook) -> bool:
    known = names.find_oid(*oid)
    return known is None or known.kind not in ("p", "I", "v")


def _file_of(oid: tuple[int, int], evidence: FileEvidence, names: NameBook) -> RelFile | None:
    for file in evidence.removed:
        known = names.find(file)
        if (known.oid if known else file.number) == oid[1] and oid[0] in (0, file.database):
            return file
    known = names.find_oid(*oid)
    return known.file if known else None


def _is_table(file: RelFile, names: NameBook) -> bool:
    """True for a table, and for what nobody knows to be something else."""
    known: RelationName | None = names.find(file)
    if known is None:
        return file.number >= FIRST_NORMAL
    return known.kind in TABLES and not known.is_catalog


def _dropped_a_type(one: Transaction, names: NameBook) -> bool:
    for file, rows in one.rows.items():
        known = names.find(file)
        if rows.deleted and (known.oid if known else file.number) == _PG_TYPE:
            return True
    return False


def _has_emptied(evidence: FileEvidence, transient: list[RelFile]) -> bool:
    """True when some relation got a new and empty file, so that what was removed may have been truncated."""
    fresh = _fresh(evidence)
    return any(file not in evidence.filled and file not in fresh and file not in transient for file in evidence.created)
