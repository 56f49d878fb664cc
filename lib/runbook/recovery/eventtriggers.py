"""Event triggers of a database: before PostgreSQL 17 no session can switch them off, so what a superuser defines runs their functions.

Source: PostgreSQL 15 to 18, "Overview of Event Trigger Behavior", pg_event_trigger.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook.postgres.connect import Connection, quote, rows

_QUERY = """
SELECT e.evtname::text AS trigger, p.oid::pg_catalog.regprocedure::text AS function, coalesce(r.rolsuper, false) AS is_trusted
FROM pg_catalog.pg_event_trigger AS e
JOIN pg_catalog.pg_proc AS p ON p.oid = e.evtfoid
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
WHERE e.evtenabled <> 'D'
ORDER BY 3, 1
"""


@dataclass(frozen=True)
class EventTrigger:
    """One that is enabled. `is_trusted`: its function is a superuser's."""

    trigger: str
    function: str
    is_trusted: bool


def firing(connection: Connection) -> list[EventTrigger]:
    """Return those that fire on what this session defines, the functions of lesser roles first; the session has switched them off since 17."""
    if connection.info.server_version >= 170000:
        return []
    return [EventTrigger(**row) for row in rows(connection, _QUERY)]


def lesser_function(connection: Connection) -> str | None:
    """Return a lesser role's function that would run as superuser on what is defined here; None: there is none."""
    return next((one.function for one in firing(connection) if not one.is_trusted), None)


def why_not_defined(connection: Connection) -> str | None:
    """Return why a superuser must not define anything here; None: it may."""
    return next(
        (
            f"an event trigger would run {one.function} as superuser: ALTER EVENT TRIGGER {quote(one.trigger)} DISABLE, then plan again"
            for one in firing(connection)
            if not one.is_trusted
        ),
        None,
    )
