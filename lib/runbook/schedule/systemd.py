"""systemd: a timer and a service for each job.

`OnCalendar=Sun *-*-01..07 03:00:00 Europe/Berlin` means a Sunday AND one of the first seven days, in that zone.

Source: systemd.time(7), systemd.timer(5), systemd.service(5), version 252.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.params.calendar import WEEKDAYS, Calendar
from runbook.schedule.jobs import AGAIN_SECONDS, Job, Place

_SERVICE = """\
# Written by `runbook schedule export --format systemd`. Install both files in /etc/systemd/system on the one host that writes this
# home's archive, then: systemctl daemon-reload && systemctl enable --now {name}.timer
[Unit]
Description={description}
# A locked target (exit 5) is tried again, and nothing else; the run itself resumes what broke off (exit 4).
StartLimitIntervalSec={window}
StartLimitBurst={burst}

[Service]
# Not oneshot, whose restarts systemd refuses.
Type=exec
User={user}
WorkingDirectory={folder}
Environment={home}
EnvironmentFile=-{environment_file}
ExecStart={command}
Restart=no
RestartForceExitStatus=5
RestartSec={again}
RuntimeMaxSec={deadline}
TimeoutStopSec=60
KillMode=mixed
"""

_TIMER = """\
# Written by `runbook schedule export --format systemd`.
[Unit]
Description={description}

[Timer]
OnCalendar={calendar}
# A host that was off at the time starts it at its next boot.
Persistent=true
AccuracySec=1min

[Install]
WantedBy=timers.target
"""


def systemd_files(jobs: Sequence[Job], place: Place) -> dict[str, str]:
    """File name → content."""
    files = {}
    for job in jobs:
        name, description = f"runbook-{job.name}", job.said.replace("%", "%%")
        files[f"{name}.service"] = _SERVICE.format(
            name=name,
            description=description,
            user=place.user,
            folder=place.home.replace("%", "%%"),
            home=quote(f"RUNBOOK_HOME={place.home}"),
            environment_file=place.environment_file.replace("%", "%%"),
            command=" ".join([quote(place.program), *(word.replace("%", "%%") for word in job.argv)]),
            again=AGAIN_SECONDS,
            window=job.deadline,
            burst=max(2, job.deadline // AGAIN_SECONDS),
            deadline=job.deadline,
        )
        files[f"{name}.timer"] = _TIMER.format(description=description, calendar=on_calendar(job.control.calendar))
    return files


def quote(word: str) -> str:
    """A word in a unit file: specifiers and variables are none of ours.

    >>> quote("/opt/run book/100%")
    '"/opt/run book/100%%"'
    """
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if text != word or " " in word or "'" in word else word


def on_calendar(calendar: Calendar) -> str:
    """The due times as systemd writes them.

    >>> from runbook.params.calendar import read_calendar
    >>> on_calendar(read_calendar("quarter", "first Monday", "06:00", 1, "Europe/Berlin"))
    'Mon *-01,04,07,10-01..07 06:00:00 Europe/Berlin'
    >>> on_calendar(read_calendar("day", "", "06:00", 1, "Europe/Berlin"))
    '*-*-* 06:00:00 Europe/Berlin'
    """
    if calendar.is_daily:
        return f"*-*-* {calendar.at:%H:%M}:00 {calendar.zone.key}"
    months = "*" if calendar.every == "month" else ",".join(f"{month:02d}" for month in calendar.months)
    if calendar.weekday is None:
        return f"*-{months}-{calendar.day:02d} {calendar.at:%H:%M}:00 {calendar.zone.key}"
    return f"{WEEKDAYS[calendar.weekday][:3]} *-{months}-01..07 {calendar.at:%H:%M}:00 {calendar.zone.key}"
