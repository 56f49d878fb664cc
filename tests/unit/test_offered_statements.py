"""What a database holds as text never stands in an offered statement as it is: it was written by roles that must not have a DBA run theirs."""

from __future__ import annotations

import pytest
from runbook.recovery.catalogdiff import DAMAGE, CatalogRow, Difference
from runbook.recovery.objectstatements import statements


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def gone(catalog: str, name: str = "public.t", kind: str = "table", **cells: str | None) -> list[str]:
    row = CatalogRow(catalog, kind, name, (1, 2), False, cells)
    return [one.text for one in statements(Difference(row, None, DAMAGE), literal)]


def changed(catalog: str, then: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    rows = [CatalogRow(catalog, "table", "public.t", (1, 2), True, cells) for cells in (then, now)]
    return [one.text for one in statements(Difference(rows[0], rows[1], DAMAGE), literal)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("public, pg_catalog", "'public', 'pg_catalog'"),
        ('"$user", "a "" b"', "'$user', 'a \" b'"),
        ("x;ALTER/**/ROLE/**/app/**/SUPERUSER", "'x;ALTER/**/ROLE/**/app/**/SUPERUSER'"),
        ("x';ALTER", "'x'';ALTER'"),
        ("", "''"),
    ],
)
def test_list_of_names_is_written_name_by_name(value: str, said: str) -> None:
    found = gone("pg_db_role_setting", setconfig=f"search_path={value}", setrole="app", setdatabase=None)
    assert found == [f'ALTER ROLE app SET "search_path" TO {said};']


@pytest.mark.parametrize(
    "config", ["search_path=x; ALTER ROLE app SUPERUSER", "search_path=a,", 'search_path="a', None]
)
def test_list_that_is_none_has_no_statement(config: str | None) -> None:
    assert gone("pg_db_role_setting", setconfig=config, setrole="app", setdatabase=None) == []


def test_settings_that_cannot_be_told_apart_have_no_statement() -> None:
    odd = '\x1e{"app.note=a\x1esession_preload_libraries=evil"}'
    assert gone("pg_db_role_setting", setconfig=odd, setrole="app", setdatabase=None) == []
    assert changed("pg_class", {"reloptions": odd}, {"reloptions": None}) == []


def test_parameter_of_a_strange_name_has_no_statement() -> None:
    assert changed("pg_class", {"reloptions": "a) ; DROP TABLE x=1"}, {"reloptions": None}) == []
    assert changed("pg_class", {"reloptions": "toast.fillfactor=70"}, {"reloptions": None}) == [
        "ALTER TABLE public.t SET (toast.fillfactor = '70');"
    ]


@pytest.mark.parametrize(
    "acl",
    ["x\x1fSELECT ON t TO y; ALTER ROLE y SUPERUSER; --\x1ffalse\x1fo", "x\x1fSELECT", "a\x1fb\x1fSELECT\x1ff\x1fo"],
)
def test_grant_that_is_none_has_no_statement(acl: str) -> None:
    assert changed("pg_class", {"relacl": acl}, {"relacl": None}) == []


def test_label_ends_where_the_name_of_its_object_does() -> None:
    name, evil = 'public."a / b" / anon', '"; ALTER ROLE app SUPERUSER; --'
    assert gone("pg_seclabel", name, provider="anon", label=evil) == [
        f"""SECURITY LABEL FOR "anon" ON TABLE public."a / b" IS '{evil}';"""
    ]


def test_constraint_of_a_domain_keeps_its_name() -> None:
    assert gone("pg_description", '"n on x" on public.d', "domain constraint", description="c") == [
        """COMMENT ON CONSTRAINT "n on x" on domain public.d IS 'c';"""
    ]
