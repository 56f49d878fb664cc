"""The catalogs of a database as exact figures: rows and a hash for each catalog, and a hash for each object that somebody has made.

A table's rows may all be there while a policy, a grant or a constraint is gone: nothing but the catalogs themselves shows that. Their rows
are hashed as they are stored, under the fence's snapshot, and again in the copy at the fence's position. Which columns are left out, and
why, is said in sql/fence/list_catalogs.sql. A physical copy has the same OIDs, so that they stand for names; nothing is looked up.

Source: tried on PostgreSQL 15, 17 and 18.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from runbook.postgres import causes
from runbook.postgres.connect import Connection, SqlError, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.texts import visible_line

#: What is not in the hashes, for whoever reads the check.
LEFT_OUT = "without secrets, statistics and what is updated in place"
#: Why a catalog was not read, where the role is the reason; anything else is an error.
NOT_ALLOWED = "the role that took the fence may not read it"
#: OIDs from here on are of what somebody has made; those below are initdb's.
_FIRST_OWN = 16384


@dataclass(frozen=True)
class CatalogHash:
    """One catalog. `how`: by which expressions its rows were hashed; two hashes of other ones say nothing about each other."""

    rows: int
    hash: str
    how: str


@dataclass(frozen=True)
class Catalogs:
    """The catalogs of one database, by name; `with_shared`: those of the whole server, too.

    `objects`: by OID the name of what somebody has made, and a hash over its rows in all catalogs. `unread`: by name why a catalog was
    not read.
    """

    with_shared: bool
    tables: dict[str, CatalogHash] = field(default_factory=dict)
    objects: dict[str, tuple[str, str]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """For the fence's file; `from_facts` reads it back."""
        return {
            "with_shared": self.with_shared,
            "tables": {name: [one.rows, one.hash, one.how] for name, one in self.tables.items()},
            "objects": {oid: list(one) for oid, one in self.objects.items()},
            "unread": self.unread,
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Catalogs:
        """As they were written down."""
        return cls(
            bool(facts["with_shared"]),
            {name: CatalogHash(int(one[0]), str(one[1]), str(one[2])) for name, one in facts["tables"].items()},
            {oid: (str(one[0]), str(one[1])) for oid, one in facts["objects"].items()},
            {name: str(why) for name, why in facts["unread"].items()},
        )


def read_catalogs(connection: Connection, *, with_shared: bool) -> Catalogs:
    """Return the catalogs of the connection's database as the session's snapshot sees them.

    Args:
        connection: reads heaps only (`content.prepare`).

    Raises:
        SqlError: nothing says which catalogs there are, or the connection was lost.
    """
    found = Catalogs(with_shared)
    hashes: Counter[int] = Counter()
    names: dict[int, str] = {}
    for catalog in rows(connection, load_sql("fence/list_catalogs").text, [with_shared]):
        name = catalog["name"]
        if not catalog["may_read"]:
            found.unread[name] = NOT_ALLOWED
            continue
        query = _query(catalog)
        try:
            with connection.transaction():  # a savepoint inside a fence's snapshot: one failure must not end it
                groups = rows(connection, query)
        except SqlError as problem:
            if connection.closed:
                raise
            found.unread[name] = causes.words_of(problem)
            continue
        found.tables[name] = CatalogHash(
            sum(group["rows"] for group in groups),
            str(sum(int(group["hash"]) for group in groups)),
            hashlib.sha256(query.encode()).hexdigest()[:12],
        )
        for group in groups:
            hashes[group["key"]] += int(group["hash"])
            if group["name"] is not None:
                names.setdefault(group["key"], visible_line(bytes(group["name"]).decode("utf-8", "surrogateescape")))
    found.objects.update({str(key): (title, str(hashes[key])) for key, title in names.items()})
    return found


def _query(catalog: dict[str, Any]) -> str:
    """Rows and hash of one catalog by the object that a row belongs to; 0 stands for all that is initdb's or nobody's."""
    keys = [f"nullif({key}::pg_catalog.oid, 0)" for key in catalog["keys"]]
    key = f"coalesce({', '.join([*keys, '0'])})::bigint"
    named = ", ".join(filter(None, ["n.nspname" if catalog["title_schema"] else "", catalog["title"]]))
    # As bytes: a name may be in another encoding than this database's, which only printing it would look at.
    text = rf"pg_catalog.replace(pg_catalog.concat_ws('.', {named}), '\', '\\')::pg_catalog.bytea"
    name = (
        f"CASE WHEN r.oid >= {_FIRST_OWN} AND {key} = r.oid::bigint THEN {text} END"
        if named
        else "NULL::pg_catalog.bytea"
    )
    schema = (
        f"LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = {catalog['title_schema']}"
        if catalog["title_schema"]
        else ""
    )
    return (
        f"SELECT CASE WHEN k.key >= {_FIRST_OWN} THEN k.key ELSE 0 END AS key, count(*) AS rows, sum(k.hash)::text AS hash, "
        f"(array_agg(k.name) FILTER (WHERE k.name IS NOT NULL))[1] AS name FROM (SELECT {key} AS key, {name} AS name, "
        f"""pg_catalog.hashtextextended(pg_catalog.format('%s', ROW({", ".join(catalog["printed"])})) COLLATE "C", 0) AS hash """
        f"FROM ONLY pg_catalog.{quote(catalog['name'])} AS r {schema}) AS k GROUP BY 1"
    )
