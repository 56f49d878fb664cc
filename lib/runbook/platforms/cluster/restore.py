"""A backup restored into a scratch, beside other work."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.copying import Progress
from runbook.platforms.cluster.restoring import restore_files
from runbook.platforms.cluster.scratch import Scratch


class Restore:
    """The files of one backup on their way into a scratch."""

    def __init__(self, scratch: Scratch, live: tuple[Path, ...], progress: Progress, timeout: float) -> None:
        self._scratch, self._live, self._progress, self._timeout = scratch, live, progress, timeout
        self._copy: Future[int] | None = None
        self._backup: Backup | None = None
        self.seconds = 0.0

    def begin(self, backup: Backup) -> None:
        """Copying has begun; `finish` waits for it."""
        self._backup = backup
        pool = ThreadPoolExecutor(1)
        self._copy = pool.submit(self._work, backup)
        pool.shutdown(wait=False)

    def _work(self, backup: Backup) -> int:
        began = time.monotonic()
        scratch = self._scratch
        done = restore_files(
            backup, scratch.folder, scratch.user, live=self._live, progress=self._progress, timeout=self._timeout
        )
        self.seconds = time.monotonic() - began
        return done

    def finish(self, backup: Backup) -> int:
        """The backup stands in the scratch; bytes. Another one that was begun is thrown away.

        Raises:
            BackupDamaged, RecoveryRefused, ScratchFull.
        """
        if self._backup is not backup:
            self.end()
            for name in ("data", "tablespaces"):
                shutil.rmtree(self._scratch.folder / name, ignore_errors=True)
            self._scratch.make_folders()
            self.begin(backup)
        assert self._copy is not None
        return self._copy.result()

    def end(self) -> None:
        """Nothing is written any more. The error of a copy that failed is raised by `finish`, not here."""
        if self._copy is not None and not self._copy.cancel():
            self._copy.exception(timeout=self._timeout)
