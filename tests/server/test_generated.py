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
from generated.notebook import Recited
from generated.said import Said
from generated.scenarios import Scenario, make_scenario
from generated.truth import Difference, differences, differences_promoted
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from runbook.errors import RunbookError

pytestmark = [pytest.mark.server]

#: Seeds of the campaign are always the same; those of the night begin at a number that `make nightly` prints.
CAMPAIGN = range(1, 11)
FIRST = int(os.environ.get("RUNBOOK_SEED", "1000"))
NIGHTLY = range(FIRST, FIRST + int(os.environ.get("RUNBOOK_EXAMPLES", "300")))
STRICT = bool(os.environ.get("RUNBOOK_STRICT"))
#: Damage of fewer rows need not be suspected.
FEW = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[GeneratedCluster]:
    with generated_cluster() as one:
        yield one


def examine(cluster: GeneratedCluster, scenario: Scenario, *, promote: bool) -> list[str]:
    """The scenario happens, and is recovered by copy-back, and by promote; what is wrong with that.

    Wrong is a difference that nobody named while the verdict was PASS, harm that the recovery itself did and did not name, whatever the
    verdict, and an error that is none of the product's own. A difference without a name where the verdict was no PASS is shown; with
    RUNBOOK_STRICT it is wrong, too.
    """
    found: list[str] = []
    with cluster.played(scenario) as played:
        if not played.damages:
            return []
        recited = cluster.recover(played, "copy-back")
        if isinstance(recited.error, NotSuspected):
            taken = sum(damage.size for damage in played.damages)
            return [f"{taken} rows taken, and {recited.error}"] if taken >= FEW else []
        found += _wrong("copy-back", recited, differences(played, cluster.snapshot(played.database), Said.of(recited)))
        if promote:
            recited = cluster.recover(played, "promote", find=False)
            found += _wrong(
                "promote", recited, differences_promoted(played, cluster.snapshot(played.database), Said.of(recited))
            )
            counted = recited.run.facts.get("loss", {}).get("transactions", 0)
            if recited.error is None and counted < played.others:
                found.append(f"promote: {counted} transactions of others counted, there were {played.others}")
    cluster.tidy()
    return found


def _wrong(way: str, recited: Recited, found: list[Difference]) -> list[str]:
    wrong, error = [], recited.error
    if error is not None and not isinstance(error, RunbookError):
        wrong.append(f"{way}, {recited.step}: {type(error).__name__}: {error}")
    elif error is not None:
        print(f"  {way} was refused in '{recited.step}': {error}")
    for one in found:
        said = f"{way}, {recited.verdict}: {one}"
        if one.is_named:
            continue
        if recited.verdict == "PASS" or one.is_harm or STRICT:
            wrong.append(said)
        else:
            print(f"  {said}")
    return wrong


def check(cluster: GeneratedCluster, seed: int, *, promote: bool) -> None:
    print(f"seed {seed}")
    scenario = make_scenario(Random(seed))
    found = examine(cluster, scenario, promote=promote)
    assert found == [], "\n".join([f"seed {seed}", *found, scenario.text()])


@pytest.mark.faults
@pytest.mark.parametrize("seed", CAMPAIGN)
def test_generated_damage_is_given_back_or_named(cluster: GeneratedCluster, seed: int) -> None:
    check(cluster, seed, promote=seed % 3 == 0)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", NIGHTLY)
def test_generated_damage_is_given_back_or_named_every_night(cluster: GeneratedCluster, seed: int) -> None:
    check(cluster, seed, promote=seed % 5 == 0)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@settings(
    max_examples=int(os.environ.get("RUNBOOK_EXAMPLES", "300")) // 30,
    deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
)  # fmt: skip
@given(draw=st.randoms(use_true_random=False))
def test_generated_damage_shrinks_to_what_is_not_named(cluster: GeneratedCluster, draw: Random) -> None:
    """The same, drawn by hypothesis: a failure is reduced to fewer tables and statements, which takes its time."""
    scenario = make_scenario(draw)
    found = examine(cluster, scenario, promote=False)
    assert found == [], "\n".join([*found, scenario.text()])
