"""`runbook archive …`: prove what the archive holds, have it witnessed and reviewed, keep it as long as is due, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook.cli.output import say

if TYPE_CHECKING:
    from runbook.archive.verify import Verified

app = typer.Typer(name="archive", help="The evidence: verify, witness, review, prune, export.", no_args_is_help=True)

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
) -> int:
    """Prove that nothing in the archive was altered, removed or put in. Exit 0, 1 with problems, 4 when not signed."""
    from runbook.archive.verify import verify_archive

    found = verify_archive(
        path.expanduser().absolute() if path is not None else None,
        signers=signers.expanduser().absolute() if signers is not None else None,
        handed_over=tuple(key or ()),
    )
    return show_verified(found)


def show_verified(found: Verified) -> int:
    """Problems, notes and the sum of it are printed. Returns the exit code."""
    for problem in found.problems[:_SHOWN]:
        say(f"BAD   [{problem.kind}] {problem}")
    if len(found.problems) > _SHOWN:
        say(f"BAD   … and {len(found.problems) - _SHOWN} more")
    for note in found.notes:
        say(f"NOTE  {note}")
    if found.keys:
        say(f"NOTE  Signed with {', '.join(found.keys)}: compare with the fingerprint that was handed over to you.")
    say("NOTE  No witness was given: the newest records are not provable. Times are claims of this machine's clock.")
    count = len(found.looked)
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
    say(f"OK: {count} records, {len(found.signed)} of them signed, up to {head.name}.")
    say("Next: runbook archive witness")
    return 0
