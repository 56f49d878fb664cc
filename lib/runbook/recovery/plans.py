"""The plans that people approve in a recovery: to restore beside production, and each way on from the pause. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runbook.gates.plan import Action, Plan
from runbook.model import Check
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.postgres.wal import format_lsn
from runbook.recovery.planted import PLANTED

#: The ways on from the pause, with what each does.
WAYS = {
    "promote": "promote the restored copy and swap it in: all transactions behind the point are discarded",
    "copy-back": "keep production as it is and copy the rows that the damage took back into it",
    "later": "move the target later: the copy goes on from where it stands (value: a position or a time)",
    "earlier": "move the target earlier: this needs a new restore (value: a position or a time)",
    "back": "go back to the damaged cluster as it is: lift the lock-down, remove the copy",
}
#: What may follow from a promoted copy of which a check that was put off has not passed.
SWAPS = {
    "swap": "swap it in all the same: read-only at first, and it can be taken back until it is accepted",
    "back": "go back to the damaged cluster as it is: it starts again, the lock-down is lifted, the copy is kept",
}
#: What may be done about triggers, with what each means.
FIRING = {
    "fire": "all of them fire, as for any write of the application: they may change the rows, write elsewhere, or refuse",
    "leave-out": "some do not fire for these rows (value: tables or triggers as the table names them, separated by ';', or all)",
}
#: What may be done about sequences that a promotion rewinds.
NUMBERS = {
    "forward": "set them to the damaged cluster's last values before anybody is let in: no number is given out twice",
    "keep": "keep the copy's values: numbers that were given out since the point are given out again, to other rows",
}
#: Ways on that end the recovery: a plan for them is approved and carried out.
FINAL = ("promote", "copy-back", "back")
MOVES = ("later", "earlier")


def swaps_of(doubts: Sequence[Check]) -> dict[str, str]:
    """What may follow from a promoted copy: one with files that PostgreSQL does not make is refused by the swap itself."""
    is_planted = any(check.id == PLANTED for check in doubts)
    return {option: words for option, words in SWAPS.items() if not (is_planted and option == "swap")}


def plan_recovery(
    target: str,
    instance: str,
    point: RecoveryPoint,
    sentence: str,
    folder: str,
    why: str,
    commander: str,
    *,
    moved_to: str | None,
    damage: Sequence[str] = (),
) -> Plan:
    """Restore beside production and stop at the point; nothing of production is touched, but where space forces it.

    Args:
        instance: which instance this is: host, data directory, system identifier.
        sentence: the target in words. folder: where the copy will stand.
        why: the operator's rationale. commander: who leads the incident.
        moved_to: where production's files are moved first, since there is no room beside them.
        damage: the suspects that were chosen, in words.
    """
    moves: tuple[Action, ...] = ()
    if moved_to is not None:
        moves = (
            Action(what="Stop the damaged server by its service manager", undo="Start it again."),
            Action(
                what=f"Move production's files to {moved_to}: copied, read back, compared; then a link stands in their place",
                undo="Server down, and once there is room: copy them back in place of the link.",
            ),
            Action(what="Start the damaged server from there, closed as before", undo="Stop it."),
        )
    return Plan(
        title="Restore beside production, paused at the recovery point",
        target=target,
        actions=(
            *moves,
            Action(what=f"Copy base backup {point.backup} into {folder}", undo="Remove that folder."),
            Action(what="Verify every file against the backup's manifest, before any server touches it"),
            Action(
                what=f"Replay WAL of timeline {point.timeline} up to {format_lsn(point.reached)} and stay paused there, "
                "read-only, reachable by this run alone",
                undo="Stop that server; the damaged cluster's data has not been touched.",
            ),
            Action(what="Check the recovered data, and write down the rows that a recovery would discard"),
        ),
        blast_radius=(
            "Disk, memory and processor of this host while the copy is restored",
            "Production stays closed (lock-down) until a way on is chosen; "
            + ("its files are only read" if moved_to is None else "its files move once, as they are, to another disk"),
        ),
        reversible=True,
        undo="Choose the way 'back': the copy is removed and the lock-down is lifted.",
        facts={
            "instance": instance,
            "point": sentence,
            "position": format_lsn(point.gate) if point.gate is not None else "the archive's end",
            "timeline": point.timeline,
            "backup": point.backup,
            "rationale": why,
            **({"damage that is undone": list(damage)} if damage else {}),
            "incident commander": commander,
        },
    )


def plan_way(
    way: str,
    target: str,
    *,
    instance: str,
    point: RecoveryPoint,
    moves: Sequence[tuple[str, str]],
    discarded: str,
    copied: Mapping[str, Any],
    why: str,
    left: Sequence[str] = (),
    also_lost: Sequence[str] = (),
    prepared: Sequence[int] = (),
    triggers: Mapping[str, Sequence[str]] | None = None,
    sequences: Mapping[str, str] | None = None,
    forward: Sequence[str] = (),
) -> Plan:
    """The plan of a way that ends the recovery.

    Args:
        moves: what is renamed to what by a swap.
        discarded: the transactions that a promotion discards, in words.
        copied: facts of the copy-back: tables with their rows.
        why: the operator's reason.
        left: damage that a copy-back does not repair, and rows in conflict.
        also_lost: what a promotion empties or changes besides the transactions.
        prepared: transactions of the damage that come back as prepared ones.
        triggers: by table, the triggers that fire or are left out when rows are copied back.
        sequences: those that stand elsewhere in the damaged cluster, with both values and what becomes of them.
        forward: those that are set forward in the promoted copy.
    """
    common: dict[str, Any] = {"target": target}
    facts: dict[str, Any] = {"instance": instance, "position": format_lsn(point.reached), "reason": why}
    facts |= {"sequences": dict(sequences)} if sequences else {}
    if way == "promote":
        return Plan(
            **common,
            title="Promote the restored copy and swap it in",
            actions=(
                Action(what="Stop the damaged server by its service manager", undo="Start it again."),
                Action(what=f"Promote the copy at {format_lsn(point.reached)}, alone and with archiving held"),
                Action(
                    what="Check what could not be read while it was paused; ask before the swap unless all of it passes"
                ),
                *(
                    Action(
                        what=f"Roll back prepared transaction {xid} in the promoted copy: it is the damage, prepared before the point and "
                        "committed after it"
                    )
                    for xid in prepared
                ),
                *(
                    Action(what=f"Set sequence {name} of the promoted copy forward to the damaged cluster's last value")
                    for name in forward
                ),
                *(Action(what=f"Rename {old} to {new}", undo=f"Rename {new} to {old}") for old, new in moves),
                Action(what="Start production read-only by its service manager, closed to all but the operator"),
                Action(what="Let the application in, read-only, and run the smoke tests"),
                Action(what="Ask for acceptance; only then open for writes and release archiving"),
            ),
            blast_radius=(
                f"Discarded for good once accepted: {discarded}",
                *also_lost,
                "Replication slots are lost; standbys must be rebuilt; roles, passwords and jobs of the past come back",
            ),
            reversible=True,
            undo="Until it is accepted: answer 'back', and the damaged cluster stands where it stood. It is never deleted.",
            facts={**facts, "discarded": discarded, **({"lost besides": list(also_lost)} if also_lost else {})},
        )
    if way == "copy-back":
        return Plan(
            **common,
            title="Copy the rows that the damage took back into production",
            actions=(
                *(
                    Action(
                        what=f"Leave out triggers of {table}: disabled by ALTER TABLE in the transaction that writes its rows, and set back "
                        "before its COMMIT",
                        undo="A transaction that does not commit has not happened; nobody else sees them disabled.",
                    )
                    for table, said in sorted((triggers or {}).items())
                    if any(line.startswith("left out") for line in said)
                ),
                Action(what="Insert or set back these rows in one transaction a database, conflicts left as they are"),
                Action(what="Lift the lock-down and remove the restored copy"),
            ),
            blast_radius=(
                *(f"{table}: {said}" for table, said in sorted(copied.items())),
                *(f"Not repaired: {said}" for said in left),
                *(f"{table}: {line}" for table, said in sorted((triggers or {}).items()) for line in said),
                "Triggers that are not left out fire as for any other write: they may change the rows, write elsewhere, or refuse; what one "
                "that is left out does for the application does not happen for these rows",
                "Constraints, foreign keys and row-level security of production hold as for any other write",
            ),
            reversible=False,
            undo="The rows are committed; a further recovery to just before that commit takes them back.",
            facts={
                **facts,
                "rows": dict(copied),
                **({"triggers": {table: list(said) for table, said in triggers.items()}} if triggers else {}),
                **({"not repaired": list(left)} if left else {}),
            },
        )
    if way == "back":
        return Plan(
            **common,
            title="Go back to the damaged cluster as it is",
            actions=(
                Action(what="Remove the restored copy"),
                Action(what="Lift the lock-down: let the application in again"),
            ),
            blast_radius=("The damage stays; everything that was committed since stays too",),
            reversible=True,
            undo="Start a new recovery: backups and WAL have not been touched.",
            facts=facts,
        )
    raise ValueError(f"'{way}' needs no plan of its own")
