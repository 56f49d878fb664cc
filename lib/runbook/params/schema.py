"""The schema of `params/<target>.yaml`. Paths are relative to the home unless absolute.

Durations are written `30 min`, `24 h`, `7 d` or as whole seconds; inside they are seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from runbook.model import Frozen

_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}


def seconds_of(value: object) -> object:
    """Whole or broken seconds from `90`, `"30 min"`, `"24 h"`, `"7 d"`.

    >>> seconds_of("30 min"), seconds_of(5)
    (1800.0, 5)
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h|d)\s*", value)
        if match is None:
            raise ValueError("write a duration as '45 s', '30 min', '24 h' or '7 d'")
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool):
        raise ValueError("write a duration as '45 s', '30 min', '24 h' or '7 d'")
    return value


#: Longer than anything is kept or waited for, and short enough for every clock and timer.
CENTURY = 100 * 366 * 86400.0
Duration = Annotated[float, BeforeValidator(seconds_of), Field(gt=0, le=CENTURY)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
#: Variables of our own environment that a command gets: names, never values.
EnvNames = tuple[EnvName, ...]
#: What a target may be named.
TARGET_NAME = r"^[a-z0-9][a-z0-9-]*$"
Argv = Annotated[tuple[str, ...], Field(min_length=1)]


class Strict(Frozen):
    """No coercion between types: `port: "5432"` is refused, not guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Secret(Strict):
    """Where a secret's value is found: the name of an environment variable, or a file only its owner reads."""

    env: EnvName | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("name either an environment variable (env) or a file (file)")
        return self


class WalArchive(Strict):
    """Archived WAL: a directory of segments, or a command that fetches one (`%f` its name, `%p` where to put it).

    `env`: environment variables that its commands get besides the usual ones.
    """

    directory: str | None = None
    fetch_command: Argv | None = None
    list_command: Argv | None = None
    fetch_timeout: Duration = 60.0
    env: EnvNames = ()

    @model_validator(mode="after")
    def _one_way(self) -> WalArchive:
        if (self.directory is None) == (self.fetch_command is None):
            raise ValueError("give either directory or fetch_command")
        if self.fetch_command is not None:
            line = " ".join(self.fetch_command)
            if "%f" not in line or "%p" not in line:
                raise ValueError("fetch_command must contain %f (the segment's name) and %p (where to put it)")
        return self


class Service(Strict):
    """How the service manager starts, stops and looks at the server: argv lists, no shell. `env`: variables that they get."""

    start: Argv | None = None
    stop: Argv | None = None
    status: Argv | None = None
    env: EnvNames = ()


class Cluster(Strict):
    """A cluster whose files are within reach. `log_files`: patterns of the server's log files, rotated and gzipped ones too.

    `reader`: the connection of the role that reads tables, `reader_role` (see `runbook doctor`); without it `connection` reads.
    """

    data_directory: str | None = None
    bin_directory: str | None = None
    config_files: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] = ()
    log_files: tuple[str, ...] = ()
    backup_folder: str
    wal_archive: WalArchive
    service: Service = Service()
    connection: Secret | None = None
    superuser: str = "postgres"
    reader: Secret | None = None
    reader_role: str = "runbook_reader"
    os_user: str | None = None
    databases: tuple[str, ...] | None = None


class Supabase(Strict):
    """A project behind the Management API."""

    project_ref: Annotated[str, Field(pattern=r"^[a-z]{20}$")]
    access_token: Secret
    connection: Secret | None = None


class Budgets(Strict):
    """What the organisation promised; the source says where the promise stands."""

    rto: Duration
    rpo: Duration
    source: str


class Verification(Strict):
    """What a backup verification does beside the checks every database gets.

    `scratch_user`: the operating-system user who runs the scratch server, when root verifies: a system user who owns nothing of
    production. Default: `runbook-scratch` if there is such a user, else a user id that no account has.
    """

    scratch: str | None = None
    scratch_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]*\$?$")] | None = None
    database: str | None = None
    suites: tuple[str, ...] = ()
    skip_checks: tuple[str, ...] = ()
    thresholds: dict[str, float] = Field(default_factory=dict)
    required_extensions: tuple[str, ...] = ()
    required_roles: tuple[str, ...] = ()
    preload_libraries: tuple[str, ...] = ()
    replay_stall_timeout: Duration = 120.0
    check_timeout: Duration = 6 * 3600.0


class Http(Strict):
    """An HTTP call; a bearer token travels by name."""

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    token: Secret | None = None
    timeout: Duration = 30.0


class Hook(Strict):
    """A command or an HTTP call of the operator's. `env`: environment variables that the command gets besides the usual ones."""

    command: Argv | None = None
    http: Http | None = None
    timeout: Duration = 60.0
    env: EnvNames = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Hook:
        if (self.command is None) == (self.http is None):
            raise ValueError("give either command or http")
        if self.http is not None and self.env:
            raise ValueError("env is for a command; an HTTP call gets its token by http.token")
        return self


