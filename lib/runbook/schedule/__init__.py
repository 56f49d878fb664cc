"""Schedules: what a scheduler starts and when, as files for cron, systemd and Kubernetes."""
