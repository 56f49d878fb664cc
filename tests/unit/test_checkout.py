"""A record names the commit that ran, or says what differed from it, or why nobody knows; git executes nothing for it."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from archivehouse import a_record
from runbook import layout
from runbook.model import CheckoutFacts
from runbook.report.view import checkout_text, key_facts, provenance
from runbook.session import fingerprints

DESCRIBE = (
    "import json; from runbook.session import checkout, fingerprints;"
    "print(json.dumps([checkout.describe(), fingerprints.library_sha256(), str(fingerprints.library())]))"
)


def git(top: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    argv = ["git", "-C", str(top), *identity, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of this project in which nothing differs. Leave it as it is."""
    top = tmp_path_factory.mktemp("committed") / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.egg-info")
    for name in ("lib", "notebooks", "sql", "params"):
        shutil.copytree(layout.CHECKOUT / name, top / name, ignore=unwanted)
    (top / ".gitignore").write_text("__pycache__/\nlocal_*\n")
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "all of it")
    return top


@pytest.fixture
def top(committed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(committed, tmp_path / "checkout", symlinks=True))


def look(top: Path, **environment: str) -> list[Any]:
    """Facts, and fingerprint and place of the library, as a process of that checkout says them."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RUNBOOK_", "GIT_"))}
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        env={**clean, "PYTHONPATH": str(top / "lib"), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True, text=True, check=True, cwd=top,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert isinstance(found, list) and found[2] == str(top / "lib" / "runbook")
    return found


def describe(top: Path, **environment: str) -> dict[str, Any]:
    return dict(look(top, **environment)[0])


def test_clean_checkout_names_its_commit(top: Path) -> None:
    assert describe(top) == {
        "commit": git(top, "rev-parse", "HEAD"), "modified": False, "differs": [], "differing_files": 0,
        "difference_sha256": None, "elsewhere": [], "unknown": None,
    }  # fmt: skip


def append(name: str) -> Callable[[Path], str]:
    def change(top: Path) -> str:
        with (top / name).open("a") as file:
            file.write("\n")
        return name

    change.__name__ = name.partition("/")[0]
    return change


def staged(top: Path) -> str:
    name = append("notebooks/04_backup_verification.ipynb")(top)
    git(top, "add", "-A")
    return name


def hidden_from_status(top: Path) -> str:
    name = append("lib/runbook/gates/rules.py")(top)
    git(top, "update-index", "--assume-unchanged", name)
    assert git(top, "status", "--porcelain") == ""
    return name


def untracked_module(top: Path) -> str:
    (top / "lib" / "sitecustomize.py").write_text("")
    return "lib/sitecustomize.py"


def ignored_check(top: Path) -> str:
    (top / "sql" / "verification" / "local_check.sql").write_text("SELECT 1")
    assert git(top, "status", "--porcelain") == ""
    return "sql/verification/local_check.sql"


def untracked_params(top: Path) -> str:
    (top / "params" / "new.yaml").write_text("")
    return "params/new.yaml"


def removed(top: Path) -> str:
    (top / "lib" / "runbook" / "redact.py").rename(top / "redact.py")
    (top / "lib" / "runbook" / "redact.py").symlink_to(top / "redact.py")
    return "lib/runbook/redact.py"


@pytest.mark.parametrize(
    "change",
    [
        append("notebooks/04_backup_verification.ipynb"), append("lib/runbook/model.py"), append("params/controls.yaml"),
        staged, hidden_from_status, untracked_module, ignored_check, untracked_params, removed,
    ],
)  # fmt: skip
def test_what_differs_is_named_and_hashed(top: Path, change: Callable[[Path], str]) -> None:
    name = change(top)
    found = describe(top)
    assert (found["modified"], found["differs"], found["differing_files"]) == (True, [name], 1)
    assert found["commit"] == git(top, "rev-parse", "HEAD") and len(found["difference_sha256"]) == 64
    with (top / name).open("a") as file:
        file.write("#")
    assert describe(top)["difference_sha256"] != found["difference_sha256"]


def test_configuration_of_the_repository_executes_nothing(top: Path) -> None:
    canary, program = top.parent / "canary", top.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    program.chmod(0o755)
    for name in (
        "core.fsmonitor", "filter.x.clean", "filter.x.process", "filter.x.smudge", "diff.external", "core.pager", "core.editor",
        "core.sshCommand", "credential.helper", "gpg.program", "uploadpack.packObjectsHook", "trace2.eventTarget",
    ):  # fmt: skip
        git(top, "config", name, str(program))
    git(top, "config", "alias.ls-tree", f"!{program}")
    git(top, "config", "alias.rev-parse", f"!{program}")
    git(top, "config", "core.hooksPath", str(top.parent))
    (top / ".git" / "info" / "attributes").write_text("* filter=x diff=x\n")
    canary.unlink(missing_ok=True)
    append("lib/runbook/model.py")(top)
    assert describe(top)["differs"] == ["lib/runbook/model.py"]
    assert not canary.exists()
    git(top, "status")
    assert canary.exists(), "the program would have been executed by git status"


def test_environment_names_no_other_repository(top: Path, tmp_path: Path) -> None:
    append("lib/runbook/model.py")(top)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    found = describe(
        top, GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other), GIT_OBJECT_DIRECTORY=str(other / ".git")
    )
    assert (found["modified"], found["unknown"]) == (True, None)


def test_forged_objects_of_the_commit_are_told(top: Path) -> None:
    name = append("lib/runbook/model.py")(top)
    commit, tree = git(top, "rev-parse", "HEAD"), git(top, "rev-parse", "HEAD^{tree}")
    git(top, "add", "-A")
    forged = git(top, "write-tree")
    git(top, "replace", tree, forged)
    assert describe(top)["differs"] == [name], "a replacement is not believed"
    git(top, "replace", "-d", tree)
    data = subprocess.run(["git", "-C", str(top), "cat-file", "tree", forged], capture_output=True, check=True).stdout
    path = top / ".git" / "objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"tree %d\0" % len(data) + data))
    assert sha1(b"tree %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == forged
    found = describe(top)
    assert found["modified"] is None
    assert commit[:12] in found["unknown"] or "hash mismatch" in found["unknown"], found["unknown"]


def test_what_is_not_known_says_why(top: Path, tmp_path: Path) -> None:
    assert describe(top, PATH=str(tmp_path))["unknown"] == "git is not installed"
    if os.geteuid() == 0:
        for path in (top, top / ".git"):
            os.chown(path, 65534, 65534)
        assert "dubious ownership" in describe(top)["unknown"]
        for path in (top, top / ".git"):
            os.chown(path, 0, 0)
    (top / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    assert describe(top)["unknown"]
    shutil.rmtree(top / ".git")
    found = describe(top)
    assert (found["commit"], found["modified"], found["unknown"]) == (None, None, "the library is in no git checkout")


def test_checkout_that_does_not_hold_the_library_names_no_commit(top: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    (outer / "mine").write_text("")
    git(outer, "add", "-A")
    git(outer, "commit", "-qm", "mine")
    shutil.rmtree(top / ".git")
    moved = Path(shutil.move(top, outer / "venv"))
    found = describe(moved)
    assert (found["commit"], found["modified"]) == (None, None)
    assert found["unknown"] == f"the checkout {outer} does not hold the library"


def test_fingerprint_covers_every_file_of_the_imported_library_by_its_path(top: Path) -> None:
    first = look(top)[1]
    assert first == look(top)[1]
    swapped = [top / "lib" / "runbook" / name / "__init__.py" for name in ("gates", "archive")]
    texts = [path.read_text() for path in swapped]
    assert texts[0] != texts[1]
    for path, text in zip(swapped, reversed(texts), strict=True):
        path.write_text(text)
    second = look(top)[1]
    assert second != first, "two files of one name were exchanged"
    template = next((top / "lib" / "runbook" / "report").rglob("*.j2"), None) or next(
        path for path in (top / "lib" / "runbook").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    )
    template.write_text(template.read_text() + " ")
    assert look(top)[1] != second
    assert fingerprints.library() == layout.CHECKOUT / "lib" / "runbook"


def test_report_says_that_the_checkout_was_modified() -> None:
    facts = CheckoutFacts(
        commit="c" * 40, modified=True, differs=("lib/x.py",), differing_files=3, difference_sha256="d" * 64
    )
    record = a_record(1, commit="c" * 40, checkout=facts)
    said = f"MODIFIED: 3 files differ from the commit (lib/x.py and 2 more); SHA-256 of the difference {'d' * 64}"
    assert checkout_text(record) == said
    assert {pair.name: pair.text for pair in provenance(record, 0)}["Checkout"] == said
    assert {pair.name: pair.text for pair in key_facts(record)}["Code"] == f"commit {'c' * 40}; {said}"
    clean = a_record(1, commit="c" * 40, checkout=CheckoutFacts(commit="c" * 40, modified=False, elsewhere=("params",)))
    assert checkout_text(clean) == "as committed; not in the checkout: params"
    assert "Code" not in {pair.name for pair in key_facts(clean)}
    unknown = a_record(1, checkout=CheckoutFacts(unknown="git is not installed"))
    assert checkout_text(unknown) == "not known whether it is as committed: git is not installed"


FOREIGN = "import runbook.clock; from runbook.session import fingerprints; print(fingerprints.foreign_bytecode())"


def test_byte_code_that_is_not_made_from_its_source_is_told(top: Path) -> None:
    def said() -> list[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RUNBOOK_", "PYTHON"))}
        environment = {**clean, "PYTHONPATH": str(top / "lib")}
        argv = [sys.executable, "-c", FOREIGN]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    assert [said(), said()] == [["()"], ["()"]], "compiled, and taken from the cache"
    source = top / "lib" / "runbook" / "clock.py"
    cached = Path(importlib.util.cache_from_source(str(source)))
    code = compile(source.read_text() + "\nprint('other code')\n", str(source), "exec")
    cached.write_bytes(cached.read_bytes()[:16] + marshal.dumps(code))
    assert said() == ["other code", "('clock.py',)"]
    source.write_text(source.read_text() + "\n# newer: Python compiles it\n")
    assert said() == ["()"]
