"""Where the parts of an archive lie below its folder: `reports/`, or a copy of it on a machine that never saw us.

RUNS                one line for every opened run
records/            one folder for every archived attempt
allowed_signers     the keys of runners and reviewers, each with its time; no private key
keys/               one statement for every change of the runner's key, signed by the key before
reviews/ witnesses/ what people have signed about records
exceptions/         what people have signed about controls
EXPORT              only in an export: which payloads were chosen
VERIFY.md verify.sh how to check all of it with sha256sum and ssh-keygen
.gitattributes      that git may not change a byte of it
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from runbook import layout

FOLDER = re.compile(r"([0-9]{6})-([0-9]{8}T[0-9]{6}Z-[a-z0-9-]+)")


@dataclass(frozen=True)
class Tree:
    """The paths of one archive."""

    root: Path

    @classmethod
    def own(cls) -> Tree:
        """This home's archive."""
        return cls(layout.reports())

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def ledger(self) -> Path:
        return self.root / "RUNS"

    @property
    def signers(self) -> Path:
        return self.root / "allowed_signers"

    @property
    def rotations(self) -> Path:
        return self.root / "keys"

    @property
    def reviews(self) -> Path:
        return self.root / "reviews"

    @property
    def exceptions(self) -> Path:
        return self.root / "exceptions"

    @property
    def witnesses(self) -> Path:
        return self.root / "witnesses"

    @property
    def export(self) -> Path:
        return self.root / "EXPORT"

    def folders(self) -> list[tuple[int, Path]]:
        """Every record's number and folder, ascending. Folders of other names, and links, are no records."""
        if not self.records.is_dir():
            return []
        root = self.records
        with os.scandir(root) as entries:
            named = [one.name for one in entries if FOLDER.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
        return [(int(name[:6]), root / name) for name in sorted(named)]

    def strangers(self) -> list[str]:
        """What lies among the records and is none."""
        if not self.records.is_dir():
            return []
        known = {folder.name for _, folder in self.folders()}
        return sorted(path.name for path in self.records.iterdir() if path.name not in known)

    def unproven(self) -> list[str]:
        """What lies beside the records and belongs to no archive: nothing says who made it."""
        found = [name for name in _names(self.root) if name not in _KNOWN]
        for folder, fitting in _FITTING.items():
            found += [f"{folder}/{name}" for name in _names(self.root / folder) if not fitting.fullmatch(name)]
        return sorted(found)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


_KNOWN = frozenset(
    {
        "RUNS", "records", "allowed_signers", "keys", "reviews", "witnesses", "exceptions", "EXPORT", "EXPORT.sig", "VERIFY.md",
        "verify.sh", ".gitattributes", "index.html", "index", "chosen.csv", ".staging", ".lock", ".names", ".index.lock",
    }
)  # fmt: skip
_FITTING = {
    "keys": re.compile(r"(?:person-)?[0-9]{6}\.txt(?:\.sig)?"),
    "reviews": re.compile(r"[0-9]{6}-[0-9]+\.json(?:\.sig)?"),
    "exceptions": re.compile(r"[a-z0-9][a-z0-9-]*-[0-9]+\.json(?:\.sig)?"),
    "witnesses": re.compile(r"[0-9]{6}\.txt(?:\.sig)?"),
}
