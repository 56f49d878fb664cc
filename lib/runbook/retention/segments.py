"""Which segments an archive lacks, by names alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runbook.postgres.wal import SEGMENT_NAME, Timeline, segment_name, segment_start


def archived_segments(names: Iterable[str]) -> list[str]:
    """The whole segments among an archive's files."""
    return sorted(name for name in names if SEGMENT_NAME.match(name))


def missing_runs(
    segments: Iterable[str], lineages: Mapping[int, tuple[Timeline, ...]], size: int
) -> list[tuple[str, str, int]]:
    """First, last and number of each run of segments that are not there and lie between some that are, oldest first.

    Along each timeline's own lineage, from the oldest segment of it to the newest of the timeline; a stretch that two lineages share
    is told once. Segments are read from the newest timeline that has begun by their end, as PostgreSQL does.

    >>> one = {1: (Timeline(1, 0, None),)}
    >>> missing_runs(["000000010000000000000001", "000000010000000000000004"], one, 16 << 20)
    [('000000010000000000000002', '000000010000000000000003', 2)]
    """
    there = set(segments)
    lacking: dict[str, int] = {}
    for number, lineage in lineages.items():
        own = [segment_start(name, size)[1] for name in there if int(name[:8], 16) == number]
        if not own:
            continue
        begun = {timeline.number for timeline in lineage}
        shared = [segment_start(name, size)[1] for name in there if int(name[:8], 16) in begun]
        for begin in range(min(shared), max(own) + size, size):
            holding = [timeline for timeline in lineage if timeline.begin < begin + size]
            name = segment_name(holding[-1].number, begin, size)
            if name not in there:
                lacking[name] = begin
    runs: list[list[str]] = []
    for name in sorted(lacking):
        last = runs[-1][-1] if runs else None
        if last is not None and last[:8] == name[:8] and lacking[name] - lacking[last] == size:
            runs[-1].append(name)
        else:
            runs.append([name])
    return [(run[0], run[-1], len(run)) for run in runs]


def neighbours(segments: Iterable[str], first: str, last: str) -> tuple[str | None, str | None]:
    """The archived segments before and after a run, whatever their timeline."""
    listed = sorted(segments, key=lambda name: name[8:])
    before = [name for name in listed if name[8:] < first[8:]]
    after = [name for name in listed if name[8:] > last[8:]]
    return (before[-1] if before else None, after[0] if after else None)
