"""A home with one run that stands at a gate, and people with keys: no kernel is needed for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.archive.keys import introduce_approver
from runbook.archive.staging import archive_lock
from runbook.archive.tree import Tree
from runbook.gates import Plan, signing
from runbook.gates.decision import NAMESPACE, Decision, Kind
from runbook.gates.folder import GateFolder
from runbook.gates.signers import parse_signers, signer_line
from runbook.params import Params, load_params
from runbook.session import deciding, identity, notebook, opengate
from runbook.session.fold import fold
from runbook.session.gate import Gate, Passage, Stop
from runbook.session.journal import Journal, read_events
from runbook.session.request import JOURNAL, create_run, new_run_id, start_attempt
from runbook.session.state import RunState

PARAMS = """\
target: billing
environment: {environment}
platform: cluster
cluster:
  backup_folder: backups
  wal_archive: {{directory: wal}}
budgets: {{rto: 30 min, rpo: 5 min, source: the tests}}
approvals:
  operators: {{{user}: olga@x.example}}
{more}"""

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# 01 · Swap"},
        {
            "cell_type": "code",
            "outputs": [],
            "execution_count": None,
            "metadata": {"tags": ["parameters"]},
            "source": 'target = "billing"  # the system\ndry_run = False  # change nothing',
        },
        {
            "cell_type": "code",
            "outputs": [],
            "execution_count": None,
            "metadata": {},
            "source": 'run.gate("Swap it in", plan)\nrun.step("Swap", act)',
        },
    ],
}


def introduce_by_runner(line: str) -> None:
    """The runner of this home has introduced the person of that line for approvals."""
    with archive_lock():
        introduce_approver(Tree.own(), parse_signers(line)[0], "the tests", was_listed=True)


@dataclass
class GateHouse:
    """`folder` is the run's; `gate` its gate 'swap-it-in', which is open."""

    home: Path
    folder: Path
    params: Params

    @classmethod
    def build(cls, home: Path, *, environment: str = "staging", more: str = "", dry_run: bool = False) -> GateHouse:
        """A home (RUNBOOK_HOME must name it already) with a run that was started."""
        for name in ("notebooks", "params", "people"):
            (home / name).mkdir(parents=True)
        user = identity.operator()
        text = PARAMS.format(environment=environment, user=user, more=more)
        (home / "params" / "billing.yaml").write_text(text)
        path = home / "notebooks" / "01_swap.ipynb"
        path.write_text(json.dumps(NOTEBOOK))
        params = load_params("billing")
        declared = notebook.read_parameters(NOTEBOOK, "swap")
        values = {**{name: one.default for name, one in declared.items()}, "dry_run": dry_run}
        folder = create_run(new_run_id("swap"), path, values, declared, params, started_by="runbook run")
        house = cls(home, folder, params)
        house.start(1)
        return house

    def start(self, attempt: int) -> None:
        start_attempt(self.journal, self.folder, attempt, by="runbook run")

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / JOURNAL)

    @property
    def state(self) -> RunState:
        return fold(read_events(self.folder / JOURNAL))

    @property
    def files(self) -> GateFolder:
        return GateFolder(self.folder, "swap-it-in")

    def plan(self, **facts: Any) -> Plan:
        return Plan(
            title="Swap the restored cluster in",
            target="billing",
            actions=("Stop the server", "Move the data aside"),
            blast_radius=("all sessions end",),
            reversible=True,
            undo="Move it back.",
            facts={"lsn": "0/3000028", **facts},
        )

    def gate(self, *, typed: str | None = None, needed: int | None = None, **facts: Any) -> Gate:
        """The gate, opened with that plan."""
        gate = Gate(self.folder, self.params, "swap-it-in", "Swap it in", self.plan(**facts), typed, needed)
        gate.open()
        return gate

    def person(self, name: str, principal: str | None = None, **options: Any) -> Path:
        """A person's private key; the public one is in allowed_signers."""
        key = self.home / "people" / name
        if not key.exists():
            signing.make_key(key, name)
        self.list_key(key, principal or f"{name}@x.example", **options)
        return key

    def list_key(self, key: Path, principal: str, *, introduced: bool = True, **options: Any) -> None:
        """A line in allowed_signers, whatever is there already; introduced by the runner by default."""
        public = key.with_name(key.name + ".pub").read_text()
        line = signer_line(principal, public, options.get("valid_from"), options.get("valid_to"))
        with (layout.params() / "allowed_signers").open("a") as file:
            file.write(line + "\n")
        if introduced:
            introduce_by_runner(line)

    def look(self, gate: Gate) -> Passage | Stop:
        return gate.look()

    def approve(self, key: Path, kind: Kind = Kind.APPROVAL, **more: Any) -> Path:
        """By the command's own way."""
        return deciding.decide(opengate.look_at(self.folder, "swap-it-in"), kind, key=key, **more).file

    def forge(self, private: Path, name: str, *, namespace: str = NAMESPACE, **changes: Any) -> Path:
        """A decision filed by hand, with whatever differs from an approval in order."""
        now = clock.now()
        decision = Decision(
            decision=Kind.APPROVAL,
            run=self.folder.name,
            gate="swap-it-in",
            plan=self.state.gate_book["swap-it-in"].plan,
            changes=0,
            inputs=self.state.sitting["inputs_sha256"],
            principal=f"{name}@x.example",
            key=signing.fingerprint_of(private),
            at=now,
            expires=now + timedelta(hours=4),
        ).model_copy(update=changes)
        return self.files.write_decision(decision, signing.sign(decision.canonical(), private, namespace))

    def tolerant(self, **approvals: Any) -> GateHouse:
        """The same house with other rules."""
        changed = self.params.approvals.model_copy(update=approvals)
        return replace(self, params=self.params.model_copy(update={"approvals": changed}))
