"""Params files from disk to `Params`, with errors that name file, line and the nearest valid name."""

from __future__ import annotations

import difflib
import re
import stat
import types
import typing
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from runbook import clock, environment, layout, redact, texts
from runbook.errors import ParamsError
from runbook.params import yamlfile
from runbook.params.schema import TARGET_NAME, Params, Secret
from runbook.params.yamlfile import Lines

#: Files in params/ that are about something else, and so no target's name.
NO_TARGETS = frozenset({"contacts", "controls"})
#: So many errors of one file are shown.
_SHOWN = 20
#: The most bytes of a secret's file.
_SECRET_BYTES = 64 << 10
_Model = typing.TypeVar("_Model", bound=BaseModel)


def _scan_values(value: Any, path: tuple[str | int, ...], lines: Lines, where: str) -> None:
    """Secret values and naive times are refused wherever they stand."""
    if isinstance(value, dict):
        for key, item in value.items():
            _scan_values(item, (*path, key), lines, where)
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _scan_values(item, (*path, index), lines, where)
        return
    line = _line_of(path, lines)
    name = ".".join(str(part) for part in path)
    if isinstance(value, str) and redact.looks_like_secret(value):
        raise ParamsError(
            f"{where}:{line}: the value of '{name}' looks like a secret; secrets travel by name only.",
            next="Put the value into an environment variable or a 0600 file, and name that here (env: or file:).",
        )
    if isinstance(value, (datetime, date)) or (isinstance(value, str) and _is_naive_time(value)):
        raise ParamsError(
            f"{where}:{line}: the time in '{name}' has no time zone.", next="Write it with Z or an offset."
        )


def _line_of(path: tuple[str | int, ...], lines: Lines) -> int:
    """The line of a path, or of the nearest one above it that has a line."""
    return next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 1)


