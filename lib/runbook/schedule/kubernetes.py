"""Kubernetes: a CronJob for each job, and one persistent volume that a single pod may write, since a chain has one writer.

Its schedule has cron's trap: with day of month and day of week given it runs on either. So a pod starts on each of the first seven
days, and ends at once on those that are not the due one (`--only-on-day`).

Source: Kubernetes 1.34, CronJob (timeZone), Job (podFailurePolicy), volumes (ReadWriteOncePod).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from runbook.params.calendar import Calendar
from runbook.schedule.jobs import Job

HOME = "/var/lib/runbook"
CLAIM = "runbook-home"

_HEAD = """\
# Written by `runbook schedule export --format kubernetes`. kubectl apply -f {name}
# The image holds the checkout, PostgreSQL's programs and ssh-keygen, and runs as user 10001. The volume holds params/, reports/ and
# var/ of this home. The secret runbook-secrets, if there is one, becomes the environment.
"""


def kubernetes_files(jobs: Sequence[Job], image: str) -> dict[str, str]:
    """File name → content."""
    files = {"runbook-home.yaml": _write("runbook-home.yaml", _claim())}
    for job in jobs:
        name = f"runbook-{job.name}.yaml"
        files[name] = _write(name, cron_job(job, image))
    return files


def _write(name: str, content: dict[str, Any]) -> str:
    return _HEAD.format(name=name) + yaml.safe_dump(content, sort_keys=False, width=120)


def cron_fields(calendar: Calendar) -> str:
    """A superset of the due days, in the CronJob's own zone.

    >>> from runbook.params.calendar import read_calendar
    >>> cron_fields(read_calendar("quarter", "first Monday", "06:00", 1, "UTC"))
    '0 6 1-7 1,4,7,10 *'
    >>> cron_fields(read_calendar("day", "", "06:00", 1, "UTC"))
    '0 6 * * *'
    """
    if calendar.is_daily:
        return f"{calendar.at.minute} {calendar.at.hour} * * *"
    months = "*" if calendar.every == "month" else ",".join(str(month) for month in calendar.months)
    days = "1-7" if calendar.weekday is not None else str(calendar.day)
    return f"{calendar.at.minute} {calendar.at.hour} {days} {months} *"


def _claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "20Gi"}}},
    }


def cron_job(job: Job, image: str) -> dict[str, Any]:
    """The object."""
    labels = {"app.kubernetes.io/name": "runbook", "runbook/control": job.control.id, "runbook/target": job.target}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": f"runbook-{job.name}",
            "labels": dict(labels),
            "annotations": {"runbook/due": job.said},
        },
        "spec": {
            "schedule": cron_fields(job.control.calendar),
            "timeZone": job.control.calendar.zone.key,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": _job(job, image, labels)},
        },
    }


def _job(job: Job, image: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "activeDeadlineSeconds": job.deadline,
        "backoffLimit": 6,
        "podFailurePolicy": {
            "rules": [
                # A pod that was moved to another node did not fail: its successor resumes the run.
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                # A locked target (5) is tried again; any other code is an answer.
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "runbook", "operator": "NotIn", "values": [5]},
                },
            ]
        },
        "template": {"metadata": {"labels": labels}, "spec": _pod(job, image)},
    }


def _pod(job: Job, image: str) -> dict[str, Any]:
    return {
        # One name for all pods: only so is a run of a pod that has gone known to be dead.
        "hostname": "runbook",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
        "containers": [
            {
                "name": "runbook",
                "image": image,
                "command": ["runbook"],
                "args": [*job.argv, "--only-on-day"],
                "env": [{"name": "RUNBOOK_HOME", "value": HOME}],
                "envFrom": [{"secretRef": {"name": "runbook-secrets", "optional": True}}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "home", "mountPath": HOME}],
            }
        ],
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
