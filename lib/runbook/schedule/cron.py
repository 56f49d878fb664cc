"""Cron: a file for /etc/cron.d.

Cron takes day of month OR day of week when both are given, so that `0 3 1-7 * 0` runs on nine or more days; and its zone is the
machine's own (Debian's knows no CRON_TZ). So each line looks every quarter of an hour at the clock of the control's own zone:
all zones differ by quarters. Nothing but `date` starts at other times.

Source: crontab(5) of Debian's cron 3.0 and of cronie 1.7.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from runbook.params.calendar import Calendar
from runbook.schedule.jobs import Job, Place

NAME = "runbook"

_HEAD = """\
# Written by `runbook schedule export --format cron`. Install it as /etc/cron.d/{name} on the one host that writes this home's archive.
# Each line looks at the clock of its own zone every quarter of an hour: cron itself knows neither "first Sunday" nor the zone.
# One at a time; a deadline; a locked target (exit 5) is tried again until then; a run that broke off (exit 4) is resumed.
# A host that was off at the time starts nothing later: `runbook due` tells.
SHELL=/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
"""


def cron_files(jobs: Sequence[Job], place: Place) -> dict[str, str]:
    """File name → content."""
    lines = [f"# {job.said}\n{cron_line(job, place)}\n" for job in jobs]
    return {NAME: _HEAD.format(name=NAME) + "\n" + "\n".join(lines)}


def cron_line(job: Job, place: Place) -> str:
    """One line: five fields, the user, the command with each % escaped (cron would make it a new line)."""
    calendar = job.control.calendar
    minutes = ",".join(str(minute) for minute in sorted((calendar.at.minute + step) % 60 for step in (0, 15, 30, 45)))
    return f"{minutes} * * * * {place.user} " + command(job, place).replace("%", "\\%")


def command(job: Job, place: Place) -> str:
    """What the shell is given: nothing is done unless the moment is the due one."""
    calendar = job.control.calendar
    now = f'"$(TZ={shlex.quote(calendar.zone.key)} date +%m-%d-%u-%H%M)"'
    file = shlex.quote(place.environment_file)
    secrets = f"if [ -r {file} ]; then set -a; . {file}; set +a; fi"
    started = shlex.join([place.program, *job.argv, "--wait"])
    run = f"{secrets}; RUNBOOK_HOME={shlex.quote(place.home)} exec timeout -k 60 {job.deadline} {started}"
    return f"case {now} in {patterns(calendar)}) {run};; esac"


def patterns(calendar: Calendar) -> str:
    """Shell patterns for month, day, weekday, hour and minute.

    >>> from runbook.params.calendar import read_calendar
    >>> patterns(read_calendar("month", "first Sunday", "03:00", 1, "UTC"))
    '*-0[1-7]-7-0300'
    >>> patterns(read_calendar("half-year", "day 15", "06:30", 1, "UTC"))
    '01-15-*-0630|07-15-*-0630'
    >>> patterns(read_calendar("day", "", "06:00", 1, "UTC"))
    '*-*-*-0600'
    """
    at = f"{calendar.at:%H%M}"
    if calendar.is_daily:
        return f"*-*-*-{at}"
    day = f"{calendar.day:02d}-*" if calendar.weekday is None else f"0[1-7]-{calendar.weekday + 1}"
    months = ["*"] if calendar.every == "month" else [f"{month:02d}" for month in calendar.months]
    return "|".join(f"{month}-{day}-{at}" for month in months)
