"""What a child process gets of our environment: an allow-list, in one place.

Everything else (other targets' connection strings, cloud tokens, PYTHONPATH, LD_PRELOAD, libpq's PG* variables) stays here. What a
target's hooks and commands need besides is named in its params (`env: [NAME, …]`), and so are the variables that hold its secrets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from runbook import layout
from runbook.errors import ParamsError

#: For every child: name → why it needs it.
_EVERY: dict[str, str] = {
    "PATH": "programs are found by it",
    "HOME": "ssh-keygen, service managers and fetch commands keep their settings there",
    "USER": "programs that ask who runs them",
    "LOGNAME": "the same; getpass asks it first",
    "SUDO_USER": "who the operator is behind sudo",
    "TMPDIR": "where temporary files may be large",
    "TZ": "local times; commands of ours get UTC",
    "LANG": "the character set of names; commands of ours get LC_ALL=C",
    "LC_ALL": "the same",
    "LC_CTYPE": "the same",
    "XDG_RUNTIME_DIR": "systemctl --user finds its manager there",
    "DBUS_SESSION_BUS_ADDRESS": "the same",
    "RUNBOOK_HOME": "a runbook command finds the same home",
    "RUNBOOK_PG_USER": "and the same user for PostgreSQL",
    layout.RUN_MARK: "the processes of a run are found by it",
    layout.PRODUCTION_MARK: "a server that is production is left alone by it",
    "PYTHONFAULTHANDLER": "a program of ours that hangs says where when it is aborted",
}
#: For what calls others over the network: kernels, and the process that sends messages.
_NETWORK: dict[str, str] = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"), "the way out of a closed network"),
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "no_proxy"), "the same, as most programs write it"),
    "SSL_CERT_FILE": "the certificates that the organisation trusts",
    "SSL_CERT_DIR": "the same",
    "REQUESTS_CA_BUNDLE": "the same, for apprise",
}
#: For ssh-keygen when it signs.
_SIGNING: dict[str, str] = {
    "SSH_AUTH_SOCK": "the agent that holds the private key",
    "SSH_ASKPASS": "the window that asks for a passphrase or a PIN",
    "SSH_ASKPASS_REQUIRE": "whether it is used",
    "SSH_SK_PROVIDER": "the library of a hardware key",
    "DISPLAY": "where that window is shown",
    "WAYLAND_DISPLAY": "the same",
    "TERM": "the terminal that it asks at",
}
#: For JupyterLab, which opens a browser.
_DESKTOP: dict[str, str] = {
    "BROWSER": "the browser that people want",
    "DISPLAY": "where it is shown",
    "WAYLAND_DISPLAY": "the same",
    "XAUTHORITY": "the right to show it",
    "TERM": "JupyterLab's terminals",
}

#: libpq's variables that were taken out of our own environment, should params name one.
_taken: dict[str, str] = {}


def drop_libpq() -> None:
    """No connection of ours is led elsewhere by a variable that params do not name: PGHOST, PGSERVICE, PGOPTIONS and the like are out
    of this process's environment. Safe twice."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        _taken[name] = os.environ.pop(name)


def value_of(name: str) -> str | None:
    """A variable that params name."""
    return os.environ.get(name, _taken.get(name))


def for_child(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment of a child: what every child gets, and these; None takes a variable out."""
    home = {"RUNBOOK_HOME": str(layout.home())} if "RUNBOOK_HOME" in os.environ else {}  # absolute: a child starts in /
    return _chosen(_EVERY, {**home, **(extra or {})})


def for_network() -> dict[str, str | None]:
    """Additions for a child that calls others over the network."""
    return _found(_NETWORK)


def for_signing() -> dict[str, str | None]:
    """Additions for ssh-keygen when it signs."""
    return _found(_SIGNING)


def for_desktop() -> dict[str, str | None]:
    """Additions for a program that opens windows."""
    return _found(_DESKTOP)


def named(names: Iterable[str], what: str) -> dict[str, str | None]:
    """The variables that params name for a command.

    Raises:
        ParamsError: one is not set.
    """
    chosen: dict[str, str | None] = {}
    for name in names:
        value = value_of(name)
        if value is None:
            raise ParamsError(f"The environment variable {name} ({what}.env) is not set.", next=f"export {name}=…")
        chosen[name] = value
    return chosen


def for_kernel(folder: str, run_id: str | None, names: Iterable[str]) -> dict[str, str]:
    """The environment of a run's kernel: no start-up file, extension or module of the user's is found by it.

    Args:
        folder: a private folder for the settings that IPython and Jupyter would read from the user's profile.
        names: variables that hold the target's secrets, or that its commands need; those that are not set are left out.
    """
    private = {
        "IPYTHONDIR": f"{folder}/ipython",
        "JUPYTER_CONFIG_DIR": f"{folder}/jupyter",
        "JUPYTER_DATA_DIR": f"{folder}/data",
        "JUPYTER_RUNTIME_DIR": folder,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",  # nothing is imported from the folder that a program is started in
        "PYTHONUTF8": "1",  # files are UTF-8 whatever the locale
    }
    secrets = {name: value_of(name) for name in names}
    # A run that a hook of another run has started is no production: it must end with its own run.
    marks: dict[str, str | None] = {layout.PRODUCTION_MARK: None, "RUNBOOK_HOME": str(layout.home())}
    if run_id is not None:
        marks[layout.RUN_MARK] = run_id
    return _chosen(_EVERY, {**for_network(), **secrets, **private, **marks})


def python_argv(module: str, *words: str) -> list[str]:
    """Return the command line of a module of ours; it imports nothing from the folder that it is started in, nor from the user's site."""
    return [sys.executable, "-P", "-s", "-m", module, *words]


def _found(names: Iterable[str]) -> dict[str, str | None]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _chosen(names: Iterable[str], extra: Mapping[str, str | None] | None) -> dict[str, str]:
    wanted = {**_found(names), **(extra or {})}
    return {name: value for name, value in wanted.items() if value is not None}
