"""Rows that a source says are deleted: they land by their key alone, and end in staging as they do when a photo lacks them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table

from expectations.gate import judge_load
from ingestion.brick import Brick
from ingestion.declaration import BrickError
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.warehouse import catch_up
from tests.check_dbt import faults_of_deletions

CSV = {"format": "csv", "path": "*.csv"}
OP = {"column": "op", "values": ["d", "remove"]}
COLUMNS = [column("id"), column("v", "bigint", required=True), column("at", "date"), column("op", optional=True)]
STAGING = """
select items.id, items.v from shop.items as items
qualify row_number() over (
    partition by items.id order by items._read_at desc, items._load_id desc, items._file desc, items._row desc
) = 1 and not items._deleted
"""


def shop(house: House, columns: Any = None, options: Any = None, deleted_when: Any = OP, **meta: Any) -> Brick:
    of_brick = {name: meta.pop(name) for name in ("legal_basis", "purpose", "pseudonym_domain") if name in meta}
    told = {"deleted_when": deleted_when} if deleted_when else {}
    return house.brick("shop", [table("items", columns or COLUMNS, ["id"], options or CSV, **told, **meta)], **of_brick)


def staged(lake: Lake, brick: Brick, sql: str = STAGING) -> list[tuple[Any, ...]]:
    """Give what staging makes of a lake, from nothing."""
    with lake.connect() as connection:
        catch_up(connection, lake, Journal(lake), {brick.name: brick})
        return connection.execute(f"from ({sql}) order by all").fetchall()


def as_of(house: House, folder: Path, seq: int) -> Lake:
    """Give a lake as its journal was at a seq, without anything that follows it."""
    shutil.copytree(house.lake.root, folder, ignore=shutil.ignore_patterns("state"))
    for path in (folder / "journal").glob("*.json"):
        if int(path.stem) > seq:
            path.unlink()
    return Lake(str(folder))


def test_a_row_that_is_deleted_ends_comes_back_and_is_as_it_was_then(house: House, tmp_path: Path) -> None:
    only, mart = shop(house), f"select count(*) as item_count, sum(v) as v_sum from ({STAGING})"
    steps = [
        ("a,1,2025-01-01,\nb,2,2025-01-01,\n", [("a", 1), ("b", 2)], (2, 3)),
        ("a,,,d\n", [("b", 2)], (1, 2)),
        ("c,3,2025-01-02,u\nb,no number,,remove\n", [("c", 3)], (1, 3)),
        ("a,7,2025-01-03,\n", [("a", 7), ("c", 3)], (2, 10)),
        ("a,8,2025-01-03,\na,,,d\n", [("c", 3)], (1, 3)),
    ]
    seqs = []
    for number, (rows, kept, total) in enumerate(steps):
        house.drop(f"{number}.csv", f"id,v,at,op\n{rows}")
        entry = house.land(only, judge_load)
        assert entry and entry["verdict"] == "accepted" and entry["tables"]["items"]["refused"] == 0, entry["reasons"]
        assert staged(house.lake, only) == kept and staged(house.lake, only, mart) == [total]
        seqs.append(house.journal.seq)
    for number, ((_, kept, total), seq) in enumerate(zip(steps, seqs, strict=True)):
        then = as_of(house, tmp_path / f"then{number}", seq)
        assert staged(then, only) == kept and staged(then, only, mart) == [total]
    # A source shows every row that landed, and which of them are deletions.
    assert house.rows(only, "items", "id, _deleted", "_file, _row")[:3] == [("a", False), ("b", False), ("a", True)]


def test_of_a_deletion_its_key_alone_is_asked(house: House) -> None:
    only = shop(house, [column("id"), column("v", "bigint", required=True, between=[0, 9]), column("code", pattern="[0-9]+"), *COLUMNS[2:]])
    house.drop("a.csv", "id,v,code,at,op\na,99,x,32/01/2025,d\n,,,,d\nb,,1,,\nc,99,1,,u\ne,5,x,,D\n")
    entry = house.land(only)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["refused"]) == (1, 4)
    assert house.rows(only, "items", 'id, v, code, "at", _deleted') == [("a", None, None, None, True)]


def test_documents_of_deletions_alone_lack_nothing(house: House) -> None:
    columns = [column("id"), column("v", "bigint"), column("gone", "boolean", optional=True)]
    only = shop(house, columns, {"format": "ndjson", "path": "*.ndjson"}, {"column": "gone", "values": [True]})
    house.drop("a.ndjson", "".join(json.dumps({"id": f"{n}", "v": n}) + "\n" for n in range(30)))
    assert house.land(only, judge_load)["verdict"] == "accepted"
    house.drop("b.ndjson", '{"id": "1", "gone": true}\n{"id": "2", "gone": true}\n')
    entry = house.land(only, judge_load)
    assert entry["verdict"] == "accepted", entry["reasons"]
    assert len(staged(house.lake, only)) == 28
    # Rows that live are held to what they were before.
    house.drop("c.ndjson", '{"id": "3", "gone": true}\n{"id": "4"}\n')
    assert "no document holds v" in house.land(only, judge_load)["reasons"][0]


def test_the_gate_counts_no_deletion_as_a_value_that_lacks(house: House) -> None:
    columns = [column("id"), column("v", "bigint"), column("op", optional=True)]
    only = shop(house, columns, deleted_when=OP)
    house.drop("a.csv", "id,v,op\n" + "".join(f"{n},{n},\n" for n in range(100)))
    assert house.land(only, judge_load)["verdict"] == "accepted"
    house.drop("b.csv", "id,v,op\n" + "".join(f"{n},,d\n" for n in range(90)) + "200,1,\n")
    entry = house.land(only, judge_load)
    profile = house.journal.whole(entry)["tables"]["items"]["profile"]
    assert entry["verdict"] == "accepted" and (profile["row_count"], profile["filled"]["v"]) == (1, 1.0)
    # The same rows without a word of deletion are a column that has gone.
    plain = house.brick("plain", [table("items", columns, ["id"], CSV)])
    (house.drops / "b.csv").rename(house.folder / "b.csv")
    assert house.land(plain, judge_load)["verdict"] == "accepted"
    house.drop("b.csv", "id,v,op\n" + "".join(f"{n},,\n" for n in range(90)))
    assert "column v is all null" in house.land(plain, judge_load)["reasons"][0]


def test_a_declaration_that_is_new_is_seen_in_what_landed(house: House) -> None:
    house.drop("a.csv", "id,v,at,op\na,1,,\nb,2,,d\n")
    assert house.land(shop(house, deleted_when=None))
    only = shop(house, deleted_when={"column": "op", "values": ["d"]})
    assert house.rows(only, "items", "id, _deleted") == [("a", False), ("b", True)]
    assert staged(house.lake, only) == [("a", 1)]


def test_a_private_key_is_deleted_by_its_pseudonym(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "une clé de test assez longue")
    told = {"legal_basis": "law", "purpose": "heat", "pseudonym_domain": "homes"}
    only = shop(house, [column("id", personal=True, mask="pseudonym"), *COLUMNS[1:]], **told)
    house.drop("a.csv", "id,v,at,op\nMartin,1,,\nDurand,2,,\n")
    assert house.land(only)
    house.drop("b.csv", "id,v,at,op\nMARTIN,,,d\n")
    assert house.land(only)["tables"]["items"]["refused"] == 0
    assert [v for _, v in staged(house.lake, only)] == [2]


def test_a_column_of_the_source_may_have_our_name(house: House) -> None:
    columns = [column("id"), column("v", "bigint"), column("_deleted", "boolean")]
    only = shop(house, columns, deleted_when={"column": "_deleted", "values": [True]})
    house.drop("a.csv", "id,v,_deleted\na,1,false\nb,2,true\n")
    assert house.land(only)
    assert house.rows(only, "items", "id, _deleted_of_source, _deleted") == [("a", False, False), ("b", True, True)]


@pytest.mark.parametrize(
    ("deleted_when", "meta", "told"),
    [
        ({"column": "other", "values": ["d"]}, {}, "'other' is not one of the table's columns: id, v, at, op"),
        ({"column": "at", "values": ["d"]}, {}, "'at' is masked, or no string, bigint or boolean"),
        ({"column": "op", "values": []}, {}, "values"),
        ({"column": "op"}, {}, "values"),
        (OP, {"delivers": "whole"}, "`deleted_when` is of a table that delivers changes"),
    ],
)
def test_what_tells_no_deletion_is_no_declaration(house: House, deleted_when: Any, meta: Any, told: str) -> None:
    with pytest.raises(BrickError, match=re.escape(told)):
        shop(house, deleted_when=deleted_when, **meta)


def test_a_boolean_is_true_or_false(house: House) -> None:
    with pytest.raises(BrickError, match="'op' is a boolean, and is one of true, false"):
        shop(house, [*COLUMNS[:3], column("op", "boolean")], deleted_when={"column": "op", "values": ["yes"]})


def test_the_check_names_a_model_that_would_show_what_has_gone() -> None:
    source = {"source_name": "shop", "name": "items", "config": {"meta": {"deleted_when": OP}}}
    model = {"name": "stg_shop__items", "resource_type": "model", "depends_on": {"nodes": ["s"]}, "raw_code": "select id from items"}
    (fault,) = faults_of_deletions({"sources": {"s": source}, "nodes": {"m": model}})
    assert "stg_shop__items: shop.items tells deletions" in fault and "`and not items._deleted`" in fault
    model["raw_code"] += " qualify not items._deleted"
    assert faults_of_deletions({"sources": {"s": source}, "nodes": {"m": model}}) == []
    source["config"] = {"meta": {}}
    assert faults_of_deletions({"sources": {"s": source}, "nodes": {"m": model | {"raw_code": ""}}}) == []
