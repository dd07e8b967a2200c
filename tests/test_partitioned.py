"""The materialization `partitioned` on a small project with the real macros: what it writes is what a build from nothing would."""

from __future__ import annotations

import datetime as dt

from conftest import column

from tests.fixtures.town import Town

JANUARY, FEBRUARY, MARCH = "2024-01-01", "2024-02-01", "2024-03-01"


def test_rows_that_are_left_out_or_end_are_gone_and_a_place_may_hold_an_apostrophe(town: Town) -> None:
    corrected = "id,v,d,place\nA,-1,2024-01-05,L'Hermitage\nD,4,2024-02-07,L'Hermitage\n"
    town.land({"t2.csv": corrected, "w.csv": "id,d\nB,2024-02-05\n"})
    touched = town.build()
    assert touched["changes"] == {JANUARY, FEBRUARY}
    # A is left out since it is negative, and stood alone in its month.
    assert town.rows("positive", "id, v") == [("B", "2"), ("C", "3"), ("D", "4")]
    assert touched["positive"] == {JANUARY, FEBRUARY}
    # The photo lacks A, of which its new rows say nothing.
    assert town.rows("photo", "id") == [("B",)]
    assert touched["photo"] == {JANUARY}
    assert touched["by_place"] == touched["child"] == {"L'Hermitage"}
    assert town.rows("child", "id, place") == [("A", "L'Hermitage"), ("B", "01"), ("C", "1"), ("D", "L'Hermitage")]
    # Its place is corrected: the one it leaves and the one it comes to are written.
    town.land({"t3.csv": "id,v,d,place\nB,2,2024-02-05,L'Hermitage\n"})
    assert town.build()["child"] == {"01", "L'Hermitage"}
    assert town.rows("child", "id, place") == [("A", "L'Hermitage"), ("B", "L'Hermitage"), ("C", "1"), ("D", "L'Hermitage")]


def test_a_table_of_another_shape_is_made_anew_from_all_of_its_rows(town: Town) -> None:
    with town.connect(read_only=False) as connection:
        connection.execute("alter table staging.changes alter v type bigint")
    town.land({"t2.csv": "id,v,d,place\nD,4,2024-02-07,1\n"})
    assert town.build()["changes"] == {"*"}
    assert town.rows("changes", "id, v") == [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]


def test_what_a_brick_declares_otherwise_is_read_again_and_what_it_describes_is_not(town: Town) -> None:
    town.declare(column("v", "bigint"))
    assert town.build()["changes"] == {"*"}
    assert town.rows("changes", "id, v") == [("A", 1), ("B", 2), ("C", 3)]
    # Renamed, without its older name: nothing is read of older loads.
    town.declare(column("size", "bigint"))
    for model in ("changes", "positive"):
        town.edit(model, "t.v,", "t.size as v,")
    town.land({"t2.csv": "id,size,d,place\nD,4,2024-02-07,1\n"})
    town.build()
    assert town.rows("changes", "id, v") == [("A", None), ("B", None), ("C", None), ("D", 4)]
    town.declare(column("size", "bigint", formerly=["v"]))
    assert town.build()["changes"] == {JANUARY, FEBRUARY, MARCH}
    assert town.rows("changes", "id, v") == [("A", 1), ("B", 2), ("C", 3), ("D", 4)]
    town.declare(column("size", "bigint", formerly=["v"]) | {"description": "Said otherwise."})
    assert town.build() == {}
    assert town.rows("changes", "month_date")[0] == (dt.date(2024, 1, 1),)
