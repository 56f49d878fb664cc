"""A secret given by any route is found nowhere afterwards; a kernel listens on no TCP port."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote

import psutil
from house import CONCLUDE, House, finish, marked

CANARY = "k9&Zq'w/Lm2+xT7v"


def forms(secret: str) -> list[str]:
    """What the secret may look like in a file."""
    encoded = base64.b64encode(secret.encode()).decode()
    return [secret, html.escape(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], encoded]


def found_in(folder: Path, texts: list[str]) -> list[str]:
    needles = [text.encode() for text in texts]
    return [
        f"{path.relative_to(folder)}: {needle!r}"
        for path in folder.rglob("*")
        if path.is_file()
        for needle in needles
        if needle in path.read_bytes()
    ]


def leaky(house: House) -> None:
    house.add_notebook(
        "leaks",
        "import base64, os, sys, html, json, subprocess, logging\nfrom IPython.display import HTML, display\n"
        'secret = os.environ["RB_CANARY"]\nprint(secret)\nprint("to stderr", secret, file=sys.stderr)',
        "display(HTML(f'<b>{html.escape(secret)}</b><i title=\"{secret}\">x</i>'))\nsecret",
        'print(secret[:7], end="", flush=True)\nimport time; time.sleep(0.5)\nprint(secret[7:], flush=True)',
        "print(base64.b64encode(secret.encode()).decode())\n"
        'print(base64.b64encode(f"user:{secret}@x".encode()).decode(), json.dumps({"a": secret}))',
        'subprocess.run(["printenv", "RB_CANARY"])\nos.system("printenv RB_CANARY >&2")\n'
        'logging.getLogger().warning("secret %s", secret)',
        'run.limit(f"with {secret}")\nrun.fact("a", {secret: [secret]})\nrun.progress(secret, 1, 2, "rows")',
        'import ipywidgets\ndisplay(ipywidgets.HTML(value=f"<b>{secret}</b>"))',
        'def fail():\n    raise ValueError(f"cannot connect with {secret}")\nrun.step("Connect", fail)',
        CONCLUDE,
    )


def test_canary_printed_displayed_split_encoded_and_raised_is_found_nowhere(house: House) -> None:
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    house.env["RB_CANARY"] = CANARY
    leaky(house)
    result = house.runbook("run", "leaks")
    assert result.code == 4, result.stderr
    encoded = base64.b64encode(f"user:{CANARY}@x".encode()).decode()
    texts = [*forms(CANARY), encoded, CANARY[:7], CANARY[7:]]  # the halves, too: it was split
    assert found_in(house.home, texts) == []
    for text in texts:
        assert text not in result.stdout and text not in result.stderr
    assert "«secret RB_CANARY»" in (house.home / result.last["record"] / "executed.ipynb").read_text()
    assert "«secret RB_CANARY»" in result.last["reason"]


def test_canary_under_plain_papermill_is_found_nowhere(house: House) -> None:
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    house.env["RB_CANARY"] = CANARY
    house.add_notebook(
        "leaks",
        'import os\nsecret = os.environ["RB_CANARY"]\nprint(secret)\nsecret',
        'raise ValueError(f"cannot connect with {secret}")',
    )
    result = house.runbook("notebooks/01_leaks.ipynb", "out.ipynb", program=papermill())
    assert result.code != 0
    closed = house.runbook("close", house.runs()[0])
    assert closed.code == 4, closed.stderr
    assert found_in(house.home, forms(CANARY)) == []
    assert CANARY not in result.stdout + result.stderr + closed.stdout + closed.stderr


def papermill() -> list[str]:
    import sys

    return [sys.executable, "-m", "papermill", "--log-output"]


def test_secret_as_parameter_value_is_refused_and_not_repeated(house: House) -> None:
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    house.env["RB_CANARY"] = CANARY
    house.add_notebook("fine", CONCLUDE)
    for value in (CANARY, "postgres://app:hunter2hunter2@db/x"):
        for argv in (["-p", "point", value], ["-p", value, "1"], ["--target", value], ["--oops", value], [value]):
            result = house.inside("run", "fine", *argv)
            assert (result.code, result.last["verdict"]) == (2, "REFUSED"), (argv, result.stderr)
            assert value not in result.stdout and value not in result.stderr, argv
    assert found_in(house.home, [CANARY, "hunter2hunter2"]) == []


def test_secret_value_in_a_params_file_is_refused_with_its_line(house: House) -> None:
    house.add_params(more="hooks:\n  status_page: {http: {url: 'https://app:hunter2hunter2@status/x'}}\n")
    house.add_notebook("fine", CONCLUDE)
    result = house.inside("run", "fine")
    assert result.code == 2 and "params/sandbox.yaml:9" in result.last["reason"], result.stderr
    assert "hunter2hunter2" not in result.stdout + result.stderr


def test_secret_too_short_to_scrub_is_refused(house: House) -> None:
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    house.env["RB_CANARY"] = "short"
    house.add_notebook("fine", CONCLUDE)
    result = house.inside("run", "fine")
    assert result.code == 2 and "shorter than" in result.last["reason"]


def test_no_process_of_a_run_listens_on_tcp(house: House) -> None:
    house.add_notebook(
        "waits",
        "import time\nfrom pathlib import Path\n"
        'def wait():\n    Path("ready").touch()\n    while not Path("go").exists(): time.sleep(0.05)\n'
        'run.step("Wait", wait)',
        CONCLUDE,
    )
    runner = house.start("run", "waits")
    house.wait_for("ready")
    kernels = marked(house.home)
    assert len(kernels) == 1
    sockets = [
        connection
        for process in (psutil.Process(runner.pid), *kernels)
        for connection in process.net_connections(kind="inet")
    ]
    unix = kernels[0].net_connections(kind="unix")
    (house.home / "go").touch()
    assert finish(runner).code == 0
    assert sockets == []
    assert any("/rb-" in str(connection.laddr) for connection in unix)


def test_password_in_the_query_of_a_connection_and_its_halves_are_found_nowhere(house: House) -> None:
    """Halves in two cells, around standard error, and as shown values: no single message holds the whole."""
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    password = "Qx7%2Fw" + "8Rt5Kp9Z"
    house.env["RB_CANARY"] = f"postgresql://db.example/app?user=u&password={password}&port=1"
    house.add_notebook(
        "leaks",
        f'import sys\nhalf, rest = "Qx7/" + "w8R", "{password[-6:]}"\nprint(half, end="")',
        "print(rest)",
        'print(half, end="", flush=True)\nprint("between", file=sys.stderr, flush=True)\nprint(rest, flush=True)',
        "half",
        "print(rest)\nprint(half + rest)\nprint((half + rest).encode().hex().upper())",
        'run.fact("a", half + rest)',
        CONCLUDE,
    )
    result = house.runbook("run", "leaks")
    record = house.home / result.last["record"]
    whole = "Qx7/w8Rt5Kp9Z"
    texts = [*forms(whole), whole.encode().hex().upper(), password]
    assert found_in(house.home, texts) == []
    for name in ("executed.ipynb", "report.html"):
        assert (record / name).read_text().count("secret RB_CANARY") >= 5, name


def test_secret_that_others_saved_in_halves_is_scrubbed_in_their_file_when_the_run_is_closed(house: House) -> None:
    house.add_params(cluster="  connection: {env: RB_CANARY}\n")
    house.env["RB_CANARY"] = CANARY
    house.add_notebook(
        "leaks",
        'import os\nsecret = os.environ["RB_CANARY"]\nprint(secret[:7], end="")',
        "print(secret[7:])",
        'raise ValueError("stop")',
    )
    house.runbook("notebooks/01_leaks.ipynb", "out.ipynb", program=papermill())
    assert house.runbook("close", house.runs()[0]).code == 4
    assert (
        found_in(house.home, [CANARY[:7], CANARY[7:], *(json.dumps(one)[1:-1] for one in (CANARY[:7], CANARY[7:]))])
        == []
    )
