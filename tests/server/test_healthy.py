"""A healthy backup raises no alarm, whatever stands in it: by a params file alone, on a cluster never seen before."""

from __future__ import annotations

import pytest
from own_cluster import own_cluster
from proof import ask, prove
from strange import change_everything, fill_everything

pytestmark = pytest.mark.server


def test_every_kind_of_name_type_and_relation_passes() -> None:
    with own_cluster("--data-checksums", superuser="Big Boss") as cluster:
        fill_everything(cluster)
        cluster.backup("first")
        change_everything(cluster)
        cluster.fence()
        cluster.switch()
        outcome = prove(cluster, look=ask("SELECT count(*) FROM typed", "everything"))
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 500)
    unread = " ".join(outcome.limitations)
    assert "fleeting" in unread and "empty_view" in unread