def _is_naive_time(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return moment.tzinfo is None and ":" in text


def _model_at(root: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model whose fields stand at a path of the file."""
    model: type[BaseModel] | None = root
    for part in path:
        if isinstance(part, int):
            continue
        if model is None or part not in model.model_fields:
            return None
        model = _inner_model(model.model_fields[part].annotation)
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        for inner in typing.get_args(annotation):
            found = _inner_model(inner)
            if found is not None:
                return found
    return None


def nearest(name: str, valid: typing.Iterable[str]) -> str:
    """A hint with the nearest valid name, or all of them.

    >>> nearest("targt", ["target", "scratch"])
    "did you mean 'target'?"
    """
    names = sorted(valid)
    # A long name is near to none, and comparing it would take its length squared.
    close = [] if len(name) > 100 else difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "valid names: " + ", ".join(names)


def _explain(error: ValidationError, root: type[BaseModel], lines: Lines, where: str) -> ParamsError:
    messages = []
    found = error.errors(include_url=False, include_input=False, include_context=False)
    for item in found[:_SHOWN]:
        path = tuple(item["loc"])
        name = texts.cut(".".join(str(part) for part in path), 120) or "the file"
        line = _line_of(path, lines)
        if item["type"] == "extra_forbidden":
            owner = _model_at(root, path[:-1])
            hint = nearest(str(path[-1]), owner.model_fields if owner else [])
            messages.append(f"{where}:{line}: unknown key '{name}'; {hint}")
        elif item["type"] == "missing":
            messages.append(f"{where}:{line}: the key '{name}' is missing.")
        else:
            messages.append(f"{where}:{line}: '{name}': {item['msg']}.")
    if len(found) > _SHOWN:
        messages.append(f"{where}: {len(found) - _SHOWN} more errors.")
    return ParamsError("\n".join(messages), next="Correct the file and run the same command again.")


def parse_params(text: str, where: str) -> Params:
    """The params in a file's text.

    Args:
        text: YAML.
        where: the file's name as people should see it.

    Raises:
        ParamsError: unknown key, wrong type, naive time, secret value, not YAML; with file and line.
    """
    return parse_as(Params, text, where)


def parse_as(model: type[_Model], text: str, where: str) -> _Model:
    """What a file's text says, as a model; else as `parse_params`."""
    data, lines = yamlfile.read_yaml(text, where)
    _scan_values(data, (), lines, where)
    try:
        # JSON mode lets lists become tuples while types stay strict.
        return model.model_validate_json(_to_json(data))
    except ValidationError as cause:
        raise _explain(cause, model, lines, where) from None


def _to_json(data: Any) -> str:
    import json

    return json.dumps(data)


def read_as(model: type[_Model], path: Path) -> _Model:
    """What a YAML file says, as a model.

    Raises:
        ParamsError: it cannot be read, is not UTF-8, or is wrong; with file and line.
    """
    return parse_as(model, texts.read_utf8(path, yamlfile.LIMIT), layout.short(path))


def is_missing(path: Path) -> bool:
    """True when there is no such file; one that cannot be reached is left to whoever reads it, who says why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def load_params(target: str) -> Params:
    """The params of `params/<target>.yaml`.

    Raises:
        ParamsError: no such file (nearest names given), or the file is wrong.
    """
    path = layout.params() / f"{target}.yaml"
    if target in NO_TARGETS:
        raise ParamsError(f"params/{target}.yaml describes no target.", next="runbook list")
    if len(target) > 100 or re.fullmatch(TARGET_NAME, target) is None or is_missing(path):
        known = [found.stem for found in layout.params().glob("*.yaml") if found.stem not in NO_TARGETS]
        shown = texts.cut(target, 60)
        raise ParamsError(
            f"There is no target '{shown}': params/{shown}.yaml does not exist; {nearest(target, known)}",
            next="runbook list shows the targets.",
        )
    params = read_as(Params, path)
    if params.target != target:
        raise ParamsError(
            f"{layout.short(path)} describes the target '{params.target}', not '{target}'.",
            next=f"Rename the file to {params.target}.yaml or correct its 'target:'.",
        )
    return params


def resolve_secret(secret: Secret, what: str) -> str:
    """The secret's value; from now on it is scrubbed from everything that is kept.

    Raises:
        ParamsError: the variable is unset, or the file is missing or readable by others.
    """
    if secret.env is not None:
        value = environment.value_of(secret.env)
        if not value:
            raise ParamsError(
                f"The environment variable {secret.env} ({what}) is not set.", next=f"export {secret.env}=…"
            )
        if any("\udc80" <= letter <= "\udcff" for letter in value):
            raise ParamsError(
                f"The environment variable {secret.env} ({what}) is not UTF-8.", next=f"export {secret.env}=…"
            )
        redact.scrubber.register(secret.env, value)
        return value
    assert secret.file is not None
    value = _read_secret(layout.resolve(secret.file), f"The secret file {secret.file} ({what})", secret.file)
    redact.scrubber.register(Path(secret.file).name, value)
    return value


def _read_secret(path: Path, said: str, shown: str) -> str:
    """The file's text; nothing of it is in an error."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ParamsError(f"{said} is not a regular file.", next=f"ls -l {shown}")
        if status.st_mode & 0o077:
            raise ParamsError(
                f"{said} is readable by others (mode {status.st_mode & 0o777:o}).", next=f"chmod 600 {shown}"
            )
        if status.st_size > _SECRET_BYTES:
            raise ParamsError(f"{said} is larger than {clock.human_bytes(_SECRET_BYTES)}.", next=f"ls -l {shown}")
        return path.read_bytes().decode("utf-8").strip()
    except OSError as cause:
        raise ParamsError(f"{said} cannot be read: {cause.strerror}.", next=f"ls -l {shown}") from cause
    except UnicodeDecodeError:
        raise ParamsError(f"{said} is not UTF-8.", next=f"file {shown}") from None


def resolve_time(text: str) -> str | datetime:
    """'latest', or an aware time; '24 hours ago' is taken from now.

    Raises:
        ParamsError: a naive time, a time in the future, or neither.
    """
    if text.strip().lower() == "latest":
        return "latest"
    ago = clock.parse_ago(text)
    try:
        moment = clock.now() - ago if ago is not None else clock.parse(text)
    except OverflowError:
        raise ParamsError(f"'{text}' is longer ago than the calendar.", next="Give a shorter time.") from None
    if moment > clock.now():
        raise ParamsError(
            f"The recovery point {clock.stamp(moment)} lies in the future.",
            next="Give a past time with its zone, '24 hours ago', or latest.",
        )
    return moment
