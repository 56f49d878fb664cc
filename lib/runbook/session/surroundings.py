"""What executes this kernel, and where the executed notebook will be, as far as that can be told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: papermill 2.7's options that take values; the others are flags.
_TWO_VALUES = {"-p", "--parameters", "-r", "--parameters_raw"}
_ONE_VALUE = {
    "-f", "--parameters_file", "-y", "--parameters_yaml", "-b", "--parameters_base64", "-k", "--kernel",
    "-l", "--language", "--cwd", "--engine", "--autosave-cell-every", "--start-timeout", "--start_timeout",
    "--execution-timeout", "--stdout-file", "--stderr-file",
}  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """`started_by`: papermill, jupyterlab or notebook (something else). `executed` is a path, or None."""

    started_by: str
    executed: Path | None


def papermill_output(argv: Sequence[str], cwd: Path) -> Path | None:
    """The output path on papermill's command line; None when it has none (or it is standard output).

    >>> str(papermill_output(["papermill", "-p", "target", "sandbox", "in.ipynb", "--log-output", "out.ipynb"],
    ...                      Path("/home/dba")))
    '/home/dba/out.ipynb'
    """
    places = []
    words = iter(argv[1:])
    for word in words:
        if word in _TWO_VALUES:
            next(words, None)
            next(words, None)
        elif word in _ONE_VALUE:
            next(words, None)
        elif not word.startswith("-") or word == "-":
            places.append(word)
    if len(places) < 2 or places[1] == "-" or "{" in places[1] or "://" in places[1]:
        return None
    return cwd / places[1]


def _papermill_argv(argv: Sequence[str]) -> Sequence[str] | None:
    """The part of a process's argv from `papermill` on; None when it is no papermill command."""
    for index, word in enumerate(argv[:3]):
        if Path(word).name == "papermill" or (word == "papermill" and argv[index - 1] == "-m"):
            return argv[index:]
    return None


def look_around() -> Surroundings:
    """What executes this kernel."""
    session = os.environ.get("JPY_SESSION_NAME")
    if session and "jupyter" in " ".join(_parent_argv()[0]):
        return Surroundings("jupyterlab", Path(session))
    argv, cwd = _parent_argv()
    papermill = _papermill_argv(argv)
    if papermill is not None:
        return Surroundings("papermill", papermill_output(papermill, cwd) if cwd else None)
    return Surroundings("jupyterlab" if "jupyter" in " ".join(argv) else "notebook", None)


def _parent_argv() -> tuple[list[str], Path | None]:
    try:
        parent = psutil.Process(os.getppid())
        return parent.cmdline(), Path(parent.cwd())
    except psutil.Error:
        return [], None


def executed_inputs() -> list[str]:
    """The sources of the cells that this kernel has executed, this one last; empty outside IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return []
    return [str(source) for source in shell.user_ns.get("In", [])]


def executed_cells() -> list[str]:
    """The cells that this kernel has executed, this one last, as they were given: before IPython rewrites magics."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or shell.history_manager is None:
        return []
    return [str(source) for source in shell.history_manager.input_hist_raw[1:]]
