"""A run's kernel gets the target's secrets by name and nothing else of the operator's shell, and runs no file of the user's profile."""

from __future__ import annotations

import json
import sys

from house import CONCLUDE, PASSING, House

#: Each is a file that Python or IPython would run or import when it starts; it leaves a mark where it was.
PLANTED = (
    "profile/.ipython/profile_default/startup/00-mark.py",
    "profile/.ipython/profile_default/ipython_config.py",
    "profile/.jupyter/ipython_kernel_config.py",
    "ipython/profile_default/startup/00-mark.py",
    "ipython/profile_default/ipython_kernel_config.py",
    "jupyter/jupyter_config.py",
    "pythonpath/sitecustomize.py",
    "startup.py",
    # In the home itself, from where the kernel is started:
    "zmq.py",
    "runbook.py",
    "sitecustomize.py",
    "usercustomize.py",
    "colorsys.py",
    "ipython_config.py",
)
TELL = (
    "import json, os, sys, pathlib, colorsys, zmq\n"
    'facts = {"names": sorted(os.environ), "path": sys.path, "utf8": sys.flags.utf8_mode,\n'
    '         "files": [colorsys.__file__, zmq.__file__], "child": os.popen("env").read().split()}\n'
    'pathlib.Path("facts.json").write_text(json.dumps(facts))'
)


def test_kernel_runs_nothing_of_the_users_and_gets_no_secret_of_another_target(house: House) -> None:
    house.add_params(cluster="  connection: {env: SANDBOX_URL}\n")
    house.add_params(target="billing", environment="production", cluster="  connection: {env: BILLING_URL}\n")
    house.add_notebook("task", TELL, PASSING, CONCLUDE)
    for name in PLANTED:
        path = house.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import pathlib\npathlib.Path({str(path) + '.ran'!r}).touch()\n")
    home = house.home
    house.env = {
        "SANDBOX_URL": "postgres://nobody@127.0.0.1:1/none",
        "BILLING_URL": "postgres://app:hunter2hunter2@db/x",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIwJalrXUtnFEMI",
        "PGHOST": "db.example",
        "HOME": str(home / "profile"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter"),
        "PYTHONSTARTUP": str(home / "startup.py"),
        "LC_ALL": "C",
        "PYTHON": sys.executable,
    }
    program = [*_PROGRAM, str(home / "pythonpath")]
    result = house.runbook("run", "task", program=program)
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    ran = {str(path.relative_to(home)).removesuffix(".ran") for path in home.rglob("*.ran")}
    assert ran - {"pythonpath/sitecustomize.py"} == set(), (
        "the operator's own PYTHONPATH is the command's, not the kernel's"
    )
    facts = json.loads((home / "facts.json").read_text())
    names = set(facts["names"])
    assert {"SANDBOX_URL", "RUNBOOK_RUN", "RUNBOOK_HOME", "PATH"} <= names
    assert names & {"BILLING_URL", "AWS_SECRET_ACCESS_KEY", "PGHOST", "PYTHONPATH", "PYTHONSTARTUP"} == set()
    assert not [place for place in facts["path"] if place in ("", str(home)) or place.startswith(str(home))]
    assert not [file for file in facts["files"] if file.startswith(str(home))]
    assert facts["utf8"] == 1
    assert not (home / "profile" / ".ipython" / "profile_default" / "history.sqlite").exists()


#: The command with PYTHONPATH in its environment, as a careless shell profile sets it.
_PROGRAM = [
    "/bin/sh",
    "-c",
    'site="$1"; shift; cd /; PYTHONPATH="$site" exec "$PYTHON" -P -m runbook.cli.main "$@"',
    "sh",
]
