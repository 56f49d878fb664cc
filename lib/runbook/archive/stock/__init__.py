"""What an auditor needs to check an archive without this project: `VERIFY.md` and `verify.sh`, written into it."""

from __future__ import annotations

from functools import cache
from importlib import resources

from runbook.archive.keys import replace_file
from runbook.archive.tree import Tree

FILES = ("VERIFY.md", "verify.sh")


@cache
def stock_file(name: str) -> bytes:
    """The file as this version of the project writes it."""
    return resources.files(__name__).joinpath(name).read_bytes()


def write_stock(tree: Tree) -> None:
    """Both files are in the archive as this version has them. Safe twice."""
    for name in FILES:
        path = tree.root / name
        if not path.is_file() or path.read_bytes() != stock_file(name):
            replace_file(path, stock_file(name))
