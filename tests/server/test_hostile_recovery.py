"""A whole recovery of a sandbox whose application is ill-meaning: nothing of it runs as a superuser, and the recovery is as good as ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import function, witnesses_in
from recovering import ANSWERS, Recovering, suffer
from runbook.sandbox.backup import take_backup
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]

OWNER = "dealerscope_owner"
ATTACKS = (
    # Checks, figures and files of rows read these tables; a recovery restores them.
    function("step", "aggregate", "bigint", "bigint", "$1 + 1", ""),
    "CREATE AGGREGATE public.count(*) (SFUNC = public.step, STYPE = bigint, INITCOND = '0')",
    "CREATE TYPE public.grade AS ENUM ('a', 'b')",
    function("grade_text", "cast", "public.grade", "text", "'a'", "STABLE"),
    "CREATE CAST (public.grade AS text) WITH FUNCTION public.grade_text(public.grade)",
    "ALTER TABLE public.vehicles ADD COLUMN grade public.grade NOT NULL DEFAULT 'a'",
    function("fold", "planned", "integer", "integer", "1"),
    "CREATE INDEX vehicles_trap ON public.vehicles ((year + public.fold(7)))",
    "CREATE INDEX users_trap ON public.users (id) WHERE id > public.fold(8) - 100",
    "CREATE STATISTICS public.sessions_trap ON (user_id + public.fold(9)), (user_id * public.fold(10)) FROM public.sessions",
    "CREATE FUNCTION public.at_commit() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE LOG 'WITNESS deferred % %', current_user, session_user; RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON public.sessions DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION public.at_commit()",
)


@pytest.mark.parametrize("way", ["promote", "copy-back"])
def test_a_recovery_of_a_hostile_application_lends_it_no_right(live_home: Path, way: str) -> None:
    sandbox = need_sandbox()
    with sandbox.connect() as connection:
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}".encode())
        connection.execute(f"ALTER DATABASE dealerscope OWNER TO {OWNER}".encode())
        connection.execute(f"SET ROLE {OWNER}".encode())
        for statement in ATTACKS:
            connection.execute(statement.encode())
    take_backup(sandbox, "hostile")
    taken = Recovering().say("fence", "take", "--target", "sandbox")
    assert taken.code == 0, taken.stderr
    suffer()  # the sandbox's own damage is done by its superuser, and may run what the application laid
    began, logs = sandbox.log.stat().st_size, []
    recovery = Recovering({**ANSWERS, "way": "" if way == "promote" else way})
    waiting = recovery.go_on(recovery.start())
    if way == "promote":
        assert "choose-the-way-on" in waiting.last["next"], waiting.stdout + waiting.stderr
        logs = [path.read_bytes() for path in recovery.beside.glob("server.log*")]
        assert recovery.say("answer", recovery.run, "choose-the-way-on", "promote", "--reason", "looked").code == 0
        waiting = recovery.go_on(recovery.resume())
    wrong = [check for check in waiting.record["checks"] if check["status"] != "PASS"]
    assert (waiting.code, waiting.last["verdict"], wrong) == (0, "PASS", []), waiting.stderr
    seen = witnesses_in(b"".join([sandbox.log.read_bytes()[began:], *logs]))
    assert {one for one in seen if one.current == "postgres"} == set(), (
        "nothing of the application's runs as a superuser"
    )
    assert {one.current for one in seen} <= {OWNER, "dealerscope_app"} | {
        one.current for one in seen if one.current.startswith("runbook_")
    }
