"""Sums that reconcile between marts: the SQL of dbt's generic test, over a mart and what it sums."""

from __future__ import annotations

import duckdb
import jinja2
import pytest

from ingestion.lake import PROJECT

TEST = PROJECT / "dbt_project" / "tests" / "generic" / "sums_reconcile.sql"
PARTS = "values ('a', 1, 10.0, true), ('a', 1, 5.0, true), ('a', 2, null, true), ('b', 1, 7.0, true), ('b', 1, 9.0, false)"


def faults(whole: str, **more: object) -> list[tuple]:
    text = TEST.read_text(encoding="utf-8").replace("{% test ", "{% macro ").replace("{% endtest %}", "{% endmacro %}")
    asked = {"model": "whole", "of": "parts", "key": ["commune", "month"], "columns": ["kwh"], **more}
    select = str(jinja2.Environment().from_string(text).module.sums_reconcile(**asked))  # type: ignore[attr-defined]
    with duckdb.connect() as connection:
        connection.execute(f"create table parts as select * from ({PARTS}) as t (commune, month, kwh, is_publishable)")
        connection.execute(f"create table whole as select * from (values {whole}) as t (commune, month, kwh)")
        return connection.execute(select).fetchall()


@pytest.mark.parametrize(
    ("whole", "count"),
    [
        ("('a', 1, 15.0), ('a', 2, null), ('b', 1, 7.0)", 0),
        ("('a', 1, 15.3), ('a', 2, null), ('b', 1, 7.0)", 0),  # rounded once
        ("('a', 1, 16.0), ('a', 2, null), ('b', 1, 7.0)", 1),
        ("('a', 1, 15.0), ('a', 2, 0.0), ('b', 1, 7.0)", 1),  # nothing known is not zero
        ("('a', 1, 15.0), ('b', 1, 7.0), ('a', 2, null), ('a', 3, 4.0)", 1),  # a row that no part holds
        ("('a', 2, null), ('b', 1, 7.0)", 1),  # parts that no row holds
        ("('a', 1, 15.0), ('a', 2, null), ('b', 1, 16.0)", 1),  # what may not be shown is in the sum
    ],
)
def test_sums_are_those_of_their_parts(whole: str, count: int) -> None:
    assert len(faults(whole, only="is_publishable")) == count


def test_only_what_the_mart_has_is_asked_for() -> None:
    assert faults("('a', 1, 15.0), ('a', 2, null)", only="is_publishable", within="commune") == []
    assert len(faults("('a', 1, 15.0), ('a', 2, null)", only="is_publishable")) == 1
