"""The settings of a scratch server: nothing of production's configuration, only what a standby must not have below its primary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Settings that a standby must not have below the primary's, by pg_controldata's names.
_AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
_OWN_CONNECTIONS = 20
#: What ALTER ROLE or ALTER DATABASE may have set, beside what every session pins, and a superuser's session of ours must not have: it
#: would hide damage, load libraries, speak another language, or not be possible in recovery.
_SESSION = {
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "session_preload_libraries": "",
    "temp_file_limit": "-1",
    "lc_messages": "C",
}
_SESSION_17 = {"transaction_timeout": "0", "event_triggers": "off"}


def scratch_settings(
    control: Mapping[str, str],
    raised: Mapping[str, int],
    *,
    major: int,
    timeline: str,
    socket: Path,
    port: int,
    preload_libraries: tuple[str, ...],
    buffers_mib: int,
) -> dict[str, str]:
    """Every setting of a scratch's postgresql.conf. Pure.

    Inherited targets, commands, libraries and addresses are how a scratch would reach out; they are all set to
    nothing.

    Args:
        control: pg_controldata's lines.
        raised: highest values that WAL sets on the way to the point, by setting.
        timeline: the one to follow, explicitly (`target_timeline`): `latest` would follow a later recovery.
        buffers_mib: shared_buffers; measured: replaying 1.9 GB of WAL takes 34 s with 256 MB, 12 s with 1 GB, 14 s with 3 GB (more pages to zero).
    """
    floors = {name: max(int(control.get(key, "0")), raised.get(name, 0)) for key, name in _AT_LEAST.items()}
    floors["max_connections"] = max(floors["max_connections"], _OWN_CONNECTIONS)
    segment_megabytes = int(control.get("Bytes per WAL segment", "0")) >> 20
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket),
        "port": str(port),
        "hot_standby": "on",
        "recovery_target_timeline": timeline,
        "restore_command": "",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "archive_cleanup_command": "",
        "recovery_end_command": "",
        # Off, not merely held: this cluster never becomes production, and its history must not reach the archive.
        "archive_mode": "off",
        "shared_preload_libraries": ",".join(preload_libraries),
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "max_logical_replication_workers": "0",
        "synchronous_standby_names": "",
        "autovacuum": "off",
        "ssl": "off",
        # Durability is not wanted here: a crashed scratch is thrown away.
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "wal_recycle": "off",
        "wal_init_zero": "off",
        "wal_retrieve_retry_interval": "100ms",
        # Full-page images make it useless, and it looks every block up once more.
        "recovery_prefetch": "off",
        "max_wal_size": "8GB",
        "min_wal_size": f"{max(80, 2 * segment_megabytes)}MB",  # less than two segments is refused
        "checkpoint_timeout": "1h",
        "shared_buffers": f"{buffers_mib}MB",
        "max_standby_archive_delay": "-1",
        "max_standby_streaming_delay": "-1",
        "jit": "off",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "lc_messages": "C",
        **{name: str(value) for name, value in floors.items()},
    }
    if "pg_stat_statements" in preload_libraries:
        settings["pg_stat_statements.track"] = (
            "none"  # a copy that becomes production brings no statement of ours along
        )
    if major >= 17:
        settings |= {"event_triggers": "off", "summarize_wal": "off"}
    return settings


def target_timeline(timeline: int, stage: Path) -> str:
    """The timeline to follow, in decimal digits: PostgreSQL reads 010 as octal. `current`, the backup's own, where its history file is
    missing from the stage: its number is refused then.

    >>> target_timeline(1, Path("/nowhere")), target_timeline(12, Path("/nowhere"))
    ('1', 'current')
    """
    return str(timeline) if timeline == 1 or (stage / f"{timeline:08X}.history").exists() else "current"


def session_settings(major: int) -> dict[str, str]:
    """Return the settings of a superuser's session in a scratch."""
    return _SESSION | (_SESSION_17 if major >= 17 else {})


def held_settings() -> dict[str, str]:
    """What a copy that may become production has otherwise than a scratch: it is durable, and its archiving waits."""
    return {
        # On, with nothing to archive by: the promotion's history file waits until archiving is released.
        "archive_mode": "on",
        "archive_command": "",
        "archive_library": "",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_recycle": "on",
        "wal_init_zero": "on",
    }


def buffers_for(available_bytes: int) -> int:
    """MiB of shared_buffers that a scratch takes of the memory that is free: production may live on the same host.

    >>> buffers_for(24 << 30), buffers_for(512 << 20), buffers_for(1 << 40)
    (1228, 128, 8192)
    """
    return min(max(available_bytes // 20 >> 20, 128), 8192)


def render_conf(settings: Mapping[str, str]) -> str:
    """postgresql.conf's text.

    >>> render_conf({"a": "it's"})
    "a = 'it''s'\\n"
    """
    return "".join("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in settings.items())
