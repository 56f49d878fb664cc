"""Indexes that pg_amcheck does not look into: damage is found by asking for each row, health raises no alarm, and what cannot be asked is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from own_cluster import OwnCluster, own_cluster
from pages import resealed
from proof import Outcome, prove
from shop import forget_manifest, read_page, write_page

pytestmark = [pytest.mark.server, pytest.mark.faults]

INDEXED = (
    "CREATE EXTENSION btree_gist",
    "CREATE EXTENSION bloom",
    "CREATE TABLE many (id int, word text, tags int[], doc jsonb, during int4range, spot point, place box, at timestamptz, "
    "address inet, text_of tsvector, note text, number int, other text)",
    "INSERT INTO many SELECT g, md5(g::text), ARRAY[g % 100, g], jsonb_build_object('a', g % 50, 'b', g), int4range(g, g + 5), point(g, g), "
    "box(point(g, g), point(g + 1, g + 1)), timestamptz '2020-01-01Z' + g * interval '1 minute', '10.0.0.0'::inet + g, "
    "to_tsvector('simple', md5(g::text)), 'same', g, md5((-g)::text) FROM generate_series(1, 20000) AS g",
    "INSERT INTO many SELECT FROM generate_series(1, 50)",
    "INSERT INTO many (tags, doc, during) SELECT '{}', '{}', 'empty' FROM generate_series(1, 3)",
    "CREATE INDEX many_hash ON many USING hash (word)",
    "CREATE INDEX many_hash_part ON many USING hash (lower(word)) WHERE id > 100",
    "CREATE INDEX many_same ON many USING hash (note)",
    "CREATE INDEX many_gin ON many USING gin (tags)",
    "CREATE INDEX many_doc ON many USING gin (doc jsonb_path_ops)",
    "CREATE INDEX many_text ON many USING gin (text_of)",
    "CREATE INDEX many_range ON many USING gist (during)",
    "CREATE INDEX many_spot ON many USING gist (spot)",
    "CREATE INDEX many_place ON many USING gist (place)",
    "CREATE INDEX many_id ON many USING gist (id, word)",
    "CREATE INDEX many_words ON many USING spgist (other)",
    "CREATE INDEX many_net ON many USING spgist (address)",
    "CREATE INDEX many_at ON many USING brin (at) WITH (pages_per_range = 8)",
    "CREATE INDEX many_nets ON many USING brin (address inet_inclusion_ops)",
    "CREATE TABLE flowers AS SELECT id FROM many",
    "CREATE INDEX many_bloom ON flowers USING bloom (id)",
    'CREATE INDEX "Odd \'name.x" ON many USING brin (number int4_minmax_ops)',
    "CREATE INDEX many_btree ON many (word)",
)
#: Kept from being asked: nothing that a row's own key answers.
NOT_ASKED = {"many_nets", "many_bloom"}


def fill(cluster: OwnCluster) -> None:
    cluster.sql("CREATE EXTENSION amcheck")
    cluster.create_database("shop", *INDEXED, "VACUUM (FREEZE, ANALYZE)")


@pytest.mark.parametrize("major", [15, 17, 18])
def test_healthy_indexes_of_all_kinds_pass_and_the_others_are_named(major: int) -> None:
    with own_cluster("--data-checksums", major=major) as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.sql("UPDATE many SET id = id + 1, at = at + interval '1 day' WHERE id % 10 = 0", database="shop")
        cluster.fence()
        cluster.switch()
        outcome = prove(cluster)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    said = [one for one in outcome.limitations if "not looked into" in one]
    named = NOT_ASKED | ({"many_text"} if major < 18 else set())
    assert len(said) == 1 and {name for name in ALL if f".{name} " in said[0]} == named, said
    assert outcome.check("indexes@shop").observed == f"all, in {len(ALL) - len(named)} indexes"


ALL = {
    "many_hash", "many_hash_part", "many_same", "many_gin", "many_doc", "many_text", "many_range", "many_spot", "many_place", "many_id",
    "many_words", "many_net", "many_at", "many_nets", "many_bloom", "Odd 'name.x",
}  # fmt: skip


@pytest.fixture(scope="module")
def indexed() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("CREATE TABLE mark (number int)", database="shop")
        cluster.backup("pristine", into=cluster.home / "pristine")
        cluster.fence()
        cluster.switch()
        yield cluster


#: An index and the page of it that another page of the same kind takes the place of.
SWAPPED = {"many_hash": (3, 4), "many_range": (9, 10), "many_spot": (9, 10), "many_id": (9, 10)}


def prove_swapped(indexed: OwnCluster, name: str, one: int, two: int) -> Outcome:
    shutil.rmtree(indexed.backups / "first", ignore_errors=True)
    shutil.copytree(indexed.home / "pristine", indexed.backups / "first", symlinks=True)
    path = indexed.backups / "first" / str(indexed.sql(f"SELECT pg_relation_filepath('{name}')", database="shop")[0][0])
    # The checksum holds the page's number: the other page's is computed for its new place.
    write_page(path, two, resealed(read_page(path, one), two))
    forget_manifest(indexed.backups / "first")
    return prove(indexed)


def test_index_in_which_a_search_never_ends_is_no_pass_and_no_endless_run(indexed: OwnCluster) -> None:
    """A leaf that leads to itself: the server goes round, and neither its statement_timeout nor a cancel reaches it."""
    outcome = prove_swapped(indexed, "many_gin", 20, 21)
    assert outcome.verdict != "PASS" and ("many_gin" in outcome.said or outcome.error is not None), outcome.alarms


@pytest.mark.parametrize("name", SWAPPED)
def test_page_of_an_index_that_holds_other_rows_is_found(indexed: OwnCluster, name: str) -> None:
    outcome = prove_swapped(indexed, name, *SWAPPED[name])
    assert outcome.check("manifest").status == "PASS" and outcome.check("amcheck@shop").status == "PASS"
    check = outcome.check("indexes@shop")
    assert check.status == "FAIL" and f"public.{name}" in (check.reason or ""), check
