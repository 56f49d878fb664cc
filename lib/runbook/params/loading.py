"""Params files from disk to `Params`, with errors that name file, line and the nearest valid name."""

from __future__ import annotations

import difflib
import os
import types
import typing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from runbook import clock, layout, redact
from runbook.errors import ParamsError
from runbook.params.schema import Params, Secret

_Lines = dict[tuple[str | int, ...], int]
_Model = typing.TypeVar("_Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML whose plain times stay text, so that a naive one can be refused instead of being guessed."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _collect_lines(node: yaml.Node, path: tuple[str | int, ...], lines: _Lines, where: str) -> None:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ParamsError(
                    f"{where}:{key.start_mark.line + 1}: the key '{key.value}' stands twice.",
                    next="Keep one.",
                )
            seen.add(key.value)
            _collect_lines(value, (*path, key.value), lines, where)
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*path, index), lines, where)


def _scan_values(value: Any, path: tuple[str | int, ...], lines: _Lines, where: str) -> None:
    """Secret values and naive times are refused wherever they stand."""
    if isinstance(value, dict):
        for key, item in value.items():
            _scan_values(item, (*path, key), lines, where)
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _scan_values(item, (*path, index), lines, where)
        return
    line = lines.get(path, 1)
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
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "valid names: " + ", ".join(names)


def _explain(error: ValidationError, root: type[BaseModel], lines: _Lines, where: str) -> ParamsError:
    messages = []
    for item in error.errors():
        path = tuple(item["loc"])
        name = ".".join(str(part) for part in path) or "the file"
        line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 1)
        if item["type"] == "extra_forbidden":
            owner = _model_at(root, path[:-1])
            hint = nearest(str(path[-1]), owner.model_fields if owner else [])
            messages.append(f"{where}:{line}: unknown key '{name}'; {hint}")
        elif item["type"] == "missing":
            messages.append(f"{where}:{line}: the key '{name}' is missing.")
        else:
            messages.append(f"{where}:{line}: '{name}': {item['msg']}.")
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
    lines: _Lines = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise ParamsError(f"{where}:1: the file is empty.", next="See params/sandbox.yaml for an example.")
        _collect_lines(node, (), lines, where)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1 if cause.problem_mark else 1
        raise ParamsError(f"{where}:{line}: not YAML: {cause.problem}.", next="Correct the line.") from None
    _scan_values(data, (), lines, where)
    try:
        # JSON mode lets lists become tuples while types stay strict.
        return model.model_validate_json(_to_json(data))
    except ValidationError as cause:
        raise _explain(cause, model, lines, where) from None


def _to_json(data: Any) -> str:
    import json

    return json.dumps(data)


def load_params(target: str) -> Params:
    """The params of `params/<target>.yaml`.

    Raises:
        ParamsError: no such file (nearest names given), or the file is wrong.
    """
    path = layout.params() / f"{target}.yaml"
    if not path.is_file():
        known = [found.stem for found in layout.params().glob("*.yaml") if found.stem not in ("contacts", "controls")]
        raise ParamsError(
            f"There is no target '{target}': {layout.short(path)} does not exist; {nearest(target, known)}",
            next="runbook list shows the targets.",
        )
    params = parse_params(path.read_text(), layout.short(path))
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
        value = os.environ.get(secret.env)
        if not value:
            raise ParamsError(
                f"The environment variable {secret.env} ({what}) is not set.", next=f"export {secret.env}=…"
            )
        redact.scrubber.register(secret.env, value)
        return value
    assert secret.file is not None
    path = layout.resolve(secret.file)
    try:
        mode = path.stat().st_mode
        value = path.read_text().strip()
    except OSError as cause:
        raise ParamsError(f"The secret file {secret.file} ({what}) cannot be read: {cause.strerror}.") from cause
    if mode & 0o077:
        raise ParamsError(
            f"The secret file {secret.file} ({what}) is readable by others (mode {mode & 0o777:o}).",
            next=f"chmod 600 {secret.file}",
        )
    redact.scrubber.register(Path(secret.file).name, value)
    return value


def resolve_time(text: str) -> str | datetime:
    """'latest', or an aware time; '24 hours ago' is taken from now.

    Raises:
        ParamsError: a naive time, a time in the future, or neither.
    """
    if text.strip().lower() == "latest":
        return "latest"
    ago = clock.parse_ago(text)
    moment = clock.now() - ago if ago is not None else clock.parse(text)
    if moment > clock.now():
        raise ParamsError(
            f"The recovery point {clock.stamp(moment)} lies in the future.",
            next="Give a past time with its zone, '24 hours ago', or latest.",
        )
    return moment
