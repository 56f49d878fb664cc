"""Given parameter values against the ones that a notebook declares: refused, never guessed.

No message here repeats a given value: it may be a secret that somebody pasted.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runbook import redact
from runbook.errors import ParamsError
from runbook.params.loading import nearest
from runbook.session import notebook
from runbook.session.notebook import Parameter
from runbook.texts import escaped

_LARGEST_INT = 2**63 - 1
_LONGEST_INT = 20
_INT = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _place(where: str, parameter: Parameter) -> str:
    return f"{where}, parameters cell, line {parameter.line}"


def refuse_unknown(names: Iterable[str], declared: Mapping[str, Parameter], where: str) -> None:
    """Every name is one that the notebook declares.

    Raises:
        ParamsError: one is not; the nearest valid name and its line are given.
    """
    for name in names:
        if name in declared:
            continue
        hint = nearest(name, declared)
        line = next((p.line for p in declared.values() if f"'{p.name}'" in hint), 1)
        raise ParamsError(
            f"{where}, parameters cell, line {line}: there is no parameter '{_printable(name)}'; {hint}",
            next=f"runbook show {notebook.slug_of(Path(where))}",
        )


def _printable(name: str) -> str:
    """A name for a message: a pasted secret in its place is not repeated."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) and not is_secret(name) else "…"


def is_secret(value: object) -> bool:
    """True for text that looks like a credential or holds a resolved one."""
    return isinstance(value, str) and (redact.looks_like_secret(value) or redact.scrubber.holds(value))


def refuse_secrets(values: Mapping[str, object], where: str) -> None:
    """No value is a secret.

    Raises:
        ParamsError: one is; the message does not repeat it.
    """
    for name, value in values.items():
        if is_secret(value) or is_secret(str(value)):
            raise ParamsError(
                f"{where}: the value of the parameter '{_printable(name)}' looks like a secret. It was not kept, but it "
                "may stand in your shell's history and in the list of processes.",
                next="Change that secret, and name it in the params file of the target (env: or file:).",
            )


def convert_text(text: str, parameter: Parameter, where: str) -> Any:
    """A value from the command line, by the type of the default alone.

    Raises:
        ParamsError: the text is no such value.
    """
    default = parameter.default
    if isinstance(default, str):
        return check_type(text, parameter, where)
    if isinstance(default, bool):
        if text in ("true", "false"):
            return text == "true"
        hint = "true or false"
    elif isinstance(default, int):
        if _INT.fullmatch(text) and len(text) <= _LONGEST_INT:
            return check_type(int(text), parameter, where)
        hint = "a whole number such as 12"
    elif isinstance(default, float):
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        hint = "a number such as 1.5"
    else:
        hint = "nothing on the command line: edit it in JupyterLab"
    raise ParamsError(
        f"{_place(where, parameter)}: '{parameter.name}' takes {hint}; the given text is no {parameter.type_name}.",
        next=f"-p {parameter.name} {shlex.quote(_example(default))}",
    )


def _example(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _unusable(value: Any) -> str | None:
    """Why no run can have this value, whatever its type should be; the journal, PostgreSQL and the report must be able to hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        return "is a whole number of more than 64 bits"
    if isinstance(value, str) and (escaped(value) != value or "\0" in value):
        return "holds a byte that is not UTF-8, or a NUL"
    if isinstance(value, (list, tuple, dict)):
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        return next((said for said in map(_unusable, parts) if said is not None), None)
    return None


def check_type(value: Any, parameter: Parameter, where: str) -> Any:
    """The value, when its type is the default's; a whole number may stand for a float.

    Raises:
        ParamsError: it has another type.
    """
    default = parameter.default
    unusable = _unusable(value)
    if unusable is not None:
        raise ParamsError(
            f"{_place(where, parameter)}: the value of '{parameter.name}' {unusable}.",
            next=f"-p {parameter.name} {shlex.quote(_example(default))}",
        )
    if type(value) is type(default):
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise ParamsError(
        f"{_place(where, parameter)}: '{parameter.name}' must be {parameter.type_name}, but it is "
        f"{type(value).__name__}.",
        next="papermill guesses types from -p: give text by -r NAME VALUE."
        if isinstance(default, str)
        else f"Give a value such as {default!r}.",
    )


def values_from_text(given: Iterable[tuple[str, str]], declared: Mapping[str, Parameter], where: str) -> dict[str, Any]:
    """All parameters of a run: the given texts, converted, over the defaults.

    Raises:
        ParamsError: unknown name, a name given twice with different texts, wrong type, or a secret.
    """
    texts: dict[str, str] = {}
    for name, text in given:
        refuse_unknown([name], declared, where)
        if texts.get(name, text) != text:
            raise ParamsError(f"The parameter '{name}' is given twice, differently.", next="Give it once.")
        texts[name] = text
    refuse_secrets(texts, where)
    converted = {name: convert_text(text, declared[name], where) for name, text in texts.items()}
    return {name: converted.get(name, parameter.default) for name, parameter in declared.items()}


def values_from_namespace(
    namespace: Mapping[str, Any], declared: Mapping[str, Parameter], where: str
) -> dict[str, Any]:
    """All parameters of a run as they stand in the notebook's globals.

    Raises:
        ParamsError: one is missing, has another type, or is a secret.
    """
    values = {}
    for name, parameter in declared.items():
        if name not in namespace:
            raise ParamsError(
                f"{_place(where, parameter)}: the parameter '{name}' is not set.", next="Run the parameters cell first."
            )
        values[name] = check_type(namespace[name], parameter, where)
    refuse_secrets(values, where)
    return values


def refuse_set_back(inputs: Iterable[str], values: Mapping[str, Any], where: str) -> None:
    """The run has the values that papermill put in: no later cell of the notebook has set one back.

    Args:
        inputs: the sources of the cells executed so far.

    Raises:
        ParamsError: one has.
    """
    for source in inputs:
        if not source.lstrip().startswith(notebook.INJECTED):
            continue
        for name, value, _ in notebook.assigned_literals(source):
            if value is not None and name in values and values[name] != value:
                raise ParamsError(
                    f"{where}: papermill was given a value of '{name}', and a later cell of the notebook has set another one.",
                    next=f"Take '{name} = …' out of the cells after the parameters cell.",
                )


def misspelt_names(inputs: Iterable[str], declared: Mapping[str, Parameter]) -> list[str]:
    """Names that executed cells set as parameters though the notebook declares none of that name.

    A cell sets parameters when papermill injected it, or when it assigns a declared name.

    Args:
        inputs: the sources of the cells executed so far.
    """
    strays: list[str] = []
    for source in inputs:
        names = [name for name, _, _ in notebook.assigned_literals(source)]
        injected = source.lstrip().startswith(notebook.INJECTED)
        tree = notebook.parse_cell(source)
        only_assigns = tree is not None and len(names) == len(tree.body)
        if injected or (only_assigns and any(name in declared for name in names)):
            strays += [name for name in names if name not in declared]
    return strays
