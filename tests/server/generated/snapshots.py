"""What a database holds at a moment: rows of each table, its objects by catalog, sequences. Written apart from the product's own readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

Key = tuple[str, ...]
Row = tuple[str | None, ...]

_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

#: Rights as they hold: none noted and the owner's own noted are the same.
_RIGHTS = "(SELECT string_agg(acl::text, ',' ORDER BY acl::text) FROM unnest(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))) AS acl)"
#: (kind, identity, definition) of all that pg_dump would write, by catalog.
_OBJECTS = f"""
WITH rel AS (SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS title FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_SYSTEM})
SELECT 'schema', quote_ident(nspname), concat_ws(' ', nspowner::regrole, (SELECT string_agg(acl::text, ',' ORDER BY acl::text) FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS acl), obj_description(n.oid, 'pg_namespace')) FROM pg_namespace n WHERE {_SYSTEM}
UNION ALL SELECT 'relation', title, concat_ws(' ', relkind, relpersistence, relowner::regrole, {_RIGHTS}, reloptions::text, relrowsecurity, relforcerowsecurity,
    relreplident, obj_description(oid, 'pg_class'), pg_get_expr(relpartbound, oid), CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END)
    FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL SELECT 'inherits', format('%s < %s', inhrelid::regclass, inhparent::regclass), '' FROM pg_inherits
UNION ALL SELECT 'column', rel.title || '.' || quote_ident(a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
    pg_get_expr(d.adbin, d.adrelid), a.attstorage, nullif(a.attcompression, ''), a.attacl::text, col_description(rel.oid, a.attnum), a.attislocal)
    FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid LEFT JOIN pg_attrdef d ON d.adrelid = rel.oid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND rel.relkind IN ('r', 'p', 'v', 'm')
UNION ALL SELECT 'constraint', rel.title || '.' || quote_ident(conname), concat_ws(' ', pg_get_constraintdef(k.oid), convalidated, condeferrable, condeferred, obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k JOIN rel ON rel.oid = k.conrelid
UNION ALL SELECT 'index', i.indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(i.indexrelid), indisvalid, indisclustered, indisreplident) FROM pg_index i JOIN rel ON rel.oid = i.indrelid
UNION ALL SELECT 'trigger', rel.title || '.' || quote_ident(tgname), concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid WHERE NOT tgisinternal
UNION ALL SELECT 'policy', rel.title || '.' || quote_ident(polname), concat_ws(' ', polcmd, polpermissive, polroles::regrole[]::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
UNION ALL SELECT 'rule', rel.title || '.' || quote_ident(rulename), pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN rel ON rel.oid = r.ev_class
UNION ALL SELECT 'statistics', format('%I.%I', n.nspname, stxname), pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
UNION ALL SELECT 'publication', format('%I %s', pubname, prrelid::regclass), '' FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL SELECT 'sequence', rel.title, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcycle,
    (SELECT string_agg(d.deptype::text || format('%s.%s', d.refobjid::regclass, a.attname), ',') FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.objid = rel.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
    FROM pg_sequence s JOIN rel ON rel.oid = s.seqrelid
UNION ALL SELECT 'type', format('%I.%I', n.nspname, t.typname), concat_ws(' ', t.typtype, t.typowner::regrole,
    (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
    (SELECT string_agg(pg_get_constraintdef(k.oid), ',') FROM pg_constraint k WHERE k.contypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {_SYSTEM} AND t.typtype IN ('e', 'd', 'r')
UNION ALL SELECT 'function', p.oid::regprocedure::text, md5(prosrc) || concat_ws(' ', proowner::regrole, proacl::text, provolatile) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE {_SYSTEM} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""

_TABLES = f"""
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS title, c.relkind::text, c.relpersistence::text,
    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(num, place) JOIN pg_attribute a ON a.attnum = k.num
     WHERE a.attrelid = c.oid AND i.indrelid = c.oid AND i.indisprimary) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_SYSTEM} AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND (c.relkind <> 'm' OR c.relispopulated) ORDER BY 2
"""

_SEQUENCES = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS title FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_SYSTEM} AND c.relkind = 'S'
"""


@dataclass(frozen=True)
class Contents:
    """The rows of one table. `key` names the primary key's columns; a row is text by column."""

    title: str
    kind: str
    persistence: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: tuple[Row, ...]

    def by_key(self) -> dict[Key, dict[str, str | None]]:
        """Rows by their key's values."""
        places = [self.columns.index(name) for name in self.key]
        return {
            tuple(str(row[place]) for place in places): dict(zip(self.columns, row, strict=True)) for row in self.rows
        }

    def counted(self, columns: tuple[str, ...]) -> Counter[Row]:
        """How often each row is there, of these columns alone."""
        places = [self.columns.index(name) if name in self.columns else None for name in columns]
        return Counter(tuple(None if place is None else row[place] for place in places) for row in self.rows)


@dataclass(frozen=True)
class Snapshot:
    """A database at a moment."""

    tables: dict[str, Contents]
    objects: dict[tuple[str, str], str] = field(default_factory=dict)
    #: The last number that each sequence has given; 0 or less: none yet.
    sequences: dict[str, int] = field(default_factory=dict)


def take_snapshot(connect: Callable[[], psycopg.Connection[Any]], *, unlogged: bool = True) -> Snapshot:
    """All of a database.

    Args:
        unlogged: False where unlogged tables cannot be read: in recovery.
    """
    with connect() as connection:
        connection.execute(
            "SET search_path = pg_catalog; SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET bytea_output = hex"
        )
        tables = {}
        for _, title, kind, persistence, columns, key in connection.execute(_TABLES).fetchall():
            if persistence == "u" and not unlogged:
                continue
            rows = _read(connection, title, kind, columns or [])
            tables[title] = Contents(title, kind, persistence, tuple(columns or ()), tuple(key or ()), rows)
        objects = {(kind, name): said or "" for kind, name, said in connection.execute(_OBJECTS).fetchall()}
        sequences = {}
        for (title,) in connection.execute(_SEQUENCES).fetchall():
            last, is_called = connection.execute(f"SELECT last_value, is_called FROM {title}").fetchone() or (0, False)
            sequences[title] = last if is_called else last - 1
        return Snapshot(tables, objects, sequences)


def _read(connection: psycopg.Connection[Any], title: str, kind: str, columns: list[str]) -> tuple[Row, ...]:
    if not columns:
        return ()
    listed = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"::text' for name in columns)
    only = "ONLY " if kind == "r" else ""
    return tuple(connection.execute(f"SELECT {listed} FROM {only}{title}").fetchall())
