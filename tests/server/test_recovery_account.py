"""A whole recovery that copies back: what is not back is asked about, stands first in the report, and never ends in a silent PASS."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, service_words
from recovering import ANSWERS, Recovering
from runbook import layout

pytestmark = [pytest.mark.server, pytest.mark.faults]


@contextmanager
def suffered(made: Sequence[str], damage: Sequence[str], after: Sequence[str] = ()) -> Iterator[OwnCluster]:
    """One transaction has done the damage, and others went on; RUNBOOK_HOME has the cluster as target `own`."""
    with own_cluster("--data-checksums") as cluster, at_home(cluster.home):
        cluster.sql("CREATE EXTENSION amcheck")
        cluster.create_database("shop", *made)
        cluster.backup("first")
        cluster.fence()
        cluster.sql("CREATE TABLE kept (id int)", database="shop")
        with cluster.connect("shop") as connection, connection.transaction():
            for statement in damage:
                connection.execute(statement.encode())
        cluster.sql(*after, "CREATE TABLE also_kept (id int)", database="shop")
        cluster.switch()
        cluster.params(cluster={"service": service_words(cluster, cluster.home)}, recovery={"quiet_for": "1 s"})
        params = cluster.home / "params" / "own.yaml"
        params.write_text(json.dumps({**json.loads(params.read_text()), "environment": "sandbox"}))
        yield cluster


def test_rows_that_are_not_back_are_decided_on_and_stand_first() -> None:
    made = (
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 2000) AS g",
        "CREATE TABLE nokey (a int, b text)",
        "INSERT INTO nokey SELECT g, 'v' || g FROM generate_series(1, 525) AS g",
    )
    damage = ("DELETE FROM item WHERE id <= 1500", "UPDATE nokey SET b = 'X'")
    with suffered(made, damage, ["INSERT INTO item VALUES (7, 'another')"]) as cluster:
        recovery = Recovering({**ANSWERS, "way": "copy-back"}, target="own")
        asked = recovery.go_on(recovery.start())
        assert (asked.code, "decide-on-the-rows-that-are-not-back" in asked.last["next"]) == (3, True), asked.stdout
        assert "public.item: 1 in conflict" in str(asked.record["questions"])
        assert cluster.sql("SELECT count(*) FROM nokey WHERE b = 'v' || a", database="shop") == [(525,)]
        copy = cluster.data.with_name(f"{cluster.data.name}.recovery-{recovery.run}")
        assert (copy / "data" / "PG_VERSION").exists(), "the one place that still has the row"
        said = recovery.say(
            "answer", recovery.run, "decide-on-the-rows-that-are-not-back", "leave", "--reason", "it is a newer one"
        )
        assert said.code == 0, said.stderr
        last = recovery.go_on(recovery.resume())
        assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
        assert not copy.exists()
        check = next(one for one in last.record["checks"] if one["id"] == "recovery-account")
        assert check["status"] == "PASS" and "Left as it is by decision of the operator" in check["reason"]
        assert any("Not back as it was: public.item: 1 in conflict" in one for one in last.record["limitations"])
        page = (layout.home() / last.last["record"] / "report.html").read_text()
        assert page.index('id="verdict"') < page.index('id="account"') < page.index('id="limitations"')
        draft = (layout.run(recovery.run) / "postmortem.md").read_text()
        assert "## Account of the damage" in draft and "public.item: 1 in conflict" in draft
        with (layout.run(recovery.run) / "loss" / "copy-back-conflicts.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["table"], row["key"], row["reason"]) == (
            "public.item",
            '{"id": "7"}',
            "a row with this key is there again",
        )


def test_way_that_would_restore_nothing_is_refused_before_its_gate() -> None:
    """Case 33: nobody is asked to approve nothing."""
    made = (
        "CREATE TABLE parts (a int, b text) PARTITION BY LIST (a)",
        "CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
        "INSERT INTO parts SELECT g % 2, 'v' || g FROM generate_series(1, 2525) AS g",
    )
    with suffered(made, ["UPDATE parts SET b = 'X'"]):
        recovery = Recovering({**ANSWERS, "way": "copy-back"}, target="own")
        asked = recovery.go_on(recovery.start())
        assert (asked.code, "choose-the-way-on" in asked.last["next"]) == (3, True), asked.stdout + asked.stderr
        question = next(one for one in asked.record["questions"] if one["id"] == "choose-the-way-on")
        assert "copy-back would restore nothing" in question["text"] and "2,525 in conflict" in question["text"]
        assert [gate for gate in asked.record["gates"] if gate["id"] == "approve-the-way-on"] == []
        assert recovery.say("answer", recovery.run, "choose-the-way-on", "back", "--reason", "by hand").code == 0
        last = recovery.go_on(recovery.resume())
        assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
