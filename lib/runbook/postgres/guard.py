"""Makes a new session what it was meant to be, and refuses it when it is not.

A startup packet can be dropped (PgBouncer with `ignore_startup_parameters = options`), and the server's login event triggers
run before our first statement and may set anything. So the settings are reset (DISCARD ALL also drops what such a trigger has prepared
or created), and read back: each must come from our startup packet or from our own SET, and no other setting may come from
ALTER DATABASE or ALTER ROLE but those that cannot change what a statement means.

Source: PostgreSQL 17, "Setting Parameters", pg_settings.source; "Event Triggers", login.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runbook.errors import PlatformError

#: What a value's text depends on. Client options win over ALTER ROLE and ALTER DATABASE settings.
#: A fence records these: figures that were taken with others are not compared.
PINNED = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "client_encoding": "UTF8",
}

#: What a statement means, and whether it may end, depends on these.
GUARDED = {
    "search_path": "pg_catalog, pg_temp",
    "role": "none",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "lc_numeric": "C",
    "lc_time": "C",
    "row_security": "off",
    "constraint_exclusion": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "local_preload_libraries": "",
    "client_min_messages": "warning",
}
#: For a session that reads relations of the application: a table may become a view between listing and reading. Set after the startup, since
#: only the releases since August 2024 know it.
TABLES_ONLY = {"restrict_nonsystem_relation_kind": "view, foreign-table"}
#: Pinned where the server takes it from the role. A server refuses a startup packet with a setting that it does not know (below 17 there
#: are no login event triggers, and neither of the first two), and a role without superuser one of the others, unless it was granted.
SUPERUSERS = {"zero_damaged_pages": "off", "ignore_checksum_failure": "off", "lc_messages": "C"}
#: Our statements would displace the application's from pg_stat_statements, whose table has room for so many. Where the library is not loaded
#: the setting is a placeholder, which changes nothing; a role without superuser needs GRANT SET ON PARAMETER (15).
UNTRACKED = {"pg_stat_statements.track": "none"}
OPTIONAL = {"transaction_timeout": "0", "event_triggers": "off", **SUPERUSERS, **UNTRACKED}
#: What is not sent again when one is refused.
REFUSED = {
    "transaction_timeout": frozenset({"transaction_timeout", "event_triggers"}),
    "event_triggers": frozenset({"event_triggers"}),
    **dict.fromkeys(SUPERUSERS, frozenset(SUPERUSERS)),
    **{name: frozenset({name}) for name in UNTRACKED},
}


def session_options(settings: Mapping[str, str]) -> str:
    """The settings as PGOPTIONS has them: they win over what ALTER ROLE and ALTER DATABASE have set.

    >>> session_options({"datestyle": "ISO, YMD"})
    '-c datestyle=ISO,\\\\ YMD'
    """
    return " ".join(
        "-c " + f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items()
    )


#: Settings that ALTER DATABASE or ALTER ROLE may have made: they cost time or write logs, and change no answer. By pg_settings.category.
_HARMLESS = (
    "Resource Usage / ",
    "Query Tuning / ",
    "Reporting and Logging / ",
    "Statistics / ",
    "Autovacuum",
    "Vacuuming / ",
    "Customized Options",
)
_HARMLESS_NAMES = (
    "check_function_bodies",
    "deadlock_timeout",
    "default_transaction_read_only",  # pinned, but where a caller asks what a session gets
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "gin_pending_list_limit",
    "lc_messages",
    "session_preload_libraries",  # a superuser's: in each session of the server's, ours or not
    "temp_tablespaces",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit",
    "vacuum_cost_page_miss",
    "vacuum_failsafe_age",
    "vacuum_freeze_min_age",
    "vacuum_freeze_table_age",
    "vacuum_multixact_failsafe_age",
    "vacuum_multixact_freeze_min_age",
    "vacuum_multixact_freeze_table_age",
)

_READ_BACK = """
SELECT session_user::text AS session_role, current_user::text AS role, pg_catalog.pg_backend_pid() AS pid,
       ARRAY(SELECT s.name::text FROM pg_catalog.pg_settings AS s
             WHERE s.name = ANY ($1::text[]) AND s.source NOT IN ('client', 'session')) AS lost,
       ARRAY(SELECT s.name::text FROM pg_catalog.pg_settings AS s WHERE s.name = ANY ($2::text[])) AS known,
       ARRAY(SELECT s.name || ' (' || s.source || ')' FROM pg_catalog.pg_settings AS s
             WHERE s.source IN ('database', 'user', 'database user') AND s.name <> ALL ($3::text[])
               AND NOT EXISTS (SELECT FROM unnest($4::text[]) AS c (prefix) WHERE pg_catalog.starts_with(s.category, c.prefix))
             ORDER BY s.name) AS others
