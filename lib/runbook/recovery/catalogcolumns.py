"""How the rows of each catalog are read to be compared: as they are stored, and told by names instead of numbers.

Names are looked up in the current catalogs, not in a snapshot: a paused copy does not change, and of production a difference more is named.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from runbook.postgres.connect import Connection, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.deletions import FileKey
from runbook.recovery.tableshape import text_of

_NO_DEFINITIONS = frozenset(
    ["pg_statistic", "pg_statistic_ext_data", "pg_largeobject", "pg_largeobject_metadata", "pg_subscription_rel", "pg_shdepend",
     "pg_init_privs", "pg_replication_origin", "pg_foreign_data_wrapper_options"]
)  # fmt: skip
#: Columns that follow from others, differ in what is made again just as it was, or are secrets.
_LEFT_OUT = {
    "pg_class": "relfilenode relpages reltuples relallvisible relallfrozen reltoastrelid relrewrite relnatts relchecks relfrozenxid relminmxid "
    "relhasindex relhasrules relhastriggers relhassubclass relispartition relpartbound reltype",
    "pg_attribute": "attnum atthasdef atthasmissing attmissingval attcacheoff attinhcount attislocal attlen attbyval attalign attndims atttypmod",
    "pg_index": "indcheckxmin indislive indisready",
    "pg_constraint": "conislocal coninhcount connoinherit",
    "pg_rewrite": "ev_qual",
    "pg_trigger": "tgconstrrelid tgdeferrable tginitdeferred",
    "pg_enum": "enumsortorder",
    "pg_authid": "rolpassword",
    "pg_auth_members": "oid",
    "pg_user_mapping": "umoptions",
    "pg_subscription": "subconninfo",
    "pg_database": "datfrozenxid datminmxid datcollversion datconnlimit dathasloginevt",
    "pg_collation": "collversion",
}
#: Node trees are compared as SQL text, which holds no OIDs.
_TREES = {
    ("pg_attrdef", "adbin"): "pg_catalog.pg_get_expr(r.adbin, r.adrelid)",
    ("pg_constraint", "conbin"): "pg_catalog.pg_get_constraintdef(r.oid)",
    ("pg_policy", "polqual"): "pg_catalog.pg_get_expr(r.polqual, r.polrelid)",
    ("pg_policy", "polwithcheck"): "pg_catalog.pg_get_expr(r.polwithcheck, r.polrelid)",
    ("pg_index", "indexprs"): "pg_catalog.pg_get_expr(r.indexprs, r.indrelid)",
    ("pg_index", "indpred"): "pg_catalog.pg_get_expr(r.indpred, r.indrelid)",
    ("pg_trigger", "tgqual"): "CASE WHEN NOT r.tgisinternal THEN pg_catalog.pg_get_triggerdef(r.oid) END",
    ("pg_rewrite", "ev_action"): "pg_catalog.pg_get_ruledef(r.oid)",
    ("pg_statistic_ext", "stxexprs"): "pg_catalog.pg_get_statisticsobjdef_expressions(r.oid)::text",
    ("pg_partitioned_table", "partexprs"): "pg_catalog.pg_get_partkeydef(r.partrelid)",
    ("pg_proc", "proargdefaults"): "pg_catalog.pg_get_function_arguments(r.oid)",
    ("pg_proc", "prosqlbody"): "pg_catalog.pg_get_function_sqlbody(r.oid)",
    ("pg_type", "typdefaultbin"): "pg_catalog.pg_get_expr(r.typdefaultbin, 0)",
    ("pg_publication_rel", "prqual"): "pg_catalog.pg_get_expr(r.prqual, r.prrelid)",
    ("pg_attribute", "atttypid"): "pg_catalog.format_type(r.atttypid, r.atttypmod)",
}  # fmt: skip
#: What statements need besides.
_MORE = {
    "pg_proc": {"definition": "CASE WHEN r.prokind IN ('f', 'p', 'w') THEN pg_catalog.pg_get_functiondef(r.oid) END"},
    "pg_rewrite": {
        "definition": "(SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class AS c WHERE c.oid = r.ev_class AND c.relkind = 'v' AND r.rulename = '_RETURN')"
    },
    "pg_attrdef": {"generated": "(SELECT a.attgenerated::text FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = r.adrelid AND a.attnum = r.adnum)"},
    "pg_inherits": {
        "bound": "(SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class AS c WHERE c.oid = r.inhrelid)",
        "kind": "(SELECT c.relkind::text FROM pg_catalog.pg_class AS c WHERE c.oid = r.inhrelid)",
    },
    "pg_depend": {
        "object": "(SELECT i.type || ' ' || i.identity FROM pg_catalog.pg_identify_object(r.classid, r.objid, r.objsubid) AS i)",
        "referenced": "(SELECT i.identity FROM pg_catalog.pg_identify_object(r.refclassid, r.refobjid, r.refobjsubid) AS i)",
    },
}  # fmt: skip
#: The cell with the grants that an object has when it is made: none of its own.
USUAL_GRANTS = "usual grants"
#: The kind of default grants, and the owner.
_GRANTS = {
    "pg_class": ("CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END", "relowner"),
    "pg_proc": ("'f'", "proowner"),
    "pg_namespace": ("'n'", "nspowner"),
    "pg_type": ("'T'", "typowner"),
    "pg_database": ("'d'", "datdba"),
    "pg_language": ("'l'", "lanowner"),
    "pg_foreign_server": ("'S'", "srvowner"),
    "pg_foreign_data_wrapper": ("'F'", "fdwowner"),
    "pg_tablespace": ("'t'", "spcowner"),
}
#: The object that a row without an OID is about: class and OID.
_OWNERS = {
    "pg_attribute": "attrelid", "pg_index": "indexrelid", "pg_inherits": "inhrelid", "pg_sequence": "seqrelid",
    "pg_partitioned_table": "partrelid", "pg_foreign_table": "ftrelid",
}  # fmt: skip
#: Rows that have no name of their own, and the object that they are a part of.
_OF_OTHERS = {"pg_enum": ("1247", "r.enumtypid"), "pg_range": ("1247", "r.rngtypid"), "pg_aggregate": ("1255", "r.aggfnoid::pg_catalog.oid"),
              "pg_ts_config_map": ("3602", "r.mapcfg")}  # fmt: skip
_ABOUT = {"pg_description": ("classoid", "objoid", "objsubid"), "pg_seclabel": ("classoid", "objoid", "objsubid"),
          "pg_shdescription": ("classoid", "objoid", "0"), "pg_shseclabel": ("classoid", "objoid", "0"),
          "pg_depend": ("classid", "objid", "objsubid")}  # fmt: skip
#: Tables that a statement about the object may read.
_READS = {
    "pg_constraint": "ARRAY[r.conrelid, r.confrelid]",
    "pg_class": "ARRAY[r.oid, (SELECT i.indrelid FROM pg_catalog.pg_index AS i WHERE i.indexrelid = r.oid)]",
    "pg_attribute": "ARRAY[r.attrelid]", "pg_inherits": "ARRAY[r.inhrelid, r.inhparent]", "pg_statistic_ext": "ARRAY[r.stxrelid]",
    "pg_attrdef": "ARRAY[r.adrelid]",
}  # fmt: skip
_WHERE = {
    "pg_depend": "(r.deptype IN ('e', 'x') OR (r.deptype = 'a' AND r.classid = 1259 AND r.refclassid = 1259 AND r.objsubid = 0 AND r.refobjsubid > 0 "
    "AND EXISTS (SELECT FROM pg_catalog.pg_class AS s WHERE s.oid = r.objid AND s.relkind = 'S')))",
    "pg_attribute": "(r.attnum > 0 AND NOT r.attisdropped)",
}


@dataclass
class Catalogs:
    """The catalogs of one database as the comparison reads them: columns and expressions, by catalog."""

    files: dict[str, FileKey] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_columns(connection: Connection, *, with_shared: bool) -> Catalogs:
    """Return how each catalog is read here."""
    found = Catalogs()
    database = rows(
        connection,
        "SELECT d.oid::bigint AS oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()",
    )
    file = load_sql("recovery/list_catalog_columns")
    by_catalog: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(connection, file.text, file.values({"is_shared": with_shared})):
        by_catalog[row["catalog"]].append(row)
    printed = {row["name"]: row for row in rows(connection, load_sql("fence/list_catalogs").text, [with_shared])}
    for catalog, columns in by_catalog.items():
        if catalog in _NO_DEFINITIONS or catalog not in printed:
            continue
        shared = columns[0]["is_shared"]
        found.files[catalog] = (0 if shared else database[0]["oid"], columns[0]["file"])
        if not printed[catalog]["may_read"]:
            found.unread.append(catalog)
            continue
        keys = [row["name"] for row in columns if row["is_key"]] or [row["name"] for row in columns]
        key = "pg_catalog.concat_ws('|', " + ", ".join(f"r.{quote(name)}{_cast(name, columns)}" for name in keys) + ")"
        where = _WHERE.get(catalog, "true")
        found.raw[catalog] = (
            f"SELECT {key} AS key, r.ctid::text AS place, r.xmin::text AS writer, pg_catalog.hashtextextended("
            f"""pg_catalog.format('%s', ROW({", ".join(printed[catalog]["printed"])})) COLLATE "C", 0) AS hash """
            f"FROM ONLY pg_catalog.{quote(catalog)} AS r WHERE {where}"
        )
        found.told[catalog], found.names[catalog] = _telling(catalog, columns, key, where)
    return found


def _cast(name: str, columns: list[dict[str, Any]]) -> str:
    kind = next(row["type"] for row in columns if row["name"] == name)
    return "::pg_catalog.oid" if kind.startswith("reg") else ""


def _telling(catalog: str, columns: list[dict[str, Any]], key: str, where: str) -> tuple[str, list[str]]:
    """The query for rows by their keys, told by names; and the names of its cells."""
    left_out = set(_LEFT_OUT.get(catalog, "").split())
    told = {
        row["name"]: _expression(catalog, row)
        for row in columns
        if row["name"] not in left_out and row["name"] != "oid"
    }
    told |= _MORE.get(catalog, {})
    if catalog in _GRANTS:
        told[USUAL_GRANTS] = _listed_grants('pg_catalog.acldefault(({})::"char", r.{})'.format(*_GRANTS[catalog]))
    # A label of an enum has an OID and no name of its own.
    is_object = any(row["name"] == "oid" for row in columns) and catalog != "pg_enum"
    owner = _OWNERS.get(catalog)
    number = columns[0]["oid"]
    if catalog in _ABOUT:
        about = _ABOUT[catalog]
        place = f"r.{about[0]}, r.{about[1]}, {about[2] if about[2] == '0' else f'r.{about[2]}'}"
        owner_class, owner_oid = f"r.{about[0]}", f"r.{about[1]}"
        for name in {*about[:3], "refclassid", "refobjid", "refobjsubid"}:
            told.pop(name, None)
    elif is_object:
        place, owner_class, owner_oid = f"{number}, r.oid, 0", str(number), "r.oid"
    elif owner is not None:
        sub = "r.attnum" if catalog == "pg_attribute" else "0"
        place, owner_class, owner_oid = f"1259, r.{owner}, {sub}", "1259", f"r.{owner}"
    elif catalog in _OF_OTHERS:
        place, owner_class, owner_oid = None, *_OF_OTHERS[catalog]
    else:
        place, owner_class, owner_oid = None, "0", "0"
    keys = [row for row in columns if row["is_key"] and row["name"] not in ("oid", owner)]
    more = [] if is_object or catalog in ("pg_attribute", *_ABOUT) else [_expression(catalog, row) for row in keys]
    if catalog in ("pg_description", "pg_shdescription"):
        more = []
    elif catalog in ("pg_seclabel", "pg_shseclabel"):
        more = ["r.provider"]
    elif catalog == "pg_enum":
        more = [told["enumtypid"], "r.enumlabel"]
    elif catalog == "pg_depend":
        more = [_MORE[catalog]["referenced"]]
    elif catalog == "pg_inherits":
        more = [_expression(catalog, next(row for row in columns if row["name"] == "inhparent"))]
    name = "pg_catalog.concat_ws(' / ', " + ", ".join(["i.identity", *(more or ["NULL"])]) + ")"
    identity = f"pg_catalog.pg_identify_object({place})" if place else "(SELECT '' AS type, NULL AS identity)"
    internal = "r.tgisinternal" if catalog == "pg_trigger" else "false"
    return (
        f"SELECT {key} AS key, coalesce(i.type, '') AS kind, {name} AS name, ({owner_class})::bigint AS class, ({owner_oid})::bigint AS oid, "
        f"ARRAY[{', '.join(f'({one})::text' for one in told.values())}]::text[] AS cells, "
        f"{_READS.get(catalog, 'NULL')}::bigint[] AS reads, {internal} AS internal, {str(is_object).lower()} AS is_object "
        f"FROM ONLY pg_catalog.{quote(catalog)} AS r LEFT JOIN LATERAL {identity} AS i ON true "
        f"WHERE {where} AND {key} = ANY ($1::text[])",
        list(told),
    )  # fmt: skip


def _expression(catalog: str, row: dict[str, Any]) -> str:
    """One column as text without numbers."""
    name, column = row["name"], f"r.{quote(row['name'])}"
    if (catalog, name) in _TREES:
        return _TREES[catalog, name]
    if row["type"] == "_aclitem":
        if catalog not in _GRANTS:
            return _listed_grants(column)
        kind, owner = _GRANTS[catalog]
        return _listed_grants(f'coalesce({column}, pg_catalog.acldefault(({kind})::"char", r.{owner}))')
    if row["refers"] == "pg_attribute" and row["relation_column"]:
        one = f"(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = r.{row['relation_column']} AND a.attnum = {{}})"
        return _listed(column, one, "int2") if row["is_array"] else one.format(column)
    if row["refers"] is not None:
        one = f"coalesce((SELECT n.identity FROM pg_catalog.pg_identify_object('pg_catalog.{row['refers']}'::pg_catalog.regclass, {{0}}, 0) AS n), {{0}}::text)"
        return (
            _listed(column, one, "oid")
            if row["is_array"]
            else f"CASE WHEN {column}::oid <> 0 THEN {one.format(f'{column}::oid')} END"
        )
    if row["type"] == "_text":
        # Where an element has the character that parts them, nobody can tell them apart: the text begins with it then.
        joined = f"pg_catalog.array_to_string({column}, chr(30), '')"
        is_odd = f"pg_catalog.strpos(pg_catalog.array_to_string({column}, ''), chr(30)) > 0"
        return f"CASE WHEN {is_odd} THEN chr(30) || {column}::text ELSE {joined} END"
    return text_of(column)


def _listed_grants(grants: str) -> str:
    """Who has which right from whom, by names; a separator character in a role's name is shown as a question mark."""
    grantee, grantor = (f"pg_catalog.translate({one}.rolname, chr(30) || chr(31), '??')" for one in "go")
    return (
        "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(chr(31), "
        f"coalesce({grantee}, ''), a.privilege_type, a.is_grantable::text, {grantor}), "
        f"""chr(30) ORDER BY g.rolname COLLATE "C" NULLS FIRST, a.privilege_type, o.rolname COLLATE "C") FROM pg_catalog.aclexplode({grants}) AS a """
        "LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantee LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = a.grantor)"
    )


def _listed(column: str, one: str, kind: str) -> str:
    element = one.format("u.n")
    return f"(SELECT pg_catalog.string_agg(coalesce({element}, '-'), ', ' ORDER BY u.at) FROM pg_catalog.unnest({column}::{kind}[]) WITH ORDINALITY AS u (n, at))"
