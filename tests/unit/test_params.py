"""A params file is either right, or refused with the file, the line and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from runbook import layout
from runbook.errors import ParamsError
from runbook.params import load_params, parse_params
from runbook.params.controls import load_controls
from runbook.params.loading import resolve_secret, resolve_time
from runbook.params.schema import Secret

SOUND = """\
target: sandbox
environment: sandbox
platform: cluster
cluster:
  data_directory: var/sandbox/data
  backup_folder: var/sandbox/backups
  wal_archive:
    directory: var/sandbox/archive
  connection:
    file: var/sandbox/connection
budgets:
  rto: 30 min
  rpo: 15 min
  source: source runbook, section 3
hooks:
  maintenance_on:
    command: [/usr/local/bin/maintenance, begin]
    timeout: 1 min
"""


def refused(text: str) -> str:
    """What the refusal of that text says."""
    with pytest.raises(ParamsError) as caught:
        parse_params(text, "params/sandbox.yaml")
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert SOUND.count(old) == 1
    return SOUND.replace(old, new)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_sound_file_gives_durations_in_seconds() -> None:
    params = parse_params(SOUND, "params/sandbox.yaml")
    assert params.budgets.rto == 1800.0
    assert params.cluster is not None
    assert params.cluster.wal_archive.fetch_timeout == 60.0


_NO_TARGETS = {"contacts", "controls"}


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in (layout.CHECKOUT / "params").glob("*.yaml")} - _NO_TARGETS)
)
def test_shipped_file_loads_and_names_no_unknown_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOK_HOME", raising=False)
    params = load_params(name)
    assert params.target == params.environment == name
    assert params.budgets.source


def test_shipped_controls_keep_audit_logs_for_a_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOK_HOME", raising=False)
    rules = {rule.id: rule for rule in load_controls().retention}
    assert rules["audit-logs"].keep == 365 * 86400


def test_shipped_targets_are_the_three_environments() -> None:
    names = {path.stem for path in (layout.CHECKOUT / "params").glob("*.yaml")}
    assert {"sandbox", "staging", "production"} <= names


@pytest.mark.parametrize(
    ("old", "new", "key", "hint"),
    [
        ("platform: cluster", "platfrom: cluster", "platfrom", "did you mean 'platform'?"),
        ("  backup_folder:", "  backup_foler:", "cluster.backup_foler", "did you mean 'backup_folder'?"),
        ("    directory:", "    directroy:", "cluster.wal_archive.directroy", "did you mean 'directory'?"),
        ("    timeout:", "    tiemout:", "hooks.maintenance_on.tiemout", "did you mean 'timeout'?"),
        ("  rto:", "  zzz:", "budgets.zzz", "valid names: rpo, rto, source"),
    ],
)
def test_misspelt_key_is_named_with_its_line_and_the_nearest(old: str, new: str, key: str, hint: str) -> None:
    text = changed(old, new)
    line = line_of(text, new.strip())
    assert f"params/sandbox.yaml:{line}: unknown key '{key}'; {hint}" in refused(text)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("  rto: 30 min", "  rto: 30 minutes", "budgets.rto"),
        ("  rto: 30 min", "  rto: true", "budgets.rto"),
        ("  rto: 30 min", "  rto: -5", "budgets.rto"),
        ("target: sandbox", "target: 17", "target"),
        ("target: sandbox", "target: My Server", "target"),
        ("environment: sandbox", "environment: sandpit", "environment"),
        (
            "    command: [/usr/local/bin/maintenance, begin]",
            "    command: maintenance begin",
            "hooks.maintenance_on.command",
        ),
        ("    file: var/sandbox/connection", "    env: 9LIVES", "cluster.connection.env"),
    ],
)
def test_wrong_type_or_value_is_named_with_its_line(old: str, new: str, key: str) -> None:
    text = changed(old, new)
    said = refused(text)
    assert f"params/sandbox.yaml:{line_of(text, new.strip())}: '{key}'" in said
    assert "Next: " in said


def test_missing_key_is_named() -> None:
    said = refused(changed("  source: source runbook, section 3\n", ""))
    assert "the key 'budgets.source' is missing" in said
    assert f":{line_of(SOUND, 'budgets:')}:" in said


def test_platform_without_its_section_is_refused() -> None:
    assert "section 'supabase:' is due" in refused(changed("platform: cluster", "platform: supabase"))


def test_duplicated_key_is_refused_with_its_second_line() -> None:
    text = SOUND + "budgets:\n  rto: 1 h\n"
    line = len(text.splitlines()) - 1
    assert f"params/sandbox.yaml:{line}: the key 'budgets' stands twice." in refused(text)


@pytest.mark.parametrize("value", ["2025-09-07 14:30:00", "2025-09-07T14:30:00", '"2025-09-07 14:30"'])
def test_naive_time_is_refused_wherever_it_stands(value: str) -> None:
    text = changed("source: source runbook, section 3", f"source: {value}")
    said = refused(text)
    assert f"params/sandbox.yaml:{line_of(text, value)}: the time in 'budgets.source' has no time zone" in said


def test_aware_time_is_accepted() -> None:
    parse_params(changed("source: source runbook, section 3", "source: 2025-09-07T14:30:00Z"), "x")


@pytest.mark.parametrize(
    "value",
    [
        "postgres://app:hunter2hunter2@db.example/x",
        "host=db password=hunter2hunter2",
        "host=db password='hunter2hunter2'",
        "postgresql://db/x?sslpassword=hunter2hunter2",
        "sbp_0123456789abcdef0123456789abcdef01234567",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_secret_value_is_refused_and_not_repeated(value: str) -> None:
    text = changed("    file: var/sandbox/connection", f'    file: "{value}"')
    said = refused(text)
    assert (
        f"params/sandbox.yaml:{line_of(text, value)}: the value of 'cluster.connection.file' looks like a secret"
        in said
    )
    assert value not in said
    assert "env: or file:" in said


@pytest.mark.parametrize("text", ["target: [", "target: 'x", "a: b: c"])
def test_what_is_not_yaml_is_refused_with_its_line(text: str) -> None:
    assert "params/sandbox.yaml:1: not YAML" in refused(text)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_empty_file_is_refused(text: str) -> None:
    assert "the file is empty" in refused(text)


@pytest.mark.parametrize("text", ["- target: sandbox\n", "sandbox\n"])
def test_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert "params/sandbox.yaml:1:" in refused(text)


def test_fetch_command_without_its_placeholders_is_refused() -> None:
    text = changed("    directory: var/sandbox/archive", "    fetch_command: [/usr/local/bin/fetch-wal]")
    assert "must contain %f" in refused(text)


def test_archive_with_two_ways_or_none_is_refused() -> None:
    both = changed("    directory: var/sandbox/archive", '    directory: a\n    fetch_command: [f, "%f", "%p"]')
    assert "give either directory or fetch_command" in refused(both)
    assert "give either directory or fetch_command" in refused(
        changed("    directory: var/sandbox/archive", "    fetch_timeout: 5 s")
    )


def test_unknown_target_is_refused_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "sandbox.yaml").write_text(SOUND)
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    with pytest.raises(ParamsError, match="did you mean 'sandbox'"):
        load_params("sandbx")


def test_file_that_describes_another_target_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "staging.yaml").write_text(SOUND)
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    with pytest.raises(ParamsError, match="describes the target 'sandbox', not 'staging'"):
        load_params("staging")


def test_secret_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    file = tmp_path / "connection"
    file.write_text("host=/tmp/rb-sandbox dbname=dealerscope\n")
    file.chmod(0o644)
    with pytest.raises(ParamsError, match="readable by others"):
        resolve_secret(Secret(file="connection"), "cluster.connection")
    file.chmod(0o600)
    assert resolve_secret(Secret(file="connection"), "cluster.connection") == "host=/tmp/rb-sandbox dbname=dealerscope"


def test_unset_secret_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEALERSCOPE_STAGING_URL", raising=False)
    with pytest.raises(ParamsError, match="DEALERSCOPE_STAGING_URL"):
        resolve_secret(Secret(env="DEALERSCOPE_STAGING_URL"), "cluster.connection")


@pytest.mark.parametrize("text", ["2025-09-07 14:30:00", "yesterday", "2999-01-01T00:00:00Z", "24 hours"])
def test_naive_future_or_unreadable_recovery_point_is_refused(text: str) -> None:
    with pytest.raises(ParamsError):
        resolve_time(text)


def test_every_shipped_example_is_commented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DBA copies these files: each section says what it is for."""
    for name in ("staging", "production"):
        text = (layout.CHECKOUT / "params" / f"{name}.yaml").read_text()
        for key in yaml.safe_load(text)["cluster"]:
            lines = text.splitlines()
            at = next(number for number, line in enumerate(lines) if line.startswith(f"  {key}:"))
            near = [line.strip() for line in (*lines[max(0, at - 2) : at], *lines[at + 1 : at + 2])]
            assert any(line.startswith("#") for line in near) or key in ("superuser",), f"{name}: {key}"
