"""Parts of the runner that need no kernel: signals, stamps, redaction, processes, the command line's pieces."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from runbook.cli.running import join_pairs, split_pairs, timeout_seconds
from runbook.disk import make_folder
from runbook.errors import ParamsError, PlatformError
from runbook.redact import Scrubber, scrubber
from runbook.runner import kernel, processes, stamps
from runbook.runner import signals as signals_module
from runbook.runner.interactive import lab_argv
from runbook.runner.kernel import kernel_argv
from runbook.runner.signals import Signals, Stopped
from runbook.session.notebook import Parameter
from runbook.session.redaction import scrubbing_pack
from runbook.session.values import check_type, refuse_set_back


def test_signal_before_arming_is_kept_and_a_second_one_is_ignored() -> None:
    with Signals(None) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="SIGTERM"):
            signals.arm()
        os.kill(os.getpid(), signal.SIGINT)
        signals.disarm()


def test_timer_stops_the_run_and_disarming_ends_it() -> None:
    with Signals(0.05) as signals, pytest.raises(Stopped, match=r"0\.05 s"):
        signals.arm()
        time.sleep(5)
    with Signals(0.05) as signals:
        signals.arm()
        signals.disarm()
        time.sleep(0.1)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals(None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def code_cell(papermill: dict[str, Any] | None, execution: dict[str, Any], **more: Any) -> Any:
    cell = nbformat.v4.new_code_cell("1", **more)
    if papermill is not None:
        cell.metadata["papermill"] = papermill
    cell.metadata["execution"] = execution
    return nbformat.from_dict(cell)


REPLY = {"shell.execute_reply": "t"}
ERROR = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])


@pytest.mark.parametrize(
    ("cell", "over", "interrupted", "state"),
    [
        (code_cell({"start_time": None, "status": "completed"}, {}), True, False, "not run"),
        (code_cell({"start_time": "t", "status": "completed"}, REPLY), True, False, "done"),
        (code_cell({"start_time": "t", "status": "completed"}, {}), True, False, "failed"),
        (code_cell({"start_time": "t", "status": "completed"}, {}), True, True, "interrupted"),
        (code_cell({"start_time": "t", "status": "running"}, {}), False, False, "running"),
        (code_cell({"start_time": "t", "exception": True}, REPLY), True, False, "failed"),
        (code_cell({"start_time": "t"}, REPLY, outputs=[ERROR]), True, False, "failed"),
        (code_cell(None, {}), True, False, "not run"),
        (code_cell(None, {}, execution_count=3), True, False, "done"),
        (code_cell(None, {}, execution_count=3, outputs=[ERROR]), True, False, "failed"),
    ],
)
def test_state_of_a_cell_follows_from_what_the_kernel_answered(
    cell: Any, over: bool, interrupted: bool, state: str
) -> None:
    stamps.stamp_cell(cell, over=over, interrupted=interrupted)
    assert cell.metadata["runbook"]["state"] == state
    assert cell.metadata["papermill"]["status"] != "completed" or state == "done"


def test_secret_split_over_two_messages_is_scrubbed_when_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubber, "_forms", {})
    monkeypatch.setattr(scrubber, "_pattern", None)
    scrubber.register("DB", "hunter2hunter2")
    notebook = nbformat.v4.new_notebook()
    streams = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("a hunter2", "hunter2 b")]
    notebook.cells = [nbformat.v4.new_code_cell("1", outputs=streams)]
    stamps.save_notebook(notebook, tmp_path / "x.ipynb")
    text = (tmp_path / "x.ipynb").read_text()
    assert "hunter2" not in text and "a «secret DB» b" in text
    nbformat.validate(nbformat.read(tmp_path / "x.ipynb", as_version=4))


def test_packed_message_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubber, "_forms", {})
    monkeypatch.setattr(scrubber, "_pattern", None)
    scrubber.register("DB", "hunter2hunter2")
    packed = scrubbing_pack(lambda content: repr(content).encode())({"traceback": ["x hunter2hunter2"]})
    assert packed == b"{'traceback': ['x \xc2\xabsecret DB\xc2\xbb']}"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "\n", "@host"])
def test_secret_is_scrubbed_from_base64_wherever_it_stands(before: str, after: str) -> None:
    import base64

    own = Scrubber()
    own.register("DB", "hunter2-hunter2?")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(f"{before}hunter2-hunter2?{after}".encode()).decode()
        assert own.holds(f"Authorization: Basic {encoded}")


def test_processes_of_a_run_are_found_by_their_mark_and_production_is_spared() -> None:
    marked = {**os.environ, "RUNBOOK_RUN": "r-test-1"}
    argv = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
    ]
    stubborn = subprocess.Popen(argv, env=marked, start_new_session=True, stdout=subprocess.PIPE)
    production = subprocess.Popen(["sleep", "60"], env={**marked, "RUNBOOK_PRODUCTION": "1"})
    other = subprocess.Popen(["sleep", "60"], env={**marked, "RUNBOOK_RUN": "r-test-2"})
    try:
        assert stubborn.stdout is not None and stubborn.stdout.readline() == b"1\n"
        assert processes.end_processes("r-test-1", grace_seconds=0.3) == 1
        assert not psutil.pid_exists(stubborn.pid)  # it ignored SIGTERM
        assert (production.poll(), other.poll()) == (None, None)
    finally:
        for process in (stubborn, production, other):
            process.kill()
            process.communicate()


def test_scratch_is_removed_only_with_the_runs_own_label(tmp_path: Path) -> None:
    labels = {
        "mine": '{"run": "r1"}',
        "theirs": '{"run": "r2"}',
        "torn": '{"run": "r1"',
        "kept": '{"run": "r1"}',
        "asked": '{"run": "r1", "keep": true}',
    }
    for name, label in labels.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "scratch.json").write_text(label)
    (tmp_path / "bare").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    paths = [str(tmp_path / name) for name in ("link", "mine", "theirs", "torn", "kept", "asked", "bare", "gone")]
    assert processes.remove_scratch("r1", paths[:1]) == []
    assert (tmp_path / "mine").is_dir()
    assert processes.remove_scratch("r1", paths, kept=[str(tmp_path / "kept")]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked", "bare", "kept", "link", "theirs", "torn"]


def test_kernel_folder_is_private_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    folder = make_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 30
    finally:
        folder.rmdir()


def test_argv_of_kernel_and_lab_are_ipc_and_loopback() -> None:
    assert kernel_argv(Path("/tmp/rb-1/k.json"))[1:6] == ["-P", "-s", "-m", "runbook.runner.kernelapp", "-f"]
    argv = lab_argv(Path("/home/x/executed-1.ipynb"), browser=False)
    assert {"--ServerApp.ip=127.0.0.1", "--KernelManager.transport=ipc", "--no-browser"} <= set(argv)


def test_pairs_survive_any_value_and_a_lone_name_is_refused() -> None:
    joined = join_pairs(["run", "x", "-p", "a", "--b=c d", "--parameter", "e", ""])
    assert split_pairs([joined[3], joined[5]]) == [("a", "--b=c d"), ("e", "")]
    with pytest.raises(ParamsError, match="a name and a value"):
        join_pairs(["run", "x", "-p", "a"])


@pytest.mark.parametrize("text", ["soon", "-5", "0", "1 week"])
def test_timeout_that_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="--timeout"):
        timeout_seconds(text)


def test_stop_that_a_finalizer_swallows_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals_module, "_AGAIN_SECONDS", 0.05)
    swallowed = []

    class Swallows:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            swallowed.append(1)

    monkeypatch.setattr(sys, "unraisablehook", swallowed.append)
    with Signals(None) as signals:
        signals.arm()
        with pytest.raises(Stopped, match="SIGTERM"):
            Swallows()
            time.sleep(5)
        signals.disarm()
    assert isinstance(swallowed[0].exc_value, Stopped)


def test_streams_in_many_pieces_are_joined_at_once() -> None:
    notebook = nbformat.v4.new_notebook()
    pieces = [nbformat.v4.new_output("stream", name="stdout", text="x" * 8192) for _ in range(6000)]
    notebook.cells = [nbformat.v4.new_code_cell("1", outputs=pieces)]
    began = time.process_time()
    stamps.join_streams(notebook)
    assert time.process_time() - began < 2  # piece by piece it takes a minute: each one copies all before it
    assert [len(output.text) for output in notebook.cells[0].outputs] == [8192 * 6000]


def test_end_of_what_a_kernel_writes_is_kept_and_no_more() -> None:
    tail = kernel._Tail()
    writer = subprocess.Popen(["sh", "-c", "yes filling | head -c 3000000; echo the end"], stdout=tail.writing)
    tail.begin()
    writer.wait()
    assert tail.read().endswith(b"the end\n") and len(tail.read()) <= 2000


def test_folder_for_sockets_is_in_tmpdir_where_tmp_takes_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = tempfile.mkdtemp

    def refusing(prefix: str, dir: str) -> str:
        if dir == "/tmp":
            raise OSError(errno.EROFS, "Read-only file system")
        return real(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refusing)
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    folder = make_folder()
    folder.rmdir()
    assert folder.parent == Path("/var/tmp")
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix, dir: refusing(prefix, "/tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(PlatformError, match=r"/tmp: Read-only file system; .*long: its path is too long") as caught:
        make_folder()
    assert str(caught.value.next).startswith("export TMPDIR=")


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), 2**63, 10**5000, "caf\udce9", "a\0b", [1, float("inf")]],
    ids=["nan", "inf", "65 bits", "5001 digits", "bytes", "NUL", "inside"],
)
def test_value_that_neither_journal_nor_server_can_hold_is_refused(value: Any) -> None:
    default: Any = type(value)()
    with pytest.raises(ParamsError, match="'limit'"):
        check_type(value, Parameter("limit", default, "", None, 1), "x.ipynb")


def test_value_that_a_later_cell_sets_back_is_refused() -> None:
    cells = ["rows = 3", "# Parameters\nrows = 7\n", "rows = 3"]
    refuse_set_back(cells[:2], {"rows": 7}, "x.ipynb")
    with pytest.raises(ParamsError, match="'rows'"):
        refuse_set_back(cells, {"rows": 3}, "x.ipynb")
