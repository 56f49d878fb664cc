"""Read YAML that people write: plain data and its lines, or a refusal with file and line before anything large or deep is built.

Aliases may be used. Their value counts towards the size each time, so that a bomb is refused and not unpacked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from runbook import clock, texts
from runbook.errors import ParamsError

#: Bytes of a file, and characters and values of its content with each alias written out.
LIMIT = 256 << 10
#: Mappings and lists within each other; a params file has six.
_DEEPEST = 32
#: Characters of one value: a command line, a sentence.
_LONGEST = 8 << 10

Lines = dict[tuple[str | int, ...], int]
_CORE = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # without libyaml: slower, the same
    """YAML whose plain times stay text, so that a naive one can be refused instead of being guessed."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str, where: str) -> tuple[Any, Lines]:
    """The data in the text, and the line of each path in it.

    Args:
        text: one YAML document.
        where: the file's name as people should see it.

    Raises:
        ParamsError: it is not YAML, or is what no such file needs: control characters, other tags than YAML's core, keys that
            are no strings or stand twice, aliases into themselves, too much, too deep.
    """
    if len(text.encode("utf-8", "surrogatepass")) > LIMIT:
        raise ParamsError(f"{where}:1: more than {clock.human_bytes(LIMIT)} of YAML.", next="Make it shorter.")
    line = texts.control_line(text)
    if line is not None:
        raise ParamsError(f"{where}:{line}: the line has a control character.", next="Remove it.")
    try:
        refuse_depth(text, where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise ParamsError(f"{where}:1: the file is empty.", next="See params/sandbox.yaml for an example.")
            return _Builder(loader, where).build(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1 if cause.problem_mark else 1
        line = min(line, len(text.splitlines()) or 1)  # libyaml counts the end as a line of its own
        raise ParamsError(f"{where}:{line}: not YAML: {cause.problem}.", next="Correct the line.") from None
    except yaml.YAMLError as cause:
        raise ParamsError(f"{where}:1: not YAML: {cause}.", next="Correct the file.") from None


def refuse_depth(text: str, where: str, *, aliases: bool = True) -> None:
    """The text nests no deeper than anything of ours, and with `aliases` False has no alias.

    The parser keeps a stack of its own; whatever builds nodes from its events recurses.

    Raises:
        ParamsError: it does; with file and line.
        yaml.YAMLError: it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and not aliases:
            _refuse(where, _line(event), "aliases are not allowed in this file", "Write the value out.")
        if depth > _DEEPEST:
            _refuse(where, _line(event), f"more than {_DEEPEST} levels of nesting", "Nest less.")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _refuse(where: str, line: int, what: str, next: str) -> NoReturn:
    raise ParamsError(f"{where}:{line}: {what}.", next=next)


class _Builder:
    """Builds data from nodes; aliases share a node."""

    def __init__(self, loader: Any, where: str) -> None:
        self._loader = loader
        self._where = where
        self._measured: dict[int, tuple[int, int]] = {}
        self._within: set[int] = set()
        self._lines: Lines = {}

    def build(self, root: yaml.Node) -> tuple[Any, Lines]:
        self._measure(root, root.start_mark.line + 1)
        return self._value(root, (), root.start_mark.line + 1), self._lines

    def _measure(self, node: yaml.Node, line: int) -> tuple[int, int]:
        """Characters and values in the node, and its levels; each alias counted as what it stands for."""
        known = self._measured.get(id(node))
        if known is not None:
            return known
        if id(node) in self._within:
            _refuse(self._where, line, "an alias refers to a value that contains it", "Write the value out.")
        self._within.add(id(node))
        size, levels = 1 + self._scalar_size(node), 1
        for child, at in _children(node, line):
            more, below = self._measure(child, at)
            size, levels = size + more, max(levels, below + 1)
            if size > LIMIT:
                _refuse(self._where, at, f"its aliases expand to more than {clock.human_bytes(LIMIT)}", "Use fewer.")
        if levels > _DEEPEST:
            _refuse(self._where, line, f"more than {_DEEPEST} levels of nesting", "Nest less.")
        self._within.discard(id(node))
        self._measured[id(node)] = (size, levels)
        return size, levels

    def _scalar_size(self, node: yaml.Node) -> int:
        if not isinstance(node, yaml.ScalarNode):
            return 0
        line = node.start_mark.line + 1
        if len(node.value) > _LONGEST:
            _refuse(self._where, line, f"a value of more than {clock.human_bytes(_LONGEST)}", "Make it shorter.")
        if texts.control_line(node.value) is not None:
            _refuse(self._where, line, "the value has a control character", "Remove the escape.")
        return len(node.value)

    def _value(self, node: yaml.Node, path: tuple[str | int, ...], line: int) -> Any:
        self._lines[path] = line
        if node.tag not in _CORE:
            _refuse(self._where, line, f"the tag '{node.tag}' is not allowed", "Write a plain value, without a tag.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, n), item.start_mark.line + 1) for n, item in enumerate(node.value)]
        return self._scalar(node, line)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if key.tag not in (_STRING, _MERGE) or not isinstance(key, yaml.ScalarNode):
                shown = f"'{texts.cut(key.value, 60)}'" if isinstance(key, yaml.ScalarNode) else "of this line"
                _refuse(self._where, line, f"the key {shown} is not a string", "Write it in quotes, or correct it.")
            if key.value in own:
                _refuse(self._where, line, f"the key '{texts.cut(key.value, 60)}' stands twice", "Keep one.")
            value = self._value(item, (*path, key.value), line)
            if key.tag == _MERGE:
                merged = self._merged(value, line)
            else:
                own[key.value] = value
        return {**merged, **own}

    def _merged(self, value: Any, line: int) -> dict[str, Any]:
        """What `<<:` brings in; of several mappings the first wins."""
        bases = value if isinstance(value, list) else [value]
        if not all(isinstance(base, dict) for base in bases):
            _refuse(self._where, line, "'<<' merges a value that is not a mapping", "Name a mapping: <<: *name")
        return {key: item for base in reversed(bases) for key, item in base.items()}

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        try:
            value = self._loader.construct_object(node)
            str(value)  # an int in another base than ten may have more digits than can be printed
        except (ValueError, KeyError, IndexError):
            # An explicit tag on what is none (`!!int x`), or a number of thousands of digits.
            _refuse(self._where, line, f"'{texts.cut(str(node.value), 60)}' is not a value of its type", "Correct it.")
        if isinstance(value, float) and not math.isfinite(value):
            _refuse(self._where, line, f"'{node.value}' is not a finite number", "Write a number.")
        return value


def _children(node: yaml.Node, line: int) -> Iterator[tuple[yaml.Node, int]]:
    """The nodes in a node, and the line where each is written: of an alias, not of what it stands for."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key, key.start_mark.line + 1
            yield value, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield item, line
