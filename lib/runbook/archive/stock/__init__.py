"""What an auditor needs to check an archive without this project: `VERIFY.md` and `verify.sh`, written into it.

`.gitattributes` keeps git from changing a byte of an archive that is committed: line ends, keywords, filters such as one that
strips the outputs of notebooks.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from runbook.archive.keys import replace_file
from runbook.archive.tree import Tree
from runbook.plain import is_plain

#: Its name in an archive, and here (where git would obey it).
FILES = {"VERIFY.md": "VERIFY.md", "verify.sh": "verify.sh", ".gitattributes": "gitattributes"}


@cache
def stock_file(name: str) -> bytes:
    """The file as this version of the project writes it."""
    return resources.files(__name__).joinpath(FILES[name]).read_bytes()


def write_stock(tree: Tree) -> None:
    """All of them are in the archive as this version has them. Safe twice."""
    for name in FILES:
        path = tree.root / name
        if not is_plain(path) or path.read_bytes() != stock_file(name):
            replace_file(path, stock_file(name))
