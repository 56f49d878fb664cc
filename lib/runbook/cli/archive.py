"""`runbook archive …`: prove what the archive holds, have it witnessed and reviewed, index it, keep it as long as is due, hand it on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook import clock, layout
from runbook.cli.output import Listing, say, say_lines
from runbook.errors import OperatorError

if TYPE_CHECKING:
    from runbook.archive.folders import Looked
    from runbook.archive.verified import Verified

app = typer.Typer(
    name="archive", help="The evidence: verify, index, witness, review, prune, export.", no_args_is_help=True
)

#: So many problems are shown; the rest is counted.
_SHOWN = 50


@app.command()
def verify(
    path: Annotated[Path | None, typer.Argument(help="A copy of reports/; this home's without it.")] = None,
    signers: Annotated[
        Path | None, typer.Option(help="An allowed_signers file from elsewhere, believed instead of the archive's.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="A fingerprint of the runner's key, handed over on another way.")
    ] = None,
    witness: Annotated[list[Path] | None, typer.Option(help="A witness's file that was kept elsewhere.")] = None,
) -> int:
    """Prove that nothing in the archive was altered, removed or put in. Exit 0, 1 with problems, 4 when not signed."""
    from runbook.archive.verify import verify_archive

    found = verify_archive(
        path.expanduser().absolute() if path is not None else None,
        signers=signers.expanduser().absolute() if signers is not None else None,
        handed_over=tuple(key or ()),
        witnesses=[one.expanduser().absolute() for one in witness or ()],
    )
    return show_verified(found)


def show_verified(found: Verified) -> int:
    """Print problems, notes, and last what was proven and what was not. Returns the exit code."""
    for problem in found.problems[:_SHOWN]:
        say(f"BAD   [{problem.kind}] {problem}")
    if len(found.problems) > _SHOWN:
        say(f"BAD   … and {len(found.problems) - _SHOWN} more")
    for note in found.notes:
        say(f"NOTE  {note}")
    if found.keys:
        say(f"NOTE  Signed with {', '.join(found.keys)}: compare with the fingerprint that was handed over to you.")
    count = len(found.looked)
    if not found.witnessed:
        say("NOTE  No witness was given: the newest records are not provable. Times are claims of a machine's clock.")
    elif found.looked[-1].number > found.witnessed:
        say(
            f"NOTE  Records after {found.witnessed:06d} are newer than the witness: that they are all here is not provable."
        )
    if found.problems:
        say(f"FAIL: {len(found.problems)} problems in {count} records.")
        say("Next: keep this archive as it is, and compare it with a copy or a witness kept elsewhere.")
        return 1
    if not found.looked:
        say("The archive has no record yet.")
        return 0
    if not found.signed:
        say(f"UNSIGNED: {count} records fit together, and nothing proves who made them.")
        say("Next: the next run is signed; runbook doctor says whether it can be.")
        return 4
    head = found.looked[-1]
    say(
        f"OK: {count} records, {len(found.signed)} of them signed, up to {head.name}. Proven: without the runner's key "
        f"nothing from the first to the newest of them was altered, removed, reordered or put in. Not proven: {unproven(found)}."
    )
    say("Next: runbook archive witness")
    return 0


def unproven(found: Verified) -> str:
    """What no look at the archive's files can prove."""
    after = f"after {found.witnessed:06d} " if found.witnessed else ""
    newest = f"that the newest records {after}are all here"
    everything = [newest] if found.looked[-1].number > found.witnessed else []
    everything += ["what was not exported"] if found.is_export else []
    return ", ".join([*everything, "that the key is the runner's", "any time"])


@app.command()
def witness(
    key: Annotated[
        Path | None, typer.Option(help="A second person's SSH key, or the public half that an agent holds.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder outside the archive that gets a copy.")] = None,
) -> None:
    """Write down the newest record, for a second person to sign and for keeping where nobody here can reach it."""
    import shlex
    import shutil

    from runbook.archive import witness as witnesses
    from runbook.archive.export import refuse_inside_archive
    from runbook.archive.keys import WITNESS
    from runbook.archive.review import refuse_operator
    from runbook.archive.statements import person_of
    from runbook.archive.tree import Tree
    from runbook.archive.verify import verify_archive
    from runbook.session import identity

    if out is not None:
        if not out.expanduser().is_dir():
            raise OperatorError(f"{out} is no folder.", next=f"mkdir -p {shlex.quote(str(out))}")
        refuse_inside_archive(out.expanduser())
    found = verify_archive()
    path = witnesses.write_witness(found, f"{identity.operator()} on {identity.host()}")
    files = [path]
    if key is not None:
        person, _ = person_of(Tree.own(), key.expanduser(), WITNESS)
        refuse_operator(found.looked[-1].folder, person)
        witnesses.countersign(path, key.expanduser())
        say(f"Countersigned by {person}.")
    if (signature := path.with_name(path.name + ".sig")).is_file():
        files.append(signature)
    say_lines(path.read_text("utf-8").rstrip())
    for file in files:
        say(f"Written: {layout.short(file)}")
        if out is not None:
            shutil.copy2(file, out.expanduser() / file.name)
    say("Keep it where nobody who can write here can reach: by mail, in another repository, on a write-once store.")
    if key is None:
        say(f"A second person signs it with: ssh-keygen -Y sign -n runbook-witness -f KEY {layout.short(path)}")
    say(f"Next: runbook archive verify --witness {path.name}, with the file that was kept elsewhere")


