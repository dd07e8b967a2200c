"""What `make check` asks of the joins of models, and that DuckDB does compare each row with each where it is broken."""

from __future__ import annotations

import duckdb
import pytest

from tests.check_joins import faults_of_joins

ON = "from days left join bills on days.id = bills.id"


@pytest.mark.parametrize(
    ("sql", "is_slow"),
    [
        (f"select * {ON}", False),
        (f"select * {ON} and days.day >= bills.from_date", False),
        (f"select * {ON} and bills.kind = 'x'", False),
        (f"select * {ON} where days.kind = 'x'", False),
        (f"select * {ON} and days.kind = 'x'", True),
        (f"with a as (select days.id {ON} and days.kind <> 'x') select * from a", True),
        (ON.replace("from", "select * from").replace("left", "inner") + " and days.kind = 'x'", False),
    ],
)
def test_what_is_asked_of_the_other_side_alone_makes_a_join_quadratic(sql: str, is_slow: bool) -> None:
    with duckdb.connect() as connection:
        connection.execute("create table days as select range as id, 'x' as kind, date '2024-01-01' as day from range(100)")
        connection.execute("create table bills as select range as id, 'x' as kind, date '2024-01-01' as from_date from range(100)")
        plan = connection.execute(f"explain {sql}").fetchall()[0][1]
    assert ("NL_JOIN" in plan) == is_slow
    told = faults_of_joins({"nodes": {"m": {"resource_type": "model", "name": "int_m", "compiled_code": sql}}})
    assert len(told) == is_slow
    assert all("int_m: the join of bills asks 'days.kind" in fault and "Mend" in fault for fault in told)
