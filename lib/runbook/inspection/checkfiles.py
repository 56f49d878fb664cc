"""Check files of an area, such as `sql/health/*.sql`. A DBA adds a check by adding a file.

Each row is an object with a `value` in the file's unit; the higher, the worse. `-- warning: name` and `-- critical: name` give the
thresholds, which stand in the file with their source (`-- threshold: name = 5 | why`) and may be overridden in params.
`-- any: warning` says that every row is one. A row whose `unmeasured` says why, or whose value is NULL, was not measured. A check of the
whole server whose change is for one database alone names it in `run_in`.

`<name>_post_160000.sql` takes the place of `<name>.sql` on servers from that version on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook import layout
from runbook.errors import ParamsError
from runbook.inspection.states import State
from runbook.params.loading import nearest
from runbook.params.schema import Threshold
from runbook.postgres.sqlfiles import SqlFile, parse_sql, require_read_only

_THRESHOLD = re.compile(r"([a-z][a-z0-9_]*)\s*=\s*(\d+(?:\.\d+)?)\s*\|\s*(\S.*)")
_VARIANT = re.compile(r"(.+)_post_(\d{6})")
_SCOPES = ("cluster", "database")


@dataclass(frozen=True)
class CheckFile:
    """One check as its file describes it.

    `area`: the folder it lies in, health or access. `needs`: predefined roles, and extensions written `extension:name`. `given`: values
    that do not come from the server, by name: whoever looks says them. `any_state`: what each row is, when no threshold decides.
    `exhausts`: the value at which the resource is used up, None for others.
    """

    area: str
    name: str
    since_version: int
    sql: SqlFile
    per_database: bool
    rank: int
    needs: tuple[str, ...]
    given: tuple[str, ...]
    thresholds: Mapping[str, Threshold]
    warning: str | None
    critical: str | None
    any_state: State | None
    exhausts: float | None

    @property
    def title(self) -> str:
        purpose = self.sql.get("purpose")
        return purpose[:1].upper() + purpose[1:]

    @property
    def unit(self) -> str:
        return self.sql.get("unit")

    @property
    def extensions(self) -> tuple[str, ...]:
        return tuple(need.removeprefix("extension:") for need in self.needs if need.startswith("extension:"))

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(need for need in self.needs if not need.startswith("extension:"))


def parse_threshold(line: str, where: str) -> tuple[str, Threshold]:
    """A threshold's name, its value and who says so.

    >>> name, found = parse_threshold("slow_query_milliseconds = 1000 | the source runbook", "x.sql")
    >>> name, found.value, found.source
    ('slow_query_milliseconds', 1000.0, 'the source runbook')

    Raises:
        ParamsError: it is not of the form `name = number | source`.
    """
    match = _THRESHOLD.fullmatch(line.strip())
    if match is None:
        raise ParamsError(
            f"{where}: the threshold '{line}' cannot be understood.",
            next="Write it as: -- threshold: name = 5 | where the figure comes from",
        )
    return match[1], Threshold(value=float(match[2]), source=match[3])


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_file(path: Path) -> CheckFile:
    """The check that a file describes.

    Raises:
        ParamsError: its header or its statement is wrong; with the file's name.
    """
    sql, where = parse_sql(path), layout.short(path)
    require_read_only(sql)
    variant = _VARIANT.fullmatch(path.stem)
    thresholds = dict(parse_threshold(line, where) for line in sql.header.get("threshold", ()))
    scope, word = sql.get("scope"), sql.get("any")
    if scope not in _SCOPES:
        raise ParamsError(f"{where}: scope is '{scope}'; {nearest(scope, _SCOPES)}", next="Write: -- scope: database")
    if word not in ("", State.WARNING, State.CRITICAL):
        raise ParamsError(f"{where}: any is 'warning' or 'critical', not '{word}'.", next="Correct the header.")
    limits = {key: sql.get(key) or None for key in ("warning", "critical")}
    given = _names(sql.get("given"))
    for name in [*filter(None, limits.values()), *(name for name in sql.variables if name not in given)]:
        if name not in thresholds:
            raise ParamsError(
                f"{where} has no threshold '{name}'; {nearest(name, thresholds)}",
                next=f"Add: -- threshold: {name} = 5 | where the figure comes from",
            )
    if bool(word) == any(limits.values()):
        raise ParamsError(
            f"{where} says neither or both of 'any' and a threshold for warning or critical.",
            next="Write -- any: warning (each row is one), or -- warning: name_of_a_threshold.",
        )
    if not sql.get("purpose") or not sql.get("rank").isdigit():
        raise ParamsError(f"{where} lacks its purpose or its rank.", next="Write: -- rank: 5   (1 is done first)")
    return CheckFile(
        area=path.parent.name,
        name=variant[1] if variant else path.stem,
        since_version=int(variant[2]) if variant else 0,
        sql=sql,
        per_database=scope == "database",
        rank=int(sql.get("rank")),
        needs=_names(sql.get("needs")),
        given=given,
        thresholds=thresholds,
        warning=limits["warning"],
        critical=limits["critical"],
        any_state=State(word) if word else None,
        exhausts=float(sql.get("exhausts")) if sql.get("exhausts") else None,
    )


def load_files(area: str | Path) -> list[CheckFile]:
    """Every check file of an area (its name below `sql/`, or a folder) with its variants, all problems named at once.

    Raises:
        ParamsError: files that are broken, or none.
    """
    found, problems = [], []
    place = layout.sql() / area
    for path in sorted(place.glob("*.sql")):
        try:
            found.append(parse_file(path))
        except ParamsError as problem:
            problems.append(problem.message)
    if problems or not found:
        raise ParamsError(
            "\n".join(problems) or f"There is no check in {layout.short(place)}.",
            next="Correct the file; no check runs while one is broken.",
        )
    return found


def select_files(
    files: Iterable[CheckFile], wanted: str, skip: Iterable[str], overrides: Mapping[str, Threshold]
) -> list[CheckFile]:
    """The checks asked for and not skipped, still with all variants.

    Args:
        wanted: 'all', or names separated by commas.
        overrides: thresholds of the params; each must belong to a check.

    Raises:
        ParamsError: a name that does not exist.
    """
    every = list(files)
    area = every[0].area
    names = {file.name for file in every}
    asked = None if wanted.strip() in ("all", "") else {word.strip() for word in wanted.split(",") if word.strip()}
    for name in [*(asked or ()), *skip]:
        if name not in names:
            raise ParamsError(f"There is no check '{name}'; {nearest(name, names)}", next=f"Choose one of sql/{area}/.")
    known = {name for file in every for name in file.thresholds}
    for name in overrides:
        if name not in known:
            raise ParamsError(
                f"{area}.thresholds: no check has '{name}'; {nearest(name, known)}", next="Correct the params file."
            )
    return [file for file in every if (asked is None or file.name in asked) and file.name not in set(skip)]


def for_version(files: Iterable[CheckFile], version: int) -> list[CheckFile]:
    """Of each check the newest variant that this server's version (such as 170002) knows."""
    best: dict[str, CheckFile] = {}
    for file in sorted(files, key=lambda file: file.since_version):
        if file.since_version <= version:
            best[file.name] = file
    return list(best.values())
