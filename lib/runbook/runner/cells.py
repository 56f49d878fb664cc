"""The cells of a notebook executed, with an honest record of what ran and atomic, redacted saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager

from runbook.params.variables import all_variables
from runbook.runner.kernel import Kernel
from runbook.runner.stamps import save_notebook, stamp_cell, stamp_notebook
from runbook.session.outputs import CUT_NOTE, MOST, CellOutputs

#: The kernel itself cuts at `MOST` and says so: here is room for that.
_MOST = MOST + 4096


class TruthfulRecord(NotebookExecutionManager):  # type: ignore[misc]  # papermill has no types
    """The notebook while it is executed. Every save is atomic, scrubbed, and says the truth about every cell."""

    interrupted = False
    output_path: str | None

    def save(self, **kwargs: Any) -> None:
        if self.output_path:
            save_notebook(self.nb, Path(self.output_path))
        self.last_save_time = self.now()

    def notebook_start(self, **kwargs: Any) -> None:
        self._quietly(super().notebook_start, **kwargs)
        stamp_notebook(self.nb, over=False)
        self.save()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        self._quietly(super().cell_start, cell, cell_index, **kwargs)
        if cell.cell_type == "code":
            stamp_cell(cell, over=False, interrupted=False)
            self.save()

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        self._quietly(super().cell_complete, cell, cell_index, **kwargs)
        if cell.cell_type == "code":
            stamp_cell(cell, over=True, interrupted=self.interrupted)
            self.save()

    def notebook_complete(self, **kwargs: Any) -> None:
        self._quietly(super().notebook_complete, **kwargs)
        stamp_notebook(self.nb, over=True, interrupted=self.interrupted)
        self.save()

    def _quietly(self, method: Any, *args: Any, **kwargs: Any) -> None:
        """papermill's own part, without its save: it would write stamps that are not true yet."""
        path, self.output_path = self.output_path, None
        try:
            method(*args, **kwargs)
        finally:
            self.output_path = path


class TruthfulClient(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """Executes the cells on a kernel that is already running, and leaves its end to whoever started it.

    Args:
        kernel: it is interrupted before anything is saved when the run is stopped, and told of outputs that are not kept.
    """

    def __init__(self, record: TruthfulRecord, kernel: Kernel, **named: Any) -> None:
        super().__init__(record, **named)
        self._used = kernel
        self._written = CellOutputs(_MOST)

    def execute(self, **kwargs: Any) -> Any:
        self.reset_execution_trackers()
        with self.setup_kernel(cleanup_kc=False):
            try:
                self.papermill_execute_cells()
                self.set_widgets_metadata()
            finally:
                self.kc.stop_channels()
        return self.nb

    def papermill_execute_cells(self) -> None:
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            self._written = CellOutputs(_MOST)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as cause:
                self.nb_man.cell_exception(cell, cell_index=index, exception=cause)
                return
            except (KeyboardInterrupt, SystemExit):
                self._used.interrupt()  # first: whatever the cell writes while it goes on would have to be saved, too
                self.nb_man.interrupted = True
                raise
            except (CellTimeoutError, DeadKernelError):
                self._used.interrupt()
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take a message from the kernel, unless it is output beyond what is kept of a cell."""
        was_cut = self._written.is_cut
        kept = self._written.take(msg["header"]["msg_type"], msg["content"])
        if self._written.is_cut and not was_cut:  # a kernel that has opened its run cuts before; this one has not
            self._used.cut_cells += 1
            cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text=CUT_NOTE))  # type: ignore[no-untyped-call]
        return super().process_message(msg, cell, cell_index) if kept else None


class TruthfulCells(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """What `TruthfulEngine` does its work with."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: Any = False,
        log_output: bool = False,
        autosave_cell_every: int = 0,
        *,
        save_to: Path | None = None,
        kernel: Kernel | None = None,
        **kwargs: Any,
    ) -> Any:
        """The notebook has been executed as far as it went.

        Args:
            save_to: where it is saved, cell by cell; default: the output path.
            kernel: a running kernel; without one it is started here, and ended.

        Raises:
            DeadKernelError: the kernel died.
            CellTimeoutError: a cell took too long.
        """
        own = kernel is None
        used = kernel or Kernel(None, all_variables())
        record = TruthfulRecord(
            nb, output_path=str(save_to or output_path or "") or None, progress_bar=False, log_output=log_output
        )
        record.autosave_cell_every = 0  # every cell is saved; a save in the middle of messages gains nothing
        record.notebook_start()
        try:
            TruthfulClient(
                record,
                used,
                km=used.manager(),
                kernel_name=kernel_name,
                startup_timeout=kwargs.get("start_timeout", 60),
                timeout=kwargs.get("execution_timeout"),
                log_output=log_output,
            ).execute()
        except (KeyboardInterrupt, SystemExit):
            record.interrupted = True
            raise
        finally:
            record.notebook_complete()
            if own:
                used.ask_to_end()
                used.end(grace_seconds=5)
        return record.nb
