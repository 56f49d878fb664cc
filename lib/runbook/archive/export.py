"""`runbook archive export`: the payloads that an auditor asked for, in an archive that verifies alone.

Holds the chosen records whole, of all others the manifests (a chain with holes does not verify), RUNS, the public keys, what people
have signed about the chosen, VERIFY.md and verify.sh, an index of the chosen, and EXPORT: the list of what was chosen, signed.
"""

from __future__ import annotations

import contextlib
import csv
import html
import io
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock
from runbook.archive.archived import ARCHIVED, write_time
from runbook.archive.keys import EVIDENCE, replace_file, signing_key
from runbook.archive.records import OUTSIDE_SUMS, RUN_JSON, SIGNATURE, TOMBSTONE, ListedRecord, list_records
from runbook.archive.review import reviews_of
from runbook.archive.staging import archive_lock, staging_folder
from runbook.archive.stock import write_stock
from runbook.archive.sums import SUMS, read_sums
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, PlatformError
from runbook.gates import signing
from runbook.plain import LARGEST_TEXT, is_plain, read_plain

COLUMNS = (
    "record",
    "verdict",
    "runbook",
    "target",
    "environment",
    "started_at",
    "ended_at",
    "operator",
    "satisfies",
    "reason",
)


@dataclass(frozen=True)
class Chosen:
    """What was asked for: a control, a time, and the records that answer it."""

    control: str
    begin: datetime
    end: datetime
    records: tuple[ListedRecord, ...]

    def said(self, total: int) -> str:
        """The choice for people, in ASCII."""
        control = " ".join(self.control.encode("ascii", "replace").decode().split())
        span = f"from {clock.stamp(self.begin)} until {clock.stamp(self.end)}"
        return f"{len(self.records)} of {total} records, control {control}, {span}"


def choose_records(control: str, begin: datetime, end: datetime) -> Chosen:
    """The records of runs for the control that started in that time (the end not included).

    Raises:
        OperatorError: there are none; the message names the controls that there are.
    """
    if begin >= end:
        raise OperatorError("The time ends before it begins.", next="Correct --from or --to.")
    listed = list_records()
    chosen = [one for one in listed if control in one.record.controls and begin <= one.record.started_at < end]
    if not chosen:
        known = sorted({name for one in listed for name in one.record.controls})
        raise OperatorError(
            f"No record for the control '{control}' started between {clock.stamp(begin)} and {clock.stamp(end)}.",
            next=f"Controls in the archive: {', '.join(known) or 'none'}.",
        )
    return Chosen(control, begin, end, tuple(chosen))


