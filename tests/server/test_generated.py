"""Random schemas, random damage amid random good transactions: what a recovery does not give back exactly, it names.

Each example has a seed. `RUNBOOK_SEED=17 RUNBOOK_EXAMPLES=1 make nightly` repeats the example of seed 17; the SQL of a failing one
is in its message. The examples are drawn by `random.Random(seed)` and not by hypothesis alone, since each must be a test of its own: one
that fails does not end the night.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest
from generated.cluster import GeneratedCluster, NotSuspected, generated_cluster
from generated.said import Said
from generated.scenarios import Scenario, make_scenario
from generated.truth import differences, differences_promoted
from runbook.errors import RunbookError

pytestmark = [pytest.mark.server]

#: Seeds of the campaign are always the same; those of the night begin anywhere, unless told.
CAMPAIGN = range(1, 11)
FIRST = int(os.environ.get("RUNBOOK_SEED") or Random().randrange(10**6, 10**9))  # noqa: S311
NIGHTLY = range(FIRST, FIRST + int(os.environ.get("RUNBOOK_EXAMPLES", "300")))
#: A recovery that is refused says why, and changes nothing; damage of so few rows is no suspect.
FEW = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[GeneratedCluster]:
    with generated_cluster() as one:
        yield one


def examine(cluster: GeneratedCluster, scenario: Scenario, name: str, *, promote: bool) -> list[str]:
    """The scenario happens, and is recovered by copy-back, and by promote; what nobody named."""
    found: list[str] = []
    with cluster.played(scenario) as played:
        if not played.damages:
            return []
        recited = cluster.recover(played, "copy-back")
        if isinstance(recited.error, NotSuspected):
            taken = sum(damage.size for damage in played.damages)
            return [f"{taken} rows taken, and {recited.error}"] if taken >= FEW else []
        now = cluster.snapshot(played.database)
        said = Said.of(recited)
        found += [f"copy-back, {recited.verdict}: {one}" for one in differences(played, now, said) if not one.is_named]
        if recited.error is not None and not isinstance(recited.error, RunbookError):
            found.append(f"copy-back, {recited.step}: {type(recited.error).__name__}: {recited.error}")
        if promote:
            recited = cluster.recover(played, "promote", find=False)
            said = Said.of(recited)
            now = cluster.snapshot(played.database)
            if recited.error is not None:
                found.append(f"promote, {recited.step}: {type(recited.error).__name__}: {recited.error}")
            found += [
                f"promote, {recited.verdict}: {one}"
                for one in differences_promoted(played, now, said)
                if not one.is_named
            ]
            counted = recited.run.facts.get("loss", {}).get("transactions", 0)
            if counted < played.others:
                found.append(f"promote: {counted} transactions of others counted, there were {played.others}")
    cluster.tidy()
    return found


def check(cluster: GeneratedCluster, seed: int, *, promote: bool) -> None:
    print(f"seed {seed}")
    scenario = make_scenario(Random(seed))
    found = examine(cluster, scenario, f"seed {seed}", promote=promote)
    assert found == [], "\n".join([f"seed {seed}", *found, scenario.text()])


@pytest.mark.faults
@pytest.mark.parametrize("seed", CAMPAIGN)
def test_generated_damage_is_given_back_or_named(cluster: GeneratedCluster, seed: int) -> None:
    check(cluster, seed, promote=seed % 3 == 0)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", NIGHTLY)
def test_generated_damage_is_given_back_or_named_every_night(cluster: GeneratedCluster, seed: int) -> None:
    check(cluster, seed, promote=seed % 5 == 0)
