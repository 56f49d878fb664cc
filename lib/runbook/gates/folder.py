"""`var/runs/<run>/gates/<gate>/`: the plan, and what people decided about it.

    plan.json plan.md       the plan as it is now; an earlier one is kept as plan-<12 digits of its hash>.json
    <principal>-<n>.approval.json (.rejection, .break-glass, .countersign) and its .sig
    allowed_signers         as it was when the gate was decided, so that the signatures can be verified later

A signature is there before its record is: what has no signature yet is not seen.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from runbook import disk
from runbook.gates.decision import Decision, Kind, read_decision
from runbook.gates.plan import Plan

PLAN, PLAN_TEXT, SIGNERS = "plan.json", "plan.md", "allowed_signers"
#: allowed_signers as it was when somebody countersigned last.
COUNTERSIGNERS = "allowed_signers-countersign"

_DECISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-(\d+)\.(" + "|".join(kind.value for kind in Kind) + r")\.json")


@dataclass(frozen=True)
class Filed:
    """A decision's file as it lies there: `decision` is None when the bytes are none, `signature` when there is none."""

    path: Path
    data: bytes
    decision: Decision | None
    signature: Path | None


def _write(path: Path, data: bytes) -> None:
    """The file is on the disk, whole, or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk.naming(path), temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class GateFolder:
    """The files of one gate of one run."""

    def __init__(self, run_folder: Path, gate: str) -> None:
        self.gate = gate
        self.path = run_folder / "gates" / gate

    def write_plan(self, plan: Plan) -> None:
        """The plan is there for machines and people; another one that was there before is kept beside it."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = plan.canonical()
        before = self.read_plan()
        if before is not None and before != data:
            _write(self.path / f"plan-{sha256(before).hexdigest()[:12]}.json", before)
        _write(self.path / PLAN, data)
        _write(self.path / PLAN_TEXT, plan.markdown().encode())

    def read_plan(self, digest: str | None = None) -> bytes | None:
        """The plan's bytes, or None; an earlier one's when it has that digest."""
        path = self.path / PLAN
        data = path.read_bytes() if path.is_file() else None
        if digest is None or (data is not None and sha256(data).hexdigest() == digest):
            return data
        earlier = self.path / f"plan-{digest[:12]}.json"
        return earlier.read_bytes() if earlier.is_file() else data

    def write_decision(self, decision: Decision, signature: str | None) -> Path:
        """The decision is filed under the person's name and the next number. Returns its file."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", decision.principal).strip("-.") or "somebody"
        number = 1 + max((int(match[1]) for match in map(_DECISION.fullmatch, self._names()) if match), default=0)
        path = self.path / f"{name}-{number}.{decision.decision}.json"
        if signature is not None:
            _write(path.with_name(path.name + ".sig"), signature.encode("ascii"))
        _write(path, decision.canonical())
        return path

    def keep_signers(self, path: Path, name: str = SIGNERS) -> None:
        """allowed_signers as it is now lies beside the decisions."""
        if path.is_file():
            _write(self.path / name, path.read_bytes())

    def decisions(self) -> list[Filed]:
        """Every decision filed here, by number."""
        found = []
        for name in self._names():
            match = _DECISION.fullmatch(name)
            path = self.path / name
            if match is None or path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            signature = path.with_name(name + ".sig")
            there = signature.is_file() and not signature.is_symlink()
            found.append((int(match[1]), name, Filed(path, data, read_decision(data), signature if there else None)))
        return [filed for _, _, filed in sorted(found, key=lambda one: one[:2])]

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []


def gate_files(run_folder: Path) -> dict[str, bytes]:
    """What the archive keeps of all gates: `gate-<gate>-<file>` → content."""
    root = run_folder / "gates"
    files: dict[str, bytes] = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not path.name.startswith(".") and path.is_file() and not path.is_symlink():
                files[f"gate-{folder.name}-{path.name}"] = path.read_bytes()
    return files