"""


Run = Callable[[str, list[Any] | None], list[dict[str, Any]]]


@dataclass(frozen=True)
class Session:
    """What a session turned out to be. `pooled`: something between here and the server holds the server's connections."""

    role: str
    pid: int
    pooled: bool


def secure(
    run: Run,
    *,
    sent: Mapping[str, str],
    late: Mapping[str, str],
    meant: str,
    database: str,
    pid: int,
    encoding: str | None = None,
) -> Session:
    """Leave the session as it was asked for.

    Args:
        run: runs a statement of ours in the session, which was just opened and is in autocommit.
        sent: the settings of the startup packet.
        late: settings that are set where the server knows them.
        meant: the role that the connection names.
        pid: the backend's number as the startup named it; a pooler names one of its own.
        encoding: the client encoding to change to; None: the startup packet's.

    Raises:
        PlatformError: another role, a setting that does not hold, or a setting of somebody else's.
        SqlError: what the server said.
    """
    run("DISCARD ALL", None)
    if encoding is not None:
        run(f"SET client_encoding = {_as_list(encoding)}", None)
    facts = _read_back(run, sent, late)
    pooled = facts["pid"] != pid
    again = (
        {name: sent[name] for name in facts["lost"] if name != "client_encoding" or encoding is None} if pooled else {}
    )
    again |= {name: late[name] for name in facts["known"]}
    for name, value in again.items():
        run(
            f"SET {name} = {_as_list(value)}", None
        )  # SET is no function call: nothing of the application is looked up for it
    if again:
        facts = _read_back(run, {**sent, **{name: late[name] for name in facts["known"]}}, {})
    _judge(facts, meant, sent.get("role", "none"), database, pooled)
    return Session(str(facts["role"]), int(facts["pid"]), pooled)


def _judge(facts: Mapping[str, Any], meant: str, taken: str, database: str, pooled: bool) -> None:
    if facts["lost"]:
        raise PlatformError(
            f"The session in database {database} does not keep the setting {facts['lost'][0]}: a login event trigger, or something between "
            "here and the server, changes it.",
            next="Connect to the server itself, or to a pooler in session mode that passes the startup parameter 'options' on.",
        )
    logged_in = facts["session_role"]
    if facts["role"] != (logged_in if taken == "none" else taken) or (logged_in != meant and not pooled):
        raise PlatformError(
            f"The session in database {database} runs as role {facts['role']}, logged in as {logged_in}; the connection names {meant}.",
            next="Look for a setting that changes the role: SELECT * FROM pg_catalog.pg_db_role_setting",
        )
    if facts["others"]:
        raise PlatformError(
            f"The session in database {database} has settings that ALTER DATABASE or ALTER ROLE made and that can change what a statement "
            f"means: {', '.join(facts['others'][:5])}.",
            next="SELECT * FROM pg_catalog.pg_db_role_setting shows who has them; take them back for this role or database.",
        )


def _read_back(run: Run, sent: Mapping[str, str], late: Mapping[str, str]) -> dict[str, Any]:
    pinned = [name for name in sent if name != "role"]  # pg_settings does not list it; current_user shows it
    return run(_READ_BACK, [pinned, list(late), [*_HARMLESS_NAMES, *sent], list(_HARMLESS)])[0]


def _as_list(value: str) -> str:
    """A setting's value for SET, where a list is written as its parts.

    >>> _as_list("pg_catalog, pg_temp"), _as_list("")
    ("'pg_catalog', 'pg_temp'", "''")
    """
    return ", ".join("'" + part.strip().replace("'", "''") + "'" for part in value.split(","))
