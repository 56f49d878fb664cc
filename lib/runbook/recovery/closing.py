"""Closing a damaged database to all but the operator and the reader, whether its server lives or is down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook import layout
from runbook.errors import ParamsError, PlatformError
from runbook.model import Finding, Severity, Status
from runbook.params.schema import Cluster
from runbook.platforms.cluster import doors, service, ways
from runbook.platforms.cluster.doors import Doors
from runbook.platforms.cluster.hbalines import Token, Way, only_us
from runbook.platforms.cluster.live import LiveServer, read_facts
from runbook.platforms.cluster.sessions import end_sessions, list_open_ways, session_words
from runbook.recovery import vacuumstop
from runbook.recovery.done import Done, judge

DOORS = "the database is closed to all but the operator"
AUTOVACUUM = "autovacuum is off"
FACTS = "lockdown server"


def begun(act: str) -> str:
    """The name under which it is remembered that an act was begun and not yet taken back."""
    return f"lockdown: {act}"


class Recall(Protocol):
    """The latest value that was remembered under a name, over all attempts of the run."""

    def __call__(self, name: str, default: Any = None) -> Any: ...


@dataclass
class Closing:
    """The closing of one cluster for one run. `begin` notes an act and its undo before it is done."""

    cluster: Cluster
    server: LiveServer
    run_id: str
    remember: Callable[[str, Any], object]
    recall: Recall
    begin: Callable[[str, str], object]

    def close_living(self) -> Done:
        """A running server is closed, others' sessions ended, autovacuum off."""
        done = Done()
        with self.server.connect() as connection:
            facts = read_facts(connection)
            way = ways.way_of(connection, facts)
        readers, _ = ways.reader_way(self.server)
        self.remember(
            FACTS,
            facts.lasting()
            | {"groups": sorted(way.groups or ()), "readers": [_way_facts(reader) for reader in readers]},
        )
        self.begin(DOORS, Doors(Path(facts.hba_file), self.run_id).undo_words())
        closed = doors.close(self.server, self.run_id)
        done.say("pg_hba.conf", "closed", f"{closed.hba_file}; the original is {closed.kept_as}")
        for line in closed.lines:
            done.say("still let in", "our own way", line)
        for line in closed.left_out:
            done.say("left out", "see it before the lock-down is lifted", line)
        observed = f"{closed.hba_file} closed and read by the server; we came in again"
        done.checks.append(judge("lockdown-doors", "The database is closed", "only the operator is let in", observed))
        self._end_sessions(done)
        known = self.recall(vacuumstop.KEY) if self.recall(begun(AUTOVACUUM)) else None
        vacuumstop.stop(self.server, before=known, begin=self._begin_vacuumstop)
        done.checks.append(vacuumstop.check(self.server))
        done.say("autovacuum", "off" if done.checks[-1].status is Status.PASS else "see the check")
        return done

    def _begin_vacuumstop(self, before: dict[str, Any]) -> None:
        self.remember(vacuumstop.KEY, before)
        self.begin(AUTOVACUUM, vacuumstop.undo_words(before))

    def _end_sessions(self, done: Done) -> None:
        ended = end_sessions(self.server)
        for session in ended.ended:
            done.say("session", "ended", session_words(session))
        for session in ended.left:
            done.say("session", "STILL THERE", session_words(session))
        left = "; ".join(session_words(session) for session in ended.left[:5])
        done.checks.append(
            judge(
                "lockdown-sessions",
                "Nobody else is connected",
                "no session but ours",
                f"{len(ended.ended)} ended, {len(ended.left)} left",
                reason=f"These do not end: {left}" if ended.left else None,
                next="End them by their process (a signal, no SIGKILL), then redo this step." if ended.left else None,
            )
        )

    def close_dead(self) -> Done:
        """The files of a server that is down are closed, before anybody starts it."""
        done = Done()
        hba_file = self.hba_file()
        if hba_file is None:
            done.checks.append(
                judge(
                    "lockdown-doors",
                    "The database is closed",
                    "only the operator is let in",
                    "its pg_hba.conf was not found",
                    reason="The server is down, and params do not say where its pg_hba.conf is.",
                    next="Name it under cluster.config_files in params.",
                )
            )
            return done
        closing = Doors(hba_file, self.run_id)
        self.begin(DOORS, closing.undo_words())
        closed = closing.close_file(self._known_way(), others=self._known_readers())
        done.say("pg_hba.conf", "closed", f"{closed.hba_file}; the original is {closed.kept_as}")
        for line in closed.left_out:
            done.say("left out", "see it before the lock-down is lifted", line)
        is_running = service.is_running(self.cluster)
        done.checks.append(
            judge(
                "lockdown-doors",
                "The database is closed",
                "only the operator is let in",
                f"{closed.hba_file} closed while no server runs: whoever starts it starts it closed",
                reason="A server runs and accepts no connections: whether it has read the closed file is not known."
                if is_running
                else None,
                next="Read its log; when it accepts connections, redo this step." if is_running else None,
            )
        )
        return done

    def let_in(self, role: str, databases: Sequence[str]) -> None:
        """One role with its password, to these databases, from the one address from which we come."""
        way, hba_file = self._known_way(), self._need_hba_file()
        fields = [
            ",".join(Token(name, is_quoted=True).render() for name in databases),
            Token(role, is_quoted=True).render(),
        ]
        if way.is_local:
            line = f"local {' '.join(fields)} scram-sha-256"
        else:
            line = f"{'hostssl' if way.ssl else 'host'} {' '.join(fields)} {only_us(way)} scram-sha-256"
        doors.let_in(self.server, hba_file, self.run_id, line)

    def shut_out(self, role: str) -> None:
        """No line of the closed file is about the role."""
        hba_file = self.hba_file()
        if hba_file is not None:
            word = f" {Token(role, is_quoted=True).render()} "
            doors.shut_out(self.server, hba_file, self.run_id, lambda line: word in line and not line.startswith("#"))

    def _need_hba_file(self) -> Path:
        hba_file = self.hba_file()
        if hba_file is None:
            raise PlatformError("The server's pg_hba.conf was not found.", next="Name it under cluster.config_files.")
        return hba_file

    def hba_file(self) -> Path | None:
        known = self.recall(FACTS)
        if known:
            return Path(known["hba_file"])
        named = [layout.resolve(name) for name in self.cluster.config_files if Path(name).name == "pg_hba.conf"]
        if named:
            return named[0]
        plain = self.server.data / "pg_hba.conf" if self.server.data else None
        return plain if plain is not None and plain.exists() else None

    def _known_way(self) -> Way:
        known = self.recall(FACTS)
        if known:
            address = known["address"]
            return Way(known["role"], address is None, address, known["ssl"], frozenset(known["groups"]))
        try:
            return ways.way_from_params(self.server)
        except ParamsError:
            # A secret that is only there while the server runs, as the sandbox's.
            return Way(self.cluster.superuser, is_local=True)

    def _known_readers(self) -> list[Way]:
        known = self.recall(FACTS) or {}
        return [Way(**{**way, "groups": frozenset(way["groups"])}) for way in known.get("readers", [])]


def _way_facts(way: Way) -> dict[str, Any]:
    return asdict(way) | {"groups": sorted(way.groups or ())}


def list_open(server: LiveServer) -> Done:
    """What a closed pg_hba.conf does not stop, and who follows this server: rows of kind, name, database, who, writes, to do."""
    done = Done()
    if not server.is_up():
        return done
    with server.connect() as connection:
        found = list_open_ways(connection, read_facts(connection).preload_libraries)
    done.rows = [way.row() for way in found]
    writing = [way for way in found if way.writes]
    done.checks.append(
        judge(
            "lockdown-bypass",
            "Nothing writes past pg_hba.conf",
            "no enabled subscription, no scheduler at work",
            ", ".join(f"{way.kind} {way.name}" for way in writing) or "none",
            reason="These write without coming in, perhaps only now and then: " + ", ".join(way.name for way in writing)
            if writing
            else None,
            next="; ".join(way.todo for way in writing) + "; then redo this step." if writing else None,
            findings=tuple(
                Finding(
                    id="writes-past-pg-hba",
                    object=f"{way.kind} {way.name}",
                    severity=Severity.ERROR,
                    observed=way.who,
                    expected="disabled",
                    next=way.todo,
                )
                for way in writing
            ),
        )
    )
    return done
