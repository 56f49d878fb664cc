"""Both sides of a copy-back: the living production and the restored copy, and what is known of the damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runbook.recovery.deletions import RowFates
from runbook.recovery.loss import Loss
from runbook.recovery.lossrows import Open
from runbook.recovery.remaking import SchemaDump
from runbook.recovery.writers import Writers


@dataclass(frozen=True)
class Sides:
    """Both servers, and what is known of the damage. `open_production` is the operator's way, `open_reader` the reader's."""

    loss: Loss
    fates: RowFates | None
    open_production: Open
    open_reader: Open
    open_restored: Open
    writers: Writers
    dump: SchemaDump
    progress: Callable[[str, int, int], None]
    #: Tables (`TableCopy.key`) and triggers (`copystints.trigger_key`) that do not fire while rows are written.
    leave_out: frozenset[str] = frozenset()
