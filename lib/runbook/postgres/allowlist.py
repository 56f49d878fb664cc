"""What the statement of a check file may use, asked of the server's catalogs before the statement is sent.

The grammar says which names a statement holds, and no more: which overload, cast or operator they come to mean depends on types that
only the server knows. So nothing is guessed: every candidate that a name can mean must be allowed. Of pg_catalog these are the
immutable and stable functions that initdb made, and a few others by name; of other schemas what the header names. Whatever is not
on the list makes the check UNKNOWN, by name.

Source: PostgreSQL 17, "Functions" (10.3), "Value Storage" (10.4), "Function Volatility Categories", CREATE CAST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from runbook.postgres import closure
from runbook.postgres.connect import Connection, rows
from runbook.postgres.parse import Name, Statement
from runbook.postgres.sqlfiles import load_sql

#: Volatile functions of pg_catalog that change nothing, wait for nothing and reach no file of anybody's choice.
VOLATILE = (
    "clock_timestamp",
    "pg_blocking_pids",
    "pg_collation_actual_version",
    "pg_control_system",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_ls_archive_statusdir",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_sequence_last_value",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "pg_xact_commit_timestamp",
    "random",
)
_FIRST_OWN_OID = 16384
_TABLES = ("r", "p", "m", "S")
_KINDS = {
    "v": "a view",
    "f": "a foreign table",
    "c": "a composite type",
    "i": "an index",
    "I": "an index",
    "t": "a TOAST table",
}


class Runner(StrEnum):
    """Who runs the statement where.

    `READER`: a role without superuser in a copy that reaches nothing. `PRODUCTION`: whatever role in a living server, which must not
    plan what a lesser role has shaped. `SUPERUSER`: a copy without a reader; what is not pg_catalog's own is not called.
    """

    READER = "reader"
    PRODUCTION = "production"
    SUPERUSER = "superuser"


@dataclass
class Judge:
    """Judges the statements of one check file before they are sent.

    Args:
        connection: of the role and to the database that they are for, with our search_path (pg_catalog, pg_temp).
        uses: what the header names of functions, operators and types outside pg_catalog.
        extensions: those that the header needs; their objects may be used when a superuser owns them.
    """

    connection: Connection
    runner: Runner
    uses: Sequence[str] = ()
    extensions: Sequence[str] = ()

    def refusal(self, statement: Statement) -> str | None:
        """Return why the statement is not sent, or None when it may be.

        Raises:
            SqlError: the catalogs cannot be read, or the header's names are no names.
        """
        return self._not_allowed(statement) or self._not_named(statement) or self._not_readable(statement)

    def _ask(self, name: str, *values: Any) -> list[dict[str, Any]]:
        return rows(self.connection, load_sql(f"trust/{name}").text, values)

    @cached_property
    def _named(self) -> dict[str, set[int]]:
        """The oids of what the header names, by their kind."""
        found: dict[str, set[int]] = {"function": set(), "operator": set(), "type": set()}
        for row in self._ask("find_used", list(self.uses)) if self.uses else ():
            for kind, oids in found.items():
                oids.update(filter(None, [row[kind]]))
        return found

    @cached_property
    def _untrusted(self) -> dict[int, str]:
        return closure.untrusted(self.connection)

    def _not_allowed(self, statement: Statement) -> str | None:
        functions = [name[-1] for name in statement.functions if _is_own(name)]
        operators = [name[-1] for name in statement.operators if _is_own(name)]
        found = self._ask(
            "list_refused", functions, sorted(statement.fields), operators, list(VOLATILE), list(self.extensions)
        )
        return f"{found[0]['what']}: {found[0]['why']}" if found else None

    def _not_named(self, statement: Statement) -> str | None:
        for name in statement.others:
            if not _is_own(name) and (self.runner is Runner.SUPERUSER or ".".join(name) not in self.uses):
                return self._unnamed("sampling method or collation", ".".join(name))
        kinds = {"function": statement.functions, "operator": statement.operators, "type": statement.types}
        foreign = {(kind, *name[-2:]) for kind, names in kinds.items() for name in names if not _is_own(name)}
        if not foreign:
            return None
        places = sorted({(schema, name) for _, schema, name in foreign})
        missing = set(foreign)
        for row in self._ask("find_named", [schema for schema, _ in places], [name for _, name in places]):
            key = (row["class"], row["schema"], row["name"])
            why = self._unusable(row) if key in foreign else None
            if why is not None:
                return why
            missing.discard(key)
        return next((f"there is no {kind} {schema}.{name}" for kind, schema, name in sorted(missing)), None)

    def _unusable(self, row: Mapping[str, Any]) -> str | None:
        if self.runner is Runner.SUPERUSER:
            return self._unnamed(row["class"], row["signature"])
        if row["is_superusers"] and row["extension"] in self.extensions:
            return None
        if row["oid"] not in self._named[row["class"]]:
            return self._unnamed(row["class"], row["signature"])
        if self.runner is Runner.PRODUCTION and not row["is_superusers"]:
            return f"{row['class']} {row['signature']} is owned by a role without superuser: nothing of such a role is called in production"
        return None

    def _unnamed(self, kind: str, signature: str) -> str:
        if self.runner is Runner.SUPERUSER:
            return (
                f"{kind} {signature} is not pg_catalog's, and this copy has no reader: only a superuser could call it"
            )
        return f"{kind} {signature} is not pg_catalog's, and the header does not name it (-- uses: {signature})"

    def _not_readable(self, statement: Statement) -> str | None:
        """Why its relations are not read, or what they bring along that nobody has named."""
        relations: list[int] = []
        has_views = False
        places = sorted({name[-2:] for name in statement.relations if len(name) > 1})
        missing = dict.fromkeys(places)
        for row in self._ask("find_relations", [place[0] for place in places], [place[1] for place in places]):
            title = f"{row['schema']}.{row['name']}"
            missing.pop((row["schema"], row["name"]))
            if row["oid"] < _FIRST_OWN_OID:
                continue
            if self.runner is not Runner.SUPERUSER and row["extension"] in self.extensions:
                has_views = True
                continue
            if row["is_temporary"] or row["kind"] not in _TABLES:
                what = "a temporary relation" if row["is_temporary"] else _KINDS.get(row["kind"], "no table")
                return f"{title} is {what}; a check reads tables"
            relations.append(row["oid"])
        if missing:  # the server may read a name otherwise, by its encoding's rules; what was not judged is not read
            return f"there is no relation {'.'.join(next(iter(missing)))}"
        if relations and not has_views:
            self._ask("forbid_views")  # a table may become a view before it is read
        columns = None if statement.takes_rows else sorted(statement.columns)
        return (self._unplannable(relations) if relations else None) or self._cast(relations, columns)

    def _unplannable(self, relations: Sequence[int]) -> str | None:
        for row in self._ask("list_descendants", list(relations)):
            if row["kind"] == "f":
                return f"{row['name']} is a foreign table, and would be read from where it is"
            if self.runner is not Runner.READER and row["oid"] in self._untrusted:
                return f"{row['name']} is not planned with these rights, since it reaches {self._untrusted[row['oid']]}"
        return None

    def _cast(self, relations: Sequence[int], columns: list[str] | None) -> str | None:
        """A cast that the statement may call: of a type that it names, or that a column has which it may read (None: any)."""
        if not relations and not self._named["type"]:
            return None
        is_strict = self.runner is Runner.SUPERUSER
        allowed = set() if is_strict else self._named["function"]
        found = self._ask(
            "list_casts", list(relations), sorted(self._named["type"]), sorted(allowed), is_strict, columns
        )
        if not found:
            return None
        return f"{found[0]['cast_name']} calls {found[0]['function']}, which the header does not name (-- uses: {found[0]['function']})"


def _is_own(name: Name) -> bool:
    """True of a name that only pg_catalog answers."""
    return len(name) == 1 or name[-2] == "pg_catalog"
