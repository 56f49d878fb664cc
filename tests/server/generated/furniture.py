"""What belongs to generated tables besides rows and keys: triggers, policies, views, indexes, grants, statistics, comments, rules."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from generated.tables import Table
from runbook.postgres.connect import quote

#: Roles of the cluster: without superuser, made once.
OWNER, READER = "gen_owner", "gen_reader"

FUNCTIONS = (
    "CREATE TABLE public.audit (at timestamptz DEFAULT clock_timestamp(), what text, of text)",
    "CREATE TABLE public.counter (name text PRIMARY KEY, n bigint NOT NULL)",
    "INSERT INTO public.counter VALUES ('rows', 0)",
    "GRANT ALL ON public.audit, public.counter TO PUBLIC",
    "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.touched := clock_timestamp(); RETURN NEW; END$$",
    "CREATE FUNCTION public.note_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN INSERT INTO public.audit (what, of) VALUES (TG_OP, TG_TABLE_NAME); RETURN NULL; END$$",
    "CREATE FUNCTION public.count_rows() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN UPDATE public.counter SET n = n + 1 WHERE name = 'rows'; RETURN NULL; END$$",
    "CREATE FUNCTION public.check_late() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN IF NEW IS NULL THEN RAISE EXCEPTION 'an empty row'; END IF; RETURN NULL; END$$",
    "CREATE FUNCTION public.skip_some() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN IF abs(hashtext(NEW::text)) % 7 = 0 THEN RETURN NULL; END IF; RETURN NEW; END$$",
)


def furnish(draw: Random, tables: list[Table]) -> Iterator[str]:
    """Statements that give each table some of all that, after its rows are there."""
    for number, table in enumerate(tables):
        yield from _triggers(draw, table)
        yield from _policies(draw, table)
        yield from _indexes(draw, table, number)
        yield from _said(draw, table, number)
        if draw.random() < 0.25:
            table.owner = OWNER
            yield f"GRANT CREATE, USAGE ON SCHEMA {quote(table.schema)} TO {OWNER}"
            for name in (table.sql, *table.partitions, *(heir.sql for heir in table.heirs)):
                yield f"ALTER TABLE {name} OWNER TO {OWNER}"
    yield from _views(draw, tables)
    if draw.random() < 0.3:
        members = draw.sample(tables, min(len(tables), 2))
        yield "CREATE PUBLICATION pub FOR TABLE " + ", ".join(one.sql for one in members if not one.persistence)


def _triggers(draw: Random, table: Table) -> Iterator[str]:
    if any(one.name == "touched" for one in table.columns):
        yield f"CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON {table.sql} FOR EACH ROW EXECUTE FUNCTION public.touch()"
    picked = draw.random()
    if picked < 0.15:
        yield (
            f"CREATE TRIGGER noting AFTER INSERT OR UPDATE OR DELETE ON {table.sql} "
            "FOR EACH ROW EXECUTE FUNCTION public.note_change()"
        )
    elif picked < 0.25:
        yield f"CREATE TRIGGER counting AFTER INSERT ON {table.sql} FOR EACH ROW EXECUTE FUNCTION public.count_rows()"
    elif picked < 0.32 and table.kind == "plain":
        yield (
            f"CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON {table.sql} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION public.check_late()"
        )
    elif picked < 0.36 and table.kind == "plain":
        yield f"CREATE TRIGGER skipping BEFORE INSERT ON {table.sql} FOR EACH ROW EXECUTE FUNCTION public.skip_some()"
    elif picked < 0.40:
        yield f"CREATE TRIGGER off AFTER INSERT ON {table.sql} FOR EACH ROW EXECUTE FUNCTION public.note_change()"
        yield f"ALTER TABLE {table.sql} {draw.choice(('DISABLE', 'ENABLE ALWAYS', 'ENABLE REPLICA'))} TRIGGER off"


def _policies(draw: Random, table: Table) -> Iterator[str]:
    if draw.random() < 0.15:
        yield f"ALTER TABLE {table.sql} ENABLE ROW LEVEL SECURITY"
        if draw.random() < 0.5:
            yield f"ALTER TABLE {table.sql} FORCE ROW LEVEL SECURITY"
        yield f"CREATE POLICY seen ON {table.sql} FOR SELECT TO {READER} USING (true)"
        if draw.random() < 0.5:
            yield f"CREATE POLICY all_of_it ON {table.sql} USING (true) WITH CHECK (true)"


def _indexes(draw: Random, table: Table, number: int) -> Iterator[str]:
    plain = [one for one in table.columns if one.type in ("text", "int", "date", "varchar(40)") and one.is_given]
    if plain and draw.random() < 0.4:
        one = draw.choice(plain)
        what = f"lower({quote(one.name)}::text)" if draw.random() < 0.3 and one.type == "text" else quote(one.name)
        if "repeat" not in one.value:
            yield f"CREATE INDEX {quote(f'Index {number}')} ON {table.sql} ({what}){draw.choice(('', ' WHERE true'))}"
    if plain and draw.random() < 0.2 and table.kind == "plain":
        yield f"CREATE STATISTICS public.stat_{number} ON {', '.join(quote(one.name) for one in table.columns[:3])} FROM {table.sql}"
    if table.key and table.kind == "plain" and draw.random() < 0.1:
        yield f"ALTER TABLE {table.sql} REPLICA IDENTITY FULL"
    if draw.random() < 0.15:
        yield f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(f'check {number}')} CHECK (true) {draw.choice(('', 'NOT VALID'))}"


def _said(draw: Random, table: Table, number: int) -> Iterator[str]:
    if draw.random() < 0.3:
        yield f"GRANT SELECT, INSERT ON {table.sql} TO {READER}"
    if draw.random() < 0.2:
        yield f"GRANT UPDATE ({quote(table.columns[-1].name)}) ON {table.sql} TO {READER}"
    if draw.random() < 0.3:
        yield f"COMMENT ON TABLE {table.sql} IS 'table number {number}'"
        yield f"COMMENT ON COLUMN {table.sql}.{quote(table.columns[0].name)} IS 'first'"
    if table.kind == "plain" and draw.random() < 0.1:
        yield f"ALTER TABLE {table.sql} SET (fillfactor = 70, autovacuum_enabled = off)"
    if draw.random() < 0.05:
        yield f"CREATE RULE noted AS ON DELETE TO {table.sql} DO ALSO INSERT INTO public.audit (what) VALUES ('rule')"
    if draw.random() < 0.15:
        yield f"CREATE SEQUENCE public.free_{number} START 1000"
        yield f"ALTER TABLE {table.sql} ADD COLUMN ticket bigint DEFAULT nextval('public.free_{number}')"


def _views(draw: Random, tables: list[Table]) -> Iterator[str]:
    for number, table in enumerate(tables):
        if draw.random() < 0.2:
            yield f"CREATE VIEW public.view_{number} AS SELECT * FROM {table.sql}"
            if draw.random() < 0.5:
                yield f"GRANT SELECT ON public.view_{number} TO {READER}"
            if draw.random() < 0.3:
                yield f"CREATE VIEW public.above_{number} AS SELECT count(*) AS n FROM public.view_{number}"
        if draw.random() < 0.15 and not table.persistence:
            yield f"CREATE MATERIALIZED VIEW public.mat_{number} AS SELECT count(*) AS n, 1 AS one FROM {table.sql}"
            yield f"CREATE UNIQUE INDEX ON public.mat_{number} (one)"
