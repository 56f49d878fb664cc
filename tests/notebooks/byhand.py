"""Runs cells of a notebook one at a time in a kernel of its own, as a person does in JupyterLab: `byhand.py NOTEBOOK OUT ID…`."""

from __future__ import annotations

import json
import sys

import nbformat
from nbclient import NotebookClient


def main(path: str, out: str, *ids: str) -> None:
    """The cells have run in that order, each as often as it is named; prints what each showed, and saves the notebook."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True)
    shown = []
    with client.setup_kernel():
        for name in ids:
            index, cell = next((n, one) for n, one in enumerate(notebook.cells) if one.id == name)
            client.execute_cell(cell, index)
            shown.append(json.dumps(cell.outputs))
    nbformat.write(notebook, out)
    print(json.dumps(shown))


if __name__ == "__main__":
    main(*sys.argv[1:])