class Hooks(Strict):
    """What the surroundings offer: each is optional, and a run says which were not there.

    `ha_pause` keeps the manager of a highly available cluster from starting, stopping or failing over; `expiry_freeze`
    keeps backups and archived WAL from being expired; `log_watch` looks at the application's start after a recovery.
    `on_waiting`, `on_fail` and `on_finish` are called when an attempt of any runbook ends: at a gate, with FAIL, and always (for a
    dead-man's switch, whose alarm is silence). Each may be called again after a crash, so each must be safe twice.
    """

    maintenance_on: Hook | None = None
    maintenance_off: Hook | None = None
    ha_pause: Hook | None = None
    ha_resume: Hook | None = None
    expiry_freeze: Hook | None = None
    expiry_thaw: Hook | None = None
    status_page: Hook | None = None
    smoke_tests: tuple[Hook, ...] = ()
    log_watch: Hook | None = None
    on_waiting: Hook | None = None
    on_fail: Hook | None = None
    on_finish: Hook | None = None


class Recovery(Strict):
    """What a point-in-time recovery does in this organisation.

    `quiet_for`: how long WAL must show no unexplained commit before writes are said to have stopped. `archive_timeout`: how
    long the tail of WAL, and later the new timeline's history, may take to reach the archive. `location`: the folder that
    holds the restored copy (default: beside the data directory, so that the swap is a rename). `move_first_to`: a folder on
    another disk; production's files are moved there first when there is no room for the copy. `personal_data`: keep, hash,
    mask or drop, by "table.column" or "*.column". `spot_checks`: suites of SQL check files that are shown as spot checks. `owners`: who does what
    within 24 hours (postmortem, retention, monitoring, lessons). `application_role`: the role as which the application logs in: rows are
    copied back with its settings, so that triggers find what they name (default: those of the table's owner).
    """

    quiet_for: Duration = 10.0
    archive_timeout: Duration = 120.0
    location: str | None = None
    move_first_to: str | None = None
    personal_data: dict[str, str] = Field(default_factory=dict)
    spot_checks: tuple[str, ...] = ()
    owners: dict[str, str] = Field(default_factory=dict)
    application_role: str | None = None


class Retention(Strict):
    """How long things must be kept, by the organisation's own rules.

    `since`: the day from which on they are kept; without it the day on which the system was made, as its identifier tells.
    """

    backups: Duration
    transaction_logs: Duration
    audit_logs: Duration
    source: str
    since: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None


class Approvals(Strict):
    """Who may approve a gate, and how many different people besides the operator it takes.

    People are principals of an OpenSSH allowed_signers file (default: `allowed_signers` beside the params files; in the
    sandbox one with practice keys). `approvers` limits them. `operators` says which principal an operating-system
    user is, so that nobody approves their own run. `break_glass`: whether an operator may pass a gate alone in an
    emergency, to be countersigned later.
    """

    needed: Annotated[int, Field(ge=1)] = 1
    approvers: tuple[str, ...] = ()
    valid_for: Duration = 4 * 3600.0
    allowed_signers: str | None = None
    operators: dict[str, str] = Field(default_factory=dict)
    break_glass: bool = True


class Threshold(Strict):
    """Another figure than a check file's own, and who says so."""

    value: Annotated[float, Field(ge=0)]
    source: str


class Inspection(Strict):
    """How a living server is looked at.

    `connection`: a role of its own, at best with pg_monitor alone; without it `cluster.reader`, then `cluster.connection`. `databases`: those that are looked
    at, by default all that accept connections. `statement_timeout`: of each check. `thresholds`: by name, over those that the check
    files state.
    """

    connection: Secret | None = None
    databases: tuple[str, ...] | None = None
    skip_checks: tuple[str, ...] = ()
    statement_timeout: Duration = 20.0
    thresholds: dict[str, Threshold] = Field(default_factory=dict)


class Health(Inspection):
    """The daily look. `sample`: how long lies between the two readings of the counters."""

    sample: Duration = 5.0


class Leaver(Strict):
    """A person who has left, on which day, and the roles that were theirs."""

    person: Annotated[str, Field(min_length=1)]
    left: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    roles: Annotated[tuple[str, ...], Field(min_length=1)]


class Access(Inspection):
    """The quarterly access audit, by health's connection when there is none here.

    `leavers`: who has left; an empty list says that nobody has, none at all that nobody knows.
    """

    statement_timeout: Duration = 60.0
    leavers: tuple[Leaver, ...] | None = None


class Architecture(Strict):
    """What no database shows, as people declare it; 'none' and why, where there is none.

    `backup_retention`: what the provider's plan keeps. `cross_region_export`: where backups go outside of the region.
    """

    provider: str | None = None
    location: str | None = None
    instance_type: str | None = None
    pooler: str | None = None
    backup_method: str | None = None
    backup_frequency: str | None = None
    backup_retention: Duration | None = None
    cross_region_export: str | None = None


class Params(Strict):
    """One target."""

    target: Annotated[str, Field(pattern=TARGET_NAME, max_length=100)]
    environment: Literal["sandbox", "staging", "production"]
    platform: Literal["cluster", "supabase"]
    cluster: Cluster | None = None
    supabase: Supabase | None = None
    budgets: Budgets
    verification: Verification = Verification()
    recovery: Recovery = Recovery()
    health: Health = Health()
    access: Access = Access()
    architecture: Architecture = Architecture()
    hooks: Hooks = Hooks()
    retention: Retention | None = None
    approvals: Approvals = Approvals()

    @model_validator(mode="after")
    def _platform_is_described(self) -> Params:
        if getattr(self, self.platform) is None:
            raise ValueError(f"platform is {self.platform}, so the section '{self.platform}:' is due")
        return self