def export(chosen: Chosen, to: Path, now: datetime | None = None) -> Path:
    """The export is there, whole, as a folder or (a name that ends with .zip) as one file. Returns it.

    Raises:
        OperatorError: something is there already, or the archive is not signed.
        PlatformError: it cannot be written, or the runner's key is not here.
    """
    place = to.expanduser().absolute()
    refuse_inside_archive(place)
    if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
        raise OperatorError(
            f"{place} is there already: an export never overwrites.", next="Name another folder or file."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        root = place.parent / f".{place.name}.staging"
        with staging_folder(root) as staging:
            tree = Tree(staging / place.name.removesuffix(".zip"))
            tree.records.mkdir(parents=True)
            with archive_lock():
                _fill(tree, Tree.own(), chosen, (now or clock.now()).replace(microsecond=0))
            if place.suffix == ".zip":
                _zip(tree.root, staging / place.name, now or clock.now())
                (staging / place.name).rename(place)
            else:
                if place.is_dir():
                    place.rmdir()
                tree.root.rename(place)
        with contextlib.suppress(OSError):  # somebody else exports to the same place: the folder is theirs by now
            root.rmdir()
    except OSError as cause:
        raise PlatformError(
            f"The export could not be written to {place}: {cause.strerror or cause}.",
            next="Make room, or name another place.",
        ) from cause
    return place


def _fill(tree: Tree, own: Tree, chosen: Chosen, now: datetime) -> None:
    key = signing_key(own, now)
    if key is None or not own.signers.is_file():
        raise OperatorError("This archive is not signed: an export of it would prove nothing.", next="runbook doctor")
    whole = {one.folder.name for one in chosen.records}
    lines = []
    folders = own.folders()
    for _, folder in folders:
        digests, _ = _sums_of(folder)
        lacking = {SUMS, SIGNATURE, TOMBSTONE, TOMBSTONE + ".sig", ARCHIVED if ARCHIVED in digests else RUN_JSON}
        wanted = {*OUTSIDE_SUMS, *digests} if folder.name in whole else lacking
        (tree.records / folder.name).mkdir()
        for name in sorted(wanted):
            if is_plain(folder / name):
                shutil.copy2(folder / name, tree.records / folder.name / name)
        if folder.name in whole:
            lines += [f"{digests[name]}  records/{folder.name}/{name}" for name in digests if is_plain(folder / name)]
    for path in (own.ledger, own.signers):
        if is_plain(path):
            shutil.copy2(path, tree.root / path.name)
    for path in (own.rotations, own.witnesses, own.exceptions):
        _copy_plain(path, tree.root / path.name)
    _copy_reviews(tree, own, chosen)
    write_stock(tree)
    text = (
        f"# export {write_time(now)} {key.principal}\n# chosen {chosen.said(len(folders))}\n" + "\n".join(lines) + "\n"
    )
    replace_file(tree.export, text.encode("ascii"))
    replace_file(
        tree.export.with_name(tree.export.name + ".sig"), signing.sign(text.encode(), key.path, EVIDENCE).encode()
    )
    replace_file(tree.root / "chosen.csv", _csv(chosen.records))
    replace_file(tree.root / "index.html", _page(tree, chosen, len(folders)).encode())


def _sums_of(folder: Path) -> tuple[dict[str, str], tuple[str, str] | None]:
    try:
        return read_sums(read_plain(folder / SUMS).decode("ascii"))
    except ValueError as cause:
        raise PlatformError(f"{folder.name}/{SUMS} cannot be read: {cause}.", next="runbook archive verify") from cause


def _copy_plain(folder: Path, to: Path) -> None:
    """Copy what people have signed; a link that was put there would carry another file's content out."""
    if folder.is_symlink() or not folder.is_dir():
        return
    to.mkdir()
    for path in sorted(folder.iterdir()):
        if is_plain(path, LARGEST_TEXT) and not path.name.startswith("."):
            shutil.copy2(path, to / path.name)


def refuse_inside_archive(place: Path) -> None:
    """Refuse a place within an archive, this home's or a copy: what lies there is verified, and nothing may be put in.

    Raises:
        OperatorError: it is within one.
    """
    for folder in (place.resolve(), *place.resolve().parents):
        if folder == Tree.own().root.resolve() or all(
            (folder / name).exists() for name in ("records", "VERIFY.md", "verify.sh")
        ):
            raise OperatorError(
                f"{place} lies in the archive {folder}, where nothing may be put in.",
                next="Name a place outside of it.",
            )


def _copy_reviews(tree: Tree, own: Tree, chosen: Chosen) -> None:
    for one in chosen.records:
        for path, _ in reviews_of(own, one.number):
            tree.reviews.mkdir(exist_ok=True)
            for file in (path, path.with_name(path.name + ".sig")):
                if is_plain(file, LARGEST_TEXT):
                    shutil.copy2(file, tree.reviews / file.name)


def _row(one: ListedRecord) -> tuple[str, ...]:
    record = one.record
    return (
        one.folder.name, str(record.verdict), record.runbook, record.target.name, record.target.environment,
        clock.stamp(record.started_at), clock.stamp(record.ended_at), record.operator,
        "yes" if record.satisfies_controls else "no", record.reason,
    )  # fmt: skip


def _csv(records: Sequence[ListedRecord]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    # A cell that begins with one of these is a formula to a spreadsheet.
    writer.writerows([f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell for cell in _row(one)] for one in records)
    return text.getvalue().encode()


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>Export of evidence</title><style>
:root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 70rem; padding: 0 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse } th, td { padding: .3rem .6rem; text-align: left; vertical-align: top;
border-bottom: 1px solid } td { overflow-wrap: anywhere; min-width: 6rem }
</style></head><body><main>
"""


def _page(tree: Tree, chosen: Chosen, total: int) -> str:
    """The index of the chosen: static, no script, no request."""
    rows = []
    for one in chosen.records:
        cells = _row(one)
        report = tree.records / one.folder.name / "report.html"
        name = html.escape(cells[0])
        link = (
            f'<a href="records/{name}/report.html">{name}</a>'
            if report.is_file()
            else f"{name} (payload deleted, see TOMBSTONE)"
        )
        rows.append("<tr><td>" + "</td><td>".join([link, *(html.escape(cell) for cell in cells[1:])]) + "</td></tr>")
    heads = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in COLUMNS)
    return (
        f"{_HEAD}<h1>Export of evidence</h1><p>{html.escape(chosen.said(total))}.</p>"
        '<p>To check it: <a href="VERIFY.md">VERIFY.md</a>. Of the records that were not chosen only the manifests are here.</p>'
        f'<div class="wide" role="region" aria-label="Chosen records" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>'
        f"{''.join(rows)}</tbody></table></div></main></body></html>\n"
    )


def _zip(root: Path, to: Path, now: datetime) -> None:
    moment = max(now, datetime(1980, 1, 1, tzinfo=now.tzinfo)).timetuple()[:6]
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(f"{root.name}/{path.relative_to(root)}", moment)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, (path.stat().st_mode & 0xFFFF) << 16
                archive.writestr(info, path.read_bytes())