@app.command()
def review(
    record: Annotated[int, typer.Argument(help="The record's number.")],
    key: Annotated[Path | None, typer.Option(help="Your SSH key; without it the reviews are listed.")] = None,
    accept: Annotated[bool | None, typer.Option("--accept/--reject", help="Your own verdict.")] = None,
    comment: Annotated[str, typer.Option(help="What you have looked at.")] = "",
    action: Annotated[str | None, typer.Option(help="A corrective action.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who sees to it.")] = None,
    due: Annotated[str | None, typer.Option(metavar="DATE", help="Until when: 2026-12-31.")] = None,
) -> None:
    """Sign what a second person thinks of a record; it stands beside the record, which never changes."""
    from runbook.archive.review import Corrective, reviews_of, write_review
    from runbook.archive.tree import Tree
    from runbook.session import identity

    looked = _record(record)
    if key is None:
        for path, said in reviews_of(Tree.own(), record):
            word = "accepted" if said.accepted else "rejected"
            say(f"{clock.stamp(said.at)}  {said.reviewer}  {word}  {said.comment}  ({layout.short(path)})")
            if said.action is not None:
                say(f"    to do: {said.action.what}, {said.action.owner}, until {said.action.due}")
        say(f"Next: runbook archive review {record} --key KEY --accept --comment TEXT")
        return
    if accept is None:
        raise OperatorError("Say --accept or --reject.", next=f"runbook archive review {record} --key KEY --accept")
    if len({value is None for value in (action, owner, due)}) != 1:
        raise OperatorError(
            "A corrective action has all three: --action, --owner and --due.", next="Give them together."
        )
    corrective = None
    if action is not None and owner is not None and due is not None:
        corrective = Corrective(what=action, owner=owner, due=_date(due))
    path, said = write_review(
        looked, key=key.expanduser(), accepted=accept, comment=comment, action=corrective, user=identity.operator()
    )
    say(f"{said.reviewer} has {'accepted' if said.accepted else 'rejected'} {said.record}: {layout.short(path)}")
    say("Next: runbook archive verify")


def _record(number: int) -> Looked:
    from runbook.archive.folders import look_at
    from runbook.archive.tree import Tree

    for found, folder in Tree.own().folders():
        if found == number:
            return look_at(folder)
    raise OperatorError(f"There is no record {number:06d}.", next="runbook runs")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise OperatorError(f"'{text}' is no date.", next="Write it as 2026-12-31.") from None


def _day(text: str) -> datetime:
    """A time with its zone, or a day in UTC."""
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        return clock.parse(text)


@app.command()
def prune(
    records: Annotated[list[int] | None, typer.Argument(help="Numbers; all whose time is over without them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would become of each record.")] = False,
) -> None:
    """Delete payloads whose retention has ended, behind signed tombstones; manifests and run.json stay for good."""
    from runbook.archive import retention
    from runbook.session import identity

    lines = retention.plan_pruning()
    chosen = retention.choose(lines, records or ())
    headings = ("No", "Record", "Rule", "Kept until (UTC)", "Payload", "Fate")
    table = Listing(f"Retention of {len(lines)} records, by params/controls.yaml", *headings)
    for line in lines if dry_run else chosen:
        rule = f"{line.rule.id}, {clock.human_days(line.rule.keep)}" if line.rule is not None else "–"
        until = f"{line.until:%Y-%m-%d %H:%M:%S}" if line.until is not None else "–"
        size = clock.human_bytes(line.size)
        table.add(f"{line.number:06d}", line.folder.name[7:], rule, until, size, str(line.fate))
    table.show()
    freed = clock.human_bytes(sum(line.size for line in chosen))
    if dry_run:
        say(f"{len(chosen)} payloads, {freed}, would be deleted. Nothing was.")
        say("Next: runbook archive prune" if chosen else "Next: runbook archive verify")
        return
    retention.prune(chosen, identity.operator())
    say(f"{len(chosen)} payloads, {freed}, were deleted; a signed tombstone stands in place of each.")
    say("Next: runbook archive verify")


@app.command()
def index() -> int:
    """Build the pages an auditor reads first: reports/index.html, and by month, runbook, target and control."""
    from runbook.runner.indexing import index_archive

    built = index_archive()
    say(f"{built.pages} pages of {built.records} records: {layout.short(built.front)}")
    if built.unreadable:
        say(f"BAD   {built.unreadable} records cannot be believed; the first page names them.")
        say("Next: runbook archive verify")
        return 1
    say(f"Next: open {layout.short(built.front)} in a browser")
    return 0


@app.command()
def export(
    to: Annotated[Path, typer.Argument(help="A new folder, or a file that ends with .zip.")],
    control: Annotated[str, typer.Option(help="The control that the records are for.")],
    begin: Annotated[str, typer.Option("--from", metavar="DAY", help="2026-01-01, or a time with its zone.")],
    end: Annotated[str, typer.Option("--to", metavar="DAY", help="Not included.")],
) -> int:
    """Hand on the chosen payloads in an archive that verifies alone: all manifests, keys, VERIFY.md, an index."""
    from runbook.archive.export import choose_records
    from runbook.archive.export import export as write_export
    from runbook.archive.verify import verify_archive

    chosen = choose_records(control, _day(begin), _day(end))
    place = write_export(chosen, to)
    say(f"{len(chosen.records)} records chosen: {place}")
    found = verify_archive(place if place.is_dir() else None)
    return show_verified(found)
