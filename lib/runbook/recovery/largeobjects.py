"""Large objects that the damage removed, made again in production under their OIDs, as their owners.

Nothing of a lesser role runs by that: large objects have no triggers and no constraints, and their functions are PostgreSQL's own. An OID
that has been taken meanwhile is a conflict. Content that the damage changed without removing the object is listed and left as it is.
Source: PostgreSQL 17, "Large Objects", pg_largeobject_metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres.connect import Connection, SqlError, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.account import Counted
from runbook.recovery.copybackplan import LISTED, OLDER, PRESENT, UNKNOWN, Conflict, TableCopy
from runbook.recovery.deletions import RowFates
from runbook.recovery.eventtriggers import firing
from runbook.recovery.loss import TableLoss
from runbook.recovery.rowstreams import batches
from runbook.recovery.transactions import LARGE_OBJECTS
from runbook.texts import many

TITLE = "large objects"
TAKEN = "a large object with this OID is there again, with another content or owner"
NO_OWNER = "its owner is not there any more: make the role, or copy the object back as another one"
CHANGED = "the damage changed its content, and it is still there: it is left as it is"
_NOT_FOLLOWED = "which of them the damage removed or changed was not followed through WAL"
_CHUNK = 4 << 20


@dataclass(frozen=True)
class _Object:
    oid: int
    owner: str
    acl: str | None
    comment: str | None


@dataclass
class LargeObjects:
    """Those of one database.

    Args:
        tables: what the loss says of pg_largeobject_metadata and pg_largeobject, of this database.
        open_production: a superuser's session that may write. open_restored: one of the restored copy.
        fates: what became of each row that was there at the target; None: not followed.
    """

    database: str
    tables: list[TableLoss]
    fates: RowFates | None
    open_production: Callable[[str], Connection]
    open_restored: Callable[[str], Connection]
    progress: Callable[[str, int, int], None]
    _lost: list[_Object] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the transaction that makes them again."""
        return f"{self.database} ({TITLE})"

    def plan(self) -> TableCopy:
        """What would be made again now; production is only read.

        Raises:
            PlatformError: a server cannot be reached.
        """
        try:
            with self.open_restored(self.database) as then, self.open_production(self.database) as now:
                return self._look(then, now)
        except SqlError as problem:
            raise PlatformError(
                f"The large objects of {self.database} cannot be read: {str(problem).strip()}"
            ) from problem

    def _look(self, then: Connection, now: Connection) -> TableCopy:
        report = TableCopy(self.database, TITLE, self._table())
        if firing(now):
            report.warn("without their grants and comments: an event trigger of this database would run as superuser")
        self._lost = []
        query = load_sql("recovery/list_large_objects").text
        there = {row["oid"]: row for row in rows(now, query)}
        roles = {row["name"] for row in rows(now, "SELECT r.rolname AS name FROM pg_catalog.pg_roles AS r")}
        removed = set()
        for row in rows(then, query):
            fate = self._fate(row, there)
            if fate is None:
                continue
            removed.add(row["oid"])
            wanted = _Object(row["oid"], row["owner"], row["acl"], row["comment"])
            reason = fate or self._against(wanted, there.get(row["oid"]), roles, then, now)
            if reason is None:
                self._lost.append(wanted)
                report.insert += 1
            elif reason == PRESENT:
                report.present += 1
            else:
                _note(report, row["oid"], reason)
        for oid in self._changed(then) - removed:
            if oid in there and not _is_same(then, now, oid):
                _note(report, oid, CHANGED)
        missing = report.loss.damage.deleted - len(removed)
        if missing > 0:
            report.warn(
                f"{many(missing, 'large object')} that the damage removed: not in the restored copy, since made after the recovery target"
            )
        return report

    def count(self) -> Counted:
        """Return both counts of the large objects, as they are now: from WAL, and by comparing both sides.

        Raises:
            PlatformError: a server cannot be reached.
        """
        try:
            with self.open_restored(self.database) as then, self.open_production(self.database) as now:
                return self._count(then, now)
        except SqlError as problem:
            raise PlatformError(
                f"The large objects of {self.database} cannot be read: {str(problem).strip()}"
            ) from problem

    def _count(self, then: Connection, now: Connection) -> Counted:
        if self.fates is None:
            return Counted(self.database, TITLE, problem=_NOT_FOLLOWED)
        query = load_sql("recovery/list_large_objects").text
        past, there = rows(then, query), {row["oid"] for row in rows(now, query)}
        deleted = self._table().damage.deleted
        missing = {row["oid"] for row in past} - there
        removed, others, name = set(), set(), self._table().name
        for row in past:
            fate = self.fates.of((name.database, row["number"]), row["place"]) if name is not None else None
            if fate in ("damage", "older"):
                removed.add(row["oid"])
            elif fate is not None:
                others.add(row["oid"])
        touched = removed | (self._changed(then) - others)
        same = {oid for oid in touched & there if _is_same(then, now, oid)}
        return Counted(
            self.database,
            TITLE,
            wal=len(touched),
            later=max(0, deleted - len(removed)),
            as_before=len(same),
            left=len(touched - same),
            unexplained=len(missing - touched - others),
        )

    def _table(self) -> TableLoss:
        return next((one for one in self.tables if one.name and one.name.oid == LARGE_OBJECTS), self.tables[0])

    def _fate(self, row: dict[str, Any], there: Collection[int]) -> str | None:
        """None: the damage did not remove it; else what speaks against it, or nothing."""
        table = self._table()
        if self.fates is not None and table.name is not None:
            fate = self.fates.of((table.name.database, row["number"]), row["place"])
            return "" if fate == "damage" else OLDER if fate == "older" else None
        if row["oid"] in there or not table.damage.deleted:
            return None
        return UNKNOWN if table.others.deleted else ""

    def _against(
        self, wanted: _Object, there: dict[str, Any] | None, roles: Collection[str], then: Connection, now: Connection
    ) -> str | None:
        if there is not None:
            is_itself = there["owner"] == wanted.owner and _is_same(then, now, wanted.oid)
            return PRESENT if is_itself else TAKEN
        return None if wanted.owner in roles else NO_OWNER

    def _changed(self, then: Connection) -> set[int]:
        """Objects of which the damage changed or cut off content."""
        pages = next((one.name for one in self.tables if one.name and one.name.oid != LARGE_OBJECTS), None)
        if pages is None or pages.file is None or self.fates is None:
            return set()
        file, found = load_sql("recovery/list_large_objects_of_pages"), set()
        touched = (place for place, fate in self.fates.touched((pages.database, pages.file.number)) if fate != "other")
        for places in batches(touched):
            found |= {row["oid"] for row in rows(then, file.text, file.values({"places": list(places)}))}
        return found

    def make_again(self, note_xid: Callable[[str, int], None]) -> int | None:
        """They are in production, all or none, as `plan` found them; the transaction's number, None when there was nothing to do.

        Raises:
            PlatformError: they were rolled back, or (after `note_xid`) nobody knows.
        """
        if not self._lost:
            return None
        made = 0
        try:
            with self.open_restored(self.database) as then, self.open_production(self.database) as now:
                now.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                may_grant = not firing(now)
                for made, wanted in enumerate(self._lost, 1):
                    self._make(wanted, then, now, may_grant)
                    self.progress(TITLE, made, len(self._lost))
                xid = int(one(now, "SELECT pg_catalog.pg_current_xact_id()::text AS xid")["xid"])
                note_xid(self.name, xid)
                now.execute("COMMIT")
                return xid
        except SqlError as problem:
            raise PlatformError(
                f"The large objects of {self.database} were not made again, at number {made} of {len(self._lost)}: {str(problem).strip()}",
                next="Remove what it says, then resume: what became of the transaction is looked up first.",
            ) from problem

    def _make(self, wanted: _Object, then: Connection, now: Connection, may_grant: bool) -> None:
        now.execute(now.encoded(f"SET LOCAL ROLE {quote(wanted.owner)}"))
        rows(now, "SELECT pg_catalog.lo_create($1::bigint::oid) AS oid", [wanted.oid])
        at = 0
        for part in _parts(then, wanted.oid):
            rows(
                now, "SELECT pg_catalog.lo_put($1::bigint::oid, $2::bigint, $3::bytea) AS done", [wanted.oid, at, part]
            )
            at += len(part)
        if may_grant and wanted.acl is not None:
            now.execute(now.encoded(f"REVOKE ALL ON LARGE OBJECT {wanted.oid} FROM {quote(wanted.owner)}"))
            file = load_sql("recovery/list_large_object_grants")
            for grant in rows(then, file.text, file.values({"oid": wanted.oid})):
                to = "PUBLIC" if grant["grantee"] is None else quote(grant["grantee"])
                option = " WITH GRANT OPTION" if grant["with_grant"] and grant["grantee"] != wanted.owner else ""
                now.execute(now.encoded(f"GRANT {grant['privilege']} ON LARGE OBJECT {wanted.oid} TO {to}{option}"))
        now.execute("SET LOCAL ROLE NONE")
        if may_grant and wanted.comment is not None:
            text = one(now, "SELECT pg_catalog.quote_literal($1::text) AS text", [wanted.comment])["text"]
            now.execute(now.encoded(f"COMMENT ON LARGE OBJECT {wanted.oid} IS {text}"))
        if not _is_same(then, now, wanted.oid):
            raise PlatformError(
                f"Large object {wanted.oid} does not have its content after it was made again.",
                next="See the disk and the server's log.",
            )


def _note(report: TableCopy, oid: int, reason: str) -> None:
    report.reasons[reason] = report.reasons.get(reason, 0) + 1
    if len(report.conflicts) < LISTED:
        report.conflicts.append(Conflict(report.table, {"oid": str(oid)}, "", reason))


def _parts(connection: Connection, oid: int) -> Iterator[bytes]:
    """An object's content from its beginning."""
    at = 0
    while True:
        query = "SELECT pg_catalog.lo_get($1::bigint::oid, $2::bigint, $3::int) AS part"
        part = bytes(one(connection, query, [oid, at, _CHUNK])["part"])
        if part:
            yield part
        at += len(part)
        if len(part) < _CHUNK:
            return


def _is_same(then: Connection, now: Connection, oid: int) -> bool:
    return all(one_ == other for one_, other in zip_longest(_parts(then, oid), _parts(now, oid)))
