"""Landing: each row once whatever happens, source count = kept + refused, contracts that change, full disks, erasures."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import csv
import datetime as dt
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from conftest import House, Site, accept, column, staged, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.brick import Brick
from ingestion.declaration import BrickError
from ingestion.journal import ENVELOPE, Journal, files_of
from ingestion.lake import Busy, Lake, LakeError
from ingestion.verify import landed_faults

FIXTURES = Path(__file__).parent / "fixtures"
STEPS = [
    "after the first table is read", "after the first table is staged", "after the lake is founded",
    "after dlt moved one file", "after dlt moved all files", "before the journal entry", "after the journal entry",
]  # fmt: skip
CSV = {"format": "csv", "path": "items*.csv"}
ITEMS = table("items", [column("id"), column("n", "bigint")], ["id"], CSV)
PLACES = table("places", [column("id"), column("at", "double")], ["id"], {"format": "ndjson", "path": "places*.ndjson"})


def two_tables(house: House, endpoint: str | Path | None = None) -> Brick:
    """Give a brick of two tables, with its drops."""
    house.drop("items1.csv", "id,n\n" + "".join(f"i{n},{n}\n" for n in range(50)) + "bad,x\n")
    house.drop("items2.csv", "id,n\n" + "".join(f"j{n},{n}\n" for n in range(50)))
    house.drop("places1.ndjson", "".join(json.dumps({"id": f"p{n}", "at": n / 2}) + "\n" for n in range(20)))
    return house.brick("shop", [ITEMS, PLACES], endpoint)


def contents(house: House, brick: Brick) -> dict[str, list[tuple[Any, ...]]]:
    """Give what dbt reads of a brick, but for what differs from one load to another."""
    return {t.name: house.rows(brick, t.name, "* exclude (_load_id, _read_at)") for t in brick.tables}


# Kills -----------------------------------------------------------------------------------------------------------------


def test_a_landing_killed_at_any_step_shows_nothing_and_the_next_run_gives_each_row_once(house: House) -> None:
    brick = two_tables(house)
    house.land(brick)
    undisturbed = contents(house, brick)
    assert len(undisturbed["items"]) == 100 and len(undisturbed["places"]) == 20

    lakes = {step: house.folder / f"lake{number}" for number, step in enumerate(STEPS)}
    asked = [f"{step}={root}" for step, root in lakes.items()]
    command = [sys.executable, str(FIXTURES / "killed.py"), str(house.folder / "bricks" / "shop.yml"), *asked]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == 0, killed.stderr

    for step, root in lakes.items():
        house.lake = Lake(str(root))
        is_landed = step == "after the journal entry"
        assert bool(contents(house, brick)["items"]) == is_landed, f"killed {step}: rows are visible"
        moved = {"after dlt moved one file": 1, "after dlt moved all files": 2, "before the journal entry": 2, "after the journal entry": 2}
        assert len(house.landed_files("shop")) >= moved.get(step, 0), f"killed {step}: not where it should be"
        # What dlt or landing may have kept for themselves is nothing to count on, but for what was begun.
        shutil.rmtree(house.lake.state / "work", ignore_errors=True)
        entry = house.land(brick)
        assert (entry is None) == is_landed
        assert contents(house, brick) == undisturbed, f"killed {step}"
        assert house.landed_files("shop") == house.journal.named_files("shop"), f"killed {step}: orphans remain"
        assert house.land(brick) is None
        assert not list((house.lake.state / "work").iterdir()), f"killed {step}: the workspace remains"


def test_the_folder_of_dlt_is_nothing_to_count_on(house: House) -> None:
    brick = two_tables(house)
    house.land(brick)
    for folder in ("_dlt_loads", "_dlt_version", "_dlt_pipeline_state"):
        shutil.rmtree(Path(house.lake.path("landed", "shop", folder)), ignore_errors=True)
    house.drop("items3.csv", "id,n\nk,1\n")
    house.land(brick)
    assert house.rows(brick, "items", "count(*), count(distinct id)") == [(101, 101)]


def test_files_that_no_entry_names_are_swept_and_never_seen(house: House) -> None:
    brick = two_tables(house)
    first = house.land(brick)
    assert first
    file = first["tables"]["items"]["files"][0]
    orphan = Path(house.lake.path(file.replace(first["load_id"], "20200101T000000000000Z-shop")))
    orphan.parent.mkdir(parents=True)
    shutil.copy(house.lake.path(file), orphan)
    assert house.rows(brick, "items", "count(*)") == [(100,)]
    house.drop("items3.csv", "id,n\nk,1\n")
    house.land(brick)
    assert orphan.exists(), "another machine may be about to name it"
    os.utime(orphan, (time.time() - 90_000,) * 2)
    house.drop("items4.csv", "id,n\nl,1\n")
    house.land(brick)
    assert not orphan.exists()
    assert house.rows(brick, "items", "count(*)") == [(102,)]


def test_dlt_moves_the_files_as_landing_wrote_them(house: House) -> None:
    import pyarrow.parquet as pq

    columns = [column("Année réf."), column("AAAAMM", "bigint"), column("x", "double"), column("ok", "boolean"),
               column("day", "date"), column("moment", "timestamptz")]  # fmt: skip
    brick = house.brick("shop", [table("items", columns, ["Année réf."], {**CSV, "separator": ","})])
    house.drop("items1.csv", "Année réf.,AAAAMM,x,ok,day,moment,Éxtra col\na,202501,1,true,2025-01-01,2025-01-01,z\n")
    house.drop("items2.csv", "Année réf.,AAAAMM,x,ok,day,moment\n")
    entry = house.land(brick)
    assert entry
    files = entry["tables"]["items"]["files"]
    assert len(files) == 2, "one of the two has no row"
    for file in files:
        written = pq.read_metadata(house.lake.path(file))
        assert written.created_by.startswith("DuckDB"), "dlt has written it again"
        assert not written.num_row_groups or written.row_group(0).column(0).compression == "ZSTD"
        names = [*(each["name"] for each in columns), "Éxtra col", "_file", "_row", "_refused", "_read_at", "_load_id"]
        assert written.schema.to_arrow_schema().names == names
    assert house.rows(brick, "items", '"Année réf.", AAAAMM') == [("a", 202501)]


def test_a_header_in_other_capitals_is_the_same_column(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "ID,N\na,1\n")
    entry = house.land(brick)
    assert entry and entry["tables"]["items"]["new_columns"] == []
    assert house.rows(brick, "items", "id, n") == [("a", 1)]


def write_items(house: House, form: str, rows: list[dict[str, Any]], name: str = "items1") -> None:
    """Lay a file of items in one of the formats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), house.drops / f"{name}.parquet")
    elif form == "ndjson":
        house.drop(f"{name}.ndjson", "".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        house.drop(f"{name}.csv", text.getvalue())


ODD_NAMES = ["nature de l'énergie", 'a "b" c', "two\nlines", "a▶b", "n" * 250, "a/b~c"]
# The blanks around the names of a CSV are no part of them.
FORMS_AND_NAMES = [(form, name) for form in ("csv", "ndjson", "parquet") for name in (*ODD_NAMES, *([" blanks "] if form != "csv" else []))]


@pytest.mark.parametrize(("form", "name"), FORMS_AND_NAMES)
def test_a_column_of_any_name_lands_under_it_declared_or_not(house: House, form: str, name: str) -> None:
    options = {"format": form, "path": f"items*.{form}"}
    write_items(house, form, [{"id": "a", name: "gas"}])
    entry = house.land(house.brick("shop", [table("items", [column("id")], ["id"], options)]))
    assert entry and entry["tables"]["items"]["new_columns"] == [name]
    brick = house.brick("shop", [table("items", [column("id"), column(name)], ["id"], options)])
    write_items(house, form, [{"id": "b", name: "wood"}], "items2")
    house.land(brick)
    held = '"' + name.replace('"', '""') + '"'
    assert house.rows(brick, "items", f"id, {held}") == [("a", "gas"), ("b", "wood")]
    import pyarrow.parquet as pq

    for file in house.parquet_files("shop"):
        assert pq.read_metadata(house.lake.path(file)).created_by.startswith("DuckDB"), "dlt has written it again"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_header_in_other_capitals_with_accents_is_the_same_column(house: House, form: str) -> None:
    columns = [column("id"), column("énergie"), column("n°É", "bigint")]
    brick = house.brick("shop", [table("items", columns, ["id"], {"format": form, "path": f"items*.{form}"})])
    write_items(house, form, [{"ID": "a", "ÉNERGIE": "gas", "N°é": 3, "ÉTÉ": "x"}])
    write_items(house, form, [{"id": "b", "énergie": "wood", "n°É": 4, "été": "y"}], "items2")
    entry = house.land(brick)
    assert entry and [name.casefold() for name in entry["tables"]["items"]["new_columns"]] == ["été"] * 2
    assert house.rows(brick, "items", 'id, "énergie", "n°É"') == [("a", "gas", 3), ("b", "wood", 4)]


# Locks -----------------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from ingestion.lake import Lake
with Lake(sys.argv[1]).lock("landing-shop"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_landing_is_told_who_holds_the_brick_until_that_process_dies(house: House) -> None:
    brick = two_tables(house)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, house.lake.root], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline()
    with pytest.raises(Busy, match=f"landing-shop is already being run by process {holder.pid}"):
        house.land(brick)
    assert house.journal.seq == 0
    holder.kill()
    holder.wait()
    assert house.land(brick)


def test_a_brick_that_is_held_does_not_hold_another(house: House) -> None:
    house.drop("items1.csv", "id,n\na,1\n")
    other = house.brick("other", [ITEMS])
    with house.lake.lock("landing-shop"):
        assert house.land(other)


# Refusals --------------------------------------------------------------------------------------------------------------


def refuse(*_: Any) -> list[str]:
    """Refuse whatever comes."""
    return ["items: not what the steward expects"]


def test_a_load_accepted_days_later_does_not_overwrite_newer_values(house: House) -> None:
    from ingestion.steward import accept_load

    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\nb,1\n")
    house.land(brick)
    house.drop("items2.csv", "id,n\na,2\nonly,2\n")
    monday = house.land(brick, refuse)
    assert monday and monday["verdict"] == "refused"
    # The source keeps Monday's file no longer: what it held is in that load only.
    (house.drops / "items2.csv").unlink()
    house.drop("items3.csv", "id,n\na,3\n")
    house.land(brick)
    assert house.rows(brick, "items", "id, n") == [("a", 1), ("a", 3), ("b", 1)]

    accept_load(house.lake, house.journal, monday, "seen with the producer")
    latest = "select id, n from shop.items qualify row_number() over (partition by id order by _read_at desc, _load_id desc) = 1"
    from ingestion.warehouse import catch_up

    with house.lake.connect() as connection:
        catch_up(connection, house.lake, house.journal, {"shop": brick})
        assert connection.execute(f"{latest} order by id").fetchall() == [("a", 3), ("b", 1), ("only", 2)]
        assert connection.execute("select count(*) from shop.items").fetchall() == [(5,)]
        seqs = dict(connection.execute("select load_id, seq from meta.loads").fetchall())
    assert seqs[monday["load_id"]] == house.journal.seq, "what is new is told by the seq of the acceptance"
    assert house.journal.as_of() > monday["read_at"]
    house.drop("items4.csv", "id,n\nz,4\n")
    house.land(brick)
    assert house.rows(brick, "items", "count(*)") == [(6,)], "a sweep has taken the accepted files away"


def test_a_refused_load_is_not_fetched_again(house: House, site: Site) -> None:
    site.put("/items1.csv", b"id,n\na,1\n")
    brick = house.brick(
        "shop", [table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "csv", "path": "items1.csv"})], site.url
    )
    assert house.land(brick, refuse)
    assert [asked.status for asked in site.asked] == [200]
    site.asked.clear()
    assert house.land(brick, refuse) is None
    assert [asked.status for asked in site.asked] == [304]
    site.put("/items1.csv", b"id,n\na,1\nb,2\n")
    assert house.land(brick)
    assert house.rows(brick, "items", "id, n") == [("a", 1), ("b", 2)]


def test_a_refused_load_is_tried_again_with_what_came_since_and_never_skipped(house: House) -> None:
    """A file refused, then a good newer one: what was refused lands with it, or stands."""
    brick = house.brick("shop", [table("items", [column("id"), column("day", "date")], ["id"], CSV, cursor="day")])
    house.drop("items1.csv", "id,day\na,2025-01-05\n")
    refused = house.land(brick, refuse)
    assert refused and house.land(brick, refuse) is None, "nothing has changed: it is not tried again"
    house.drop("items2.csv", "id,day\nb,2025-02-01\n")
    entry = house.land(brick)
    assert entry and entry["replaces"] == [refused["load_id"]] and not house.journal.refused("shop")
    assert house.rows(brick, "items", "id") == [("a",), ("b",)], "the first file never lands"
    assert house.landed_files("shop") == house.journal.named_files("shop"), "the files of the first try remain"
    assert house.land(brick) is None


@pytest.mark.parametrize("delivers", ["changes", "whole"])
def test_a_file_that_is_newer_than_what_stands_refused_is_not_fetched_at_each_run(house: House, site: Site, delivers: str) -> None:
    """One of the two files of a refused load goes, the other comes again and lands: the first load stands, for the file that went."""
    options = {"format": "csv", "path": "items*.csv"}
    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], options, delivers=delivers)], site.url)
    site.put("/items1.csv", b"id,n\na,1\n")
    site.put("/items2.csv", b"id,n\nb,1\n")
    assert house.land(brick, refuse)
    del site.pages["/items2.csv"]
    site.put("/items1.csv", b"id,n\na,2\n")
    landed = house.land(brick)
    assert landed and landed["verdict"] == "accepted" and len(house.journal.refused("shop")) == 1
    site.asked.clear()
    assert house.land(brick) is None
    assert [asked.status for asked in site.asked if asked.path == "/items1.csv"] == [304]
    site.put("/items1.csv", b"id,n\na,1\n")  # as it was when it was refused: another content than the one that stands
    entry = house.land(brick)
    assert entry and house.rows(brick, "items", "n", "_read_at")[-1] == (1,)


def test_a_try_that_is_refused_again_takes_the_place_of_the_first(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    first = house.land(brick, refuse)
    house.drop("items2.csv", "id,n\nb,1\n")
    second = house.land(brick, refuse)
    assert first and second and [load["load_id"] for load in house.journal.refused("shop")] == [second["load_id"]]
    assert second["tables"]["items"]["kept"] == 2


@pytest.mark.parametrize("what", ["a column", "a key", "options", "the endpoint", "expectations"])
def test_what_reads_or_judges_a_refused_load_has_changed(house: House, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    from ingestion.landing import land_brick

    house.drop("items1.csv", "id;n\na;x\n")
    house.drop("other/items1.csv", "id;n\na;x\n")
    brick = house.brick("shop", [ITEMS])

    def land(brick: Brick, by: str = "") -> Any:
        return land_brick(house.lake, house.journal, brick, "run", refuse, judged_by=by).entry

    assert land(brick) and land(brick) is None
    columns, key, options, by = [column("id"), column("n", "bigint")], ["id"], CSV, ""
    match what:
        case "a column":
            columns = [column("id"), column("n", "string")]
        case "a key":
            key = ["id", "n"]
        case "options":
            options = {**CSV, "null_values": ["x"]}
        case "the endpoint":
            monkeypatch.setenv("ORCHESTRA_ENDPOINT_SHOP", str(house.drops / "other"))
        case "expectations":
            by = "stricter"
    again = house.brick("shop", [table("items", columns, key, options)], house.drops / "other" if what == "the endpoint" else None)
    assert land(again, by), "it is tried again"
    assert len(house.journal.refused("shop")) == 1 and land(again, by) is None


def test_a_file_that_failed_in_an_accepted_load_is_read_again_when_the_brick_is_mended(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    house.drop("items2.csv", "id\nb\n")
    assert (entry := house.land(brick)) and entry["tables"]["items"]["refused_files"]
    assert house.land(brick) is None
    mended = house.brick("shop", [table("items", [column("id"), column("n", "bigint", optional=True)], ["id"], CSV)])
    assert house.land(mended) and house.rows(mended, "items", "id") == [("a",), ("b",)]
    assert house.land(mended) is None


def test_a_file_that_was_not_there_is_landed_whole_when_it_is(house: House, site: Site) -> None:
    """One 404 on the file of the past: next day it is there, and its rows are all before the cursor."""
    options = {"format": "csv", "path": "{past,latest}.csv"}
    dated = table("items", [column("id"), column("day", "date")], ["id"], options, cursor="day", lookback={"count": 1, "period": "day"})
    brick = house.brick("shop", [dated], site.url)
    site.put("/latest.csv", b"id,day\nz,2025-06-01\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted" and [name for name, _ in entry["tables"]["items"]["refused_files"]] == ["past.csv"]
    # As long as it is not there, that is said, by one load that stands refused.
    standing = house.land(brick)
    assert standing and standing["verdict"] == "refused" and "past.csv" in standing["reasons"][0]
    assert house.land(brick) is None and len(house.journal.refused("shop")) == 1
    site.put("/past.csv", b"id,day\na,2020-01-01\nb,2021-01-01\n")
    entry = house.land(brick)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["before_cursor"]) == (2, 0)
    assert house.rows(brick, "items", "id") == [("a",), ("b",), ("z",)] and not house.journal.refused("shop")
    # Held by an accepted load now: what stands before the cursor is not landed twice, and is counted.
    site.put("/past.csv", b"id,day\na,2020-01-01\nb,2021-01-01\nc,2025-06-02\n")
    entry = house.land(brick)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["before_cursor"]) == (1, 2)


def test_a_file_that_a_steward_gave_up_is_not_told_again(house: House, site: Site) -> None:
    from ingestion.steward import drop_load

    brick = house.brick("shop", [table("items", [column("id")], ["id"], {"format": "csv", "path": "{past,latest}.csv"})], site.url)
    site.put("/latest.csv", b"id\nz\n")
    house.land(brick)
    standing = house.land(brick)
    assert standing and standing["verdict"] == "refused"
    drop_load(house.lake, house.journal, standing, refetch=False)
    assert house.land(brick) is None
    site.put("/past.csv", b"id\na\n")
    assert house.land(brick) and house.rows(brick, "items", "id") == [("a",), ("z",)]


def test_rows_refused_then_mended_in_their_file_land_though_they_are_old(house: House) -> None:
    brick = house.brick("shop", [table("items", [column("id"), column("day", "date"), column("n", "bigint")], ["id"], CSV, cursor="day")])
    house.drop("items1.csv", "id,day,n\na,2024-01-01,1\nb,2024-01-02,x\nc,2025-01-01,3\n")
    house.land(brick)
    house.drop("items1.csv", "id,day,n\na,2024-01-01,1\nb,2024-01-02,2\nc,2025-01-01,3\n")
    house.land(brick)
    assert ("b", 2) in house.rows(brick, "items", "id, n")


def test_rows_refused_before_there_was_a_cursor_land_when_they_are_mended(house: House) -> None:
    columns = [column("id"), column("day", "date"), column("n", "bigint")]
    house.drop("items1.csv", "id,day,n\na,2024-01-01,1\nb,2024-01-02,x\n")
    house.land(house.brick("shop", [table("items", columns, ["id"], CSV)]))
    brick = house.brick("shop", [table("items", columns, ["id"], CSV, cursor="day")])
    house.drop("items2.csv", "id,day,n\nc,2025-01-01,3\n")
    house.land(brick)
    house.drop("items1.csv", "id,day,n\na,2024-01-01,1\nb,2024-01-02,2\n")
    house.land(brick)
    assert ("b", 2) in house.rows(brick, "items", "id, n")


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_file_of_a_dated_folder_that_failed_is_asked_for_again_however_old(
    house: House, site: Site, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr("ingestion.connectors.web.BACKOFF_SECONDS", 0)
    told, good, bad = (
        ('{"id": "%s"}', '{"id": "b"}', (500, {}, b"ill")) if format == "json" else ("id\n%s\n", "id\nb\n", b"\x1f\x8b no gzip")
    )
    options = {"format": format, "path": "%Y-%m-%d/*"}
    brick = house.brick("shop", [table("items", [column("id")], ["id"], options, cursor="folder_date")], site.url)
    site.put("/2024-01-01/2", bad if isinstance(bad, bytes) else good)
    mended = site.pages["/2024-01-01/2"]
    if isinstance(bad, tuple):
        site.pages["/2024-01-01/2"] = bad
    for day, item in enumerate("acd", 1):
        site.put(f"/2024-01-0{day}/1", told % item)
        entry = house.land(brick)
        assert entry and entry["verdict"] == "accepted"
    if isinstance(bad, tuple):
        site.pages["/2024-01-01/2"] = mended
    else:
        site.put("/2024-01-01/2", good)
    assert house.land(brick) and house.rows(brick, "items", "id") == [("a",), ("b",), ("c",), ("d",)]
    assert house.land(brick) is None, "it is known from then on"


@pytest.mark.parametrize("refetch", [True, False])
def test_a_refused_load_that_is_dropped_is_read_again_or_given_up(house: House, refetch: bool) -> None:
    from ingestion.steward import drop_load

    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    entry = house.land(brick, refuse)
    assert entry
    drop_load(house.lake, house.journal, entry, refetch=refetch)
    again = house.land(brick)
    assert (again is not None) == refetch
    assert house.rows(brick, "items", "id") == ([("a",)] if refetch else [])


def test_a_file_without_a_declared_column_is_refused_and_the_others_land(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    house.drop("items2.csv", "id;m\nb;1\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted"
    [[name, reason]] = entry["tables"]["items"]["refused_files"]
    assert name == "items2.csv" and "lacks the declared columns n" in reason
    assert house.rows(brick, "items", "id") == [("a",)]


def test_a_load_without_a_file_left_is_refused(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "<html>404</html>")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "refused"
    assert "no file is left (items1.csv: is an HTML or XML page" in entry["reasons"][0]
    assert house.land(brick) is None


def test_a_photo_of_which_a_file_is_refused_is_refused(house: House) -> None:
    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV, delivers="whole")])
    house.drop("items1.csv", "id,n\na,1\n")
    house.drop("items2.csv", "id;m\nb;1\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "refused", "what the refused file holds would be taken as ended"
    assert "items2.csv" in entry["reasons"][0] and "photo" in entry["reasons"][0]


# Cursors ---------------------------------------------------------------------------------------------------------------


def test_rows_before_the_cursor_are_not_landed_twice(house: House) -> None:
    dated = table("items", [column("id"), column("day", "date")], ["id"], CSV, cursor="day", lookback={"count": 1, "period": "day"})
    brick = house.brick("shop", [dated])
    first = [f"a{d:02},2025-01-{d:02}\n" for d in range(1, 11)]
    house.drop("items1.csv", "id,day\n" + "".join(first))
    house.land(brick)
    house.drop("items1.csv", "id,day\n" + "".join(first) + "a11,2025-01-11\n")
    entry = house.land(brick)
    assert entry
    record = entry["tables"]["items"]
    assert (record["kept"], record["before_cursor"], record["source_count"], record["position"]["cursor"]) == (3, 8, 3, "2025-01-11")
    assert entry["reasons"] == []


def test_a_cursor_that_is_a_number_is_compared_as_a_number(house: House) -> None:
    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV, cursor="n")])
    for newest in (9, 10, 11):
        house.drop("items1.csv", "id,n\n" + "".join(f"i{n},{n}\n" for n in range(newest + 1)))
        house.land(brick)
    assert house.journal.position("shop", "items").at["cursor"] == "11"
    # What stands at the cursor may have grown: it is read again, and no more.
    assert house.rows(brick, "items", "count(*), count(distinct n)") == [(14, 12)]


@pytest.mark.parametrize("kind", ["ndjson", "geojson", "json"])
def test_documents_before_the_cursor_are_counted(house: House, kind: str) -> None:
    dated = table("items", [column("id"), column("n", "bigint")], ["id"], {"format": kind, "path": f"items*.{kind}"}, cursor="n")
    brick = house.brick("shop", [dated])

    def lay(count: int) -> None:
        rows = [{"id": f"i{n}", "n": n} for n in range(count)]
        if kind == "ndjson":
            house.drop("items1.ndjson", "".join(json.dumps(row) + "\n" for row in rows))
        elif kind == "geojson":
            features = [{"type": "Feature", "properties": row, "geometry": None} for row in rows]
            house.drop("items1.geojson", json.dumps({"type": "FeatureCollection", "features": features}))
        else:
            for row in rows:
                house.drop(f"items{row['n']}.json", json.dumps(row))

    lay(5)
    assert (entry := house.land(brick)) and entry["verdict"] == "accepted", entry["reasons"]
    time.sleep(0.01)
    lay(8)
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted", entry["reasons"]
    assert {row[0] for row in house.rows(brick, "items", "n")} == set(range(8))


def test_a_row_dated_in_the_future_does_not_hide_what_follows(house: House) -> None:
    dated = table("items", [column("id"), column("day", "date")], ["id"], CSV, cursor="day")
    brick = house.brick("shop", [dated])
    house.drop("items1.csv", "id,day\na,2025-01-01\ntypo,2205-01-02\n")
    house.land(brick)
    house.drop("items2.csv", "id,day\nb,2025-01-03\n")
    house.land(brick)
    assert house.rows(brick, "items", "id") == [("a",), ("b",), ("typo",)]


@pytest.mark.parametrize(("was", "now"), [("u", "id"), ("id", "u"), ("id", "n"), ("day", "u"), ("u", "day")])
def test_a_cursor_on_another_column_reads_all_again(house: House, was: str, now: str) -> None:
    columns = [column("id", "bigint"), column("u", "timestamptz"), column("n", "bigint"), column("day", "date")]
    house.drop("items1.csv", "id,u,n,day\n100,2024-01-01T10:00:00Z,1,2024-01-01\n200,2024-01-02T10:00:00Z,2,2024-01-02\n")
    house.land(house.brick("shop", [table("items", columns, ["id"], CSV, cursor=was)]))
    assert house.journal.position("shop", "items").at["cursor_column"] == was
    brick = house.brick("shop", [table("items", columns, ["id"], CSV, cursor=now)])
    house.drop("items2.csv", "id,u,n,day\n1,1999-01-01T10:00:00Z,0,1999-01-01\n")
    entry = house.land(brick)
    assert entry and (entry["tables"]["items"]["kept"], entry["tables"]["items"]["before_cursor"]) == (1, 0)
    house.drop("items2.csv", "id,u,n,day\n1,1999-01-01T10:00:00Z,0,1999-01-01\n0,1998-01-01T10:00:00Z,-1,1998-01-01\n")
    entry = house.land(brick)
    assert entry and entry["tables"]["items"]["before_cursor"] == 1, "the cursor follows the new column from then on"


def test_a_cursor_that_its_type_does_not_read_is_ignored(house: House) -> None:
    house.drop("items1.csv", "id,n\na,2024-01-01\n")
    house.land(house.brick("shop", [table("items", [column("id"), column("n", "date")], ["id"], CSV, cursor="n")]))
    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV, cursor="n")])
    house.drop("items2.csv", "id,n\nb,3\n")
    house.land(brick)
    assert house.rows(brick, "items", "id, n") == [("a", None), ("b", 3)]
    assert house.journal.position("shop", "items").at["cursor"] == "3"


# Counts ----------------------------------------------------------------------------------------------------------------

FIELDS = st.text(st.sampled_from("ab1é \";,\n\r\t\\'-.") | st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS), max_size=12),
    spoilt=st.sets(st.sampled_from(["blank lines", "no last line end", "crlf", "short line", "long line", "not utf-8", "bom"])),
    is_quoted=st.booleans(),
)
def test_a_csv_holds_what_was_kept_and_what_was_refused(
    house: House, rows: list[tuple[str, str]], spoilt: set[str], is_quoted: bool
) -> None:
    end = "\r\n" if "crlf" in spoilt else "\n"
    text = io.StringIO(newline="")
    # Python leaves a lone carriage return without quotes, which makes two lines of it.
    quoting = csv.QUOTE_ALL if is_quoted or any("\r" in field for row in rows for field in row) else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    writer.writerow(["id", "name"])
    for number, row in enumerate(rows):
        writer.writerow(row)
        if number == 0 and "blank lines" in spoilt:
            text.write(end * 2)
        if number == 1 and "short line" in spoilt:
            text.write(f"alone{end}")
        if number == 2 and "long line" in spoilt:
            text.write(f"one,two,three,four{end}")
    content = text.getvalue()
    content = content[: -len(end)] if "no last line end" in spoilt else content
    raw = (b"\xef\xbb\xbf" if "bom" in spoilt else b"") + content.encode()
    raw += b"caf\xe9,1\n" if "not utf-8" in spoilt and "no last line end" not in spoilt else b""
    for file in house.drops.iterdir():
        file.unlink()
    house.drop("items1.csv", raw)
    brick = house.brick("shop", [table("items", [column("id"), column("name")], ["id"], {**CSV, "separator": ","})])
    record = staged(house, brick)
    if record["refused_files"]:
        assert not rows
        return
    total = record["kept"] + record["refused"]
    assert record["count_method"] == "counted"
    assert total == len(record["rows"])
    if record["source_count"] != total:
        # Never silently: whatever Python and DuckDB do not read alike refuses the load.
        assert "some were lost on the way" in record["reasons"][0]
        assert not is_clean(spoilt), "a well-formed file must be of one count"
    else:
        assert record["reasons"] == []
    if is_clean(spoilt):
        expected = [(first, second or None) for first, second in rows if not is_blank(first)]
        assert sorted((r["id"], r["name"] or "") for r in record["rows"] if r["_refused"] is None) == sorted(
            (a, b or "") for a, b in expected
        )


def is_blank(text: str) -> bool:
    """Say whether a text holds nothing but spaces, all of Unicode's."""
    return all(unicodedata.category(mark) == "Zs" for mark in text)


def is_clean(spoilt: set[str]) -> bool:
    """Say whether a file is as RFC 4180 has it."""
    return not spoilt & {"short line", "long line", "not utf-8"}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(
    st.builds(lambda i, n: json.dumps({"id": i, "n": n}), st.text(max_size=5), st.integers(-9, 9) | st.none() | st.text(max_size=3)),
    st.sampled_from(["", "   ", "{", "[1]", "null", '"text"', '{"id": "x", "n": 1} trailing', '{"n": 1}', "\t", '{"id": {"deep": 1}}', '{"id": "e", "other": [1]}']),
), max_size=10), st.booleans())  # fmt: skip
def test_ndjson_holds_what_was_kept_and_what_was_refused(house: House, lines: list[str], has_end: bool) -> None:
    house.drop("items1.ndjson", "\n".join(lines) + ("\n" if has_end else ""))
    brick = house.brick(
        "shop", [table("items", [column("id"), column("n", "bigint")], ["id"], {"format": "ndjson", "path": "items1.ndjson"})]
    )
    record = staged(house, brick)
    filled = [line for line in lines if line.strip()]
    assert record["source_count"] == record["kept"] + record["refused"] == len(record["rows"]) == len(filled)
    documents = [json.loads(line) for line in filled if line.startswith("{") and line.endswith("}")]
    assert record["reasons"] == lacking(documents, "id", "n")

    def is_kept(line: str) -> bool:
        try:
            row = json.loads(line)
        except ValueError:
            return False
        if not isinstance(row, dict) or row.get("id") is None or is_blank(str(row["id"])):
            return False
        number = row.get("n")
        return number is None or isinstance(number, int) or is_blank(number) or _is_integer(number)

    assert record["kept"] == sum(map(is_kept, filled))


def lacking(documents: list[dict[str, Any]], *names: str) -> list[str]:
    """Give why a load is refused of which no document holds what the brick declares."""
    absent = [name for name in names if documents and not any(name in document for document in documents)]
    told = f"items: no document holds {', '.join(absent)}. Mend: the brick's columns, or `optional: true` for what the source may lack"
    return [told] if absent else []


def _is_integer(text: str) -> bool:
    import duckdb

    return bool(duckdb.execute("select try_cast($1 as bigint) is not null", [text]).fetchall()[0][0])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(good=st.integers(0, 5), broken=st.integers(0, 3), keyless=st.integers(0, 3))
def test_trees_and_typed_files_hold_what_was_kept_and_what_was_refused(house: House, good: int, broken: int, keyless: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not good + broken + keyless:
        return
    shutil.rmtree(house.drops)
    house.drops.mkdir()
    rows = [{"id": f"g{n}", "n": n} for n in range(good)] + [{"n": n} for n in range(keyless)]
    for number, row in enumerate(rows):
        house.drop(f"tree/d{number}/one.json", json.dumps(row))
    for number in range(broken):
        house.drop(f"tree/b{number}/one.json", '{"id": "half')
    columns = [column("id"), column("n", "bigint")]
    tree = staged(house, house.brick("shop", [table("items", columns, ["id"], {"format": "json", "path": "tree/*/*.json"})]))
    counts = (good + broken + keyless, good, broken + keyless)
    assert (tree["source_count"], tree["kept"], tree["refused"], tree["reasons"]) == (*counts, lacking(rows, "id", "n"))

    features = [{"type": "Feature", "properties": row, "geometry": {"type": "Point", "coordinates": [1, 2]}} for row in rows]
    features += ["no feature"] * broken
    house.drop("a.geojson", json.dumps({"type": "FeatureCollection", "features": features}))
    columns_with_place = [*columns, column("geometry", "json")]
    map_ = staged(house, house.brick("shop", [table("items", columns_with_place, ["id"], {"format": "geojson", "path": "a.geojson"})]))
    assert (map_["source_count"], map_["kept"], map_["refused"], map_["reasons"]) == (*counts, lacking(rows, "id", "n"))

    typed = [{"id": row.get("id"), "n": str(row["n"])} for row in rows] + [{"id": f"x{n}", "n": "many"} for n in range(broken)]
    pq.write_table(pa.Table.from_pylist(typed, pa.schema({"id": pa.string(), "n": pa.string()})), house.drops / "a.parquet")
    parquet = staged(house, house.brick("shop", [table("items", columns, ["id"], {"format": "parquet", "path": "a.parquet"})]))
    assert (parquet["source_count"], parquet["kept"], parquet["refused"], parquet["reasons"]) == (*counts, [])


def test_a_count_that_does_not_fit_refuses_the_load(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import landing

    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\nb,2\n")
    read = landing.read_table

    def losing(*arguments: Any) -> Any:
        reading = read(*arguments)
        reading.parts[0].counted += 1
        return reading

    monkeypatch.setattr(landing, "read_table", losing)
    entry = house.land(brick)
    assert entry and entry["reasons"] == ["items: the source holds 3 rows, 2 were kept and 0 refused: some were lost on the way"]

    def announcing(*arguments: Any) -> Any:
        reading = read(*arguments)
        reading.count_method, reading.announced = "announced", 1000
        return reading

    monkeypatch.setattr(landing, "read_table", announcing)
    house.drop("items1.csv", "id,n\na,1\nb,2\nc,3\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "refused"
    assert "1000 rows" in entry["reasons"][0]


def test_every_kind_of_value_is_read_as_the_brick_declares(house: House) -> None:
    options = {"format": "csv", "path": "items*.csv", "separator": ";", "decimal": ",", "thousands": " ", "null_values": ["n/d", "-"]}
    columns = [
        column("id"), column("n", "bigint"), column("x", "double"), column("ok", "boolean"),
        column("day", "date", format="%d/%m/%Y"), column("at", "timestamptz"), column("doc", "json"),
    ]  # fmt: skip
    brick = house.brick("shop", [table("items", columns, ["id"], options, time_zone="Europe/Paris")])
    house.drop("items1.csv", "\n".join((
        "id;n;x;ok;day;at;doc", '01;1 234;"1 234,5";true;31/12/2024;2025-07-01 12:00:00;"{""a"": 1}"', "02;;;;;;",
        "03;n/d;-;n/d;-;n/d;-", "04;1,5;1;1;31/12/2024;2025-07-01;{}", "05;1;inf;1;31/12/2024;2025-07-01;{}",
        "06;1;1;1;2024-12-31;2025-07-01;{}", "07;1;1;1;31/12/2024;hier;{}", "08;1;1;1;31/12/2024;2025-07-01;{", ";1;1;1;;;",
        "09;1;1;1;31/12/2024;infinity;{}", "10;1;1;1;31/12/2024;20250-07-01 00:00:00;{}",
    )) + "\n")  # fmt: skip
    house.land(brick)
    first, *others = house.rows(brick, "items", "id, n, x, ok, day, \"at\" at time zone 'UTC', doc", "id")
    assert first == ("01", 1234, 1234.5, True, dt.date(2024, 12, 31), dt.datetime(2025, 7, 1, 10), '{"a": 1}')
    assert others == [("02", *[None] * 6), ("03", *[None] * 6)]
    from ingestion.steward import refused_rows

    entry = next(iter(house.journal.loads("shop").values()))
    assert [row["reason"] for row in refused_rows(house.lake, entry, 20)["items"]] == [
        "n is not a whole number: 1,5", "x is not a number: inf", "day is not a date written %d/%m/%Y: 2024-12-31",
        "at is not a date and time: hier", "doc is not a JSON value: {", "id is missing, and is in the key",
        "at is not a date and time: infinity", "at is not a date and time: 20250-07-01 00:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_what_only_looks_like_a_number_or_a_date_is_refused(house: House, form: str) -> None:
    options = {"format": form, "path": f"items*.{form}"}
    columns = [column("id"), column("n", "bigint"), column("x", "double"), column("day", "date")]
    brick = house.brick("shop", [table("items", columns, ["id"], options)])
    bad = {
        "n": ["1_000", "0x1F", " 0x1F", "0b11", "12.7", "123456789012345678.4", "1_0.0", "9223372036854775808"],
        "x": ["1_0.5", "1_000", "0x10", "1,5", "+-5"],
        "day": ["2024-01-05x", "2024-1-5x9", "2024-01-05 soon", "2024-02-30", "20240105", "epoch", " Epoch"],
    }
    good: dict[str, dict[str, Any]] = {
        "n": {"1e3": 1000, "12.0": 12, "9007199254740993.0": 9007199254740993, " 12 ": 12, "+5": 5, "-7": -7, "007": 7, "15e-1": None},
        "x": {"1e3": 1000.0, " .5 ": 0.5, "-1": -1.0},
        "day": dict.fromkeys(
            ["2024-01-05", "2024-1-5", "2024/01/05", " 2024-01-05 ", "2024-01-05 13:00", "2024-01-05T23:30:00Z"], dt.date(2024, 1, 5)
        ),
    }
    rows = [{"id": f"{name} {text}", "n": "", "x": "", "day": "", name: text} for name, texts in bad.items() for text in texts]
    rows += [{"id": f"{name} {text}", "n": "", "x": "", "day": "", name: text} for name, texts in good.items() for text in texts]
    write_items(house, form, rows)
    house.land(brick)
    kept = {row[0]: row[1] or row[2] or row[3] for row in house.rows(brick, "items", "id, n, x, day")}
    assert kept == {f"{name} {text}": value for name, texts in good.items() for text, value in texts.items() if value}


@pytest.mark.parametrize("form", ["ndjson", "geojson", "json"])
def test_documents_of_which_none_holds_a_declared_column_are_a_load_refused(house: House, form: str) -> None:
    def lay(*rows: dict[str, Any]) -> Brick:
        for file in house.drops.iterdir():
            file.unlink()
        if form == "geojson":
            features = [{"type": "Feature", "properties": row, "geometry": None} for row in rows]
            house.drop("items.geojson", json.dumps({"type": "FeatureCollection", "features": features}))
        elif form == "ndjson":
            house.drop("items.ndjson", "".join(json.dumps(row) + "\n" for row in rows))
        for number, row in enumerate(rows if form == "json" else ()):
            house.drop(f"items{number}.json", json.dumps(row))
        columns = [column("id"), column("l'eau", "double"), column("note", optional=True)]
        return house.brick("shop", [table("items", columns, ["id"], {"format": form, "path": f"items*.{form}"})])

    entry = house.land(lay({"id": "a", "value": 5}, {"id": "b", "value": 5}))
    assert entry and entry["verdict"] == "refused"
    [reason] = entry["reasons"]
    assert reason.startswith("items: no document holds l'eau. Mend: the brick's columns, or `optional: true`")
    entry = house.land(lay({"id": "a", "l'eau": None}, {"id": "b", "value": 6}))
    assert entry and entry["verdict"] == "accepted", "a null is there"
    entry = house.land(lay({"id": "c", "l'eau": 5}, {"id": "d"}))
    assert entry and entry["verdict"] == "accepted"


def test_a_row_without_a_required_value_is_refused(house: House) -> None:
    from ingestion.steward import refused_rows

    options = {"format": "csv", "path": "items*.csv"}
    brick = house.brick(
        "shop", [table("items", [column("id"), column("who", required=True), column("day", "date", required=True)], ["id"], options)]
    )
    house.drop("items1.csv", "id,who,day\n1,ann,2024-12-31\n2,,2024-12-31\n3,bob,\n4, ,hier\n")
    entry = house.land(brick)
    assert house.rows(brick, "items", "id") == [("1",)]
    assert [row["reason"] for row in refused_rows(house.lake, entry, 20)["items"]] == [
        "who is missing, and is required", "day is missing, and is required", "who is missing, and is required"
    ]  # fmt: skip


# Years, bounds, clocks -----------------------------------------------------------------------------------------------------

YEARS: dict[str, tuple[dict[str, Any], dict[str, str | None]]] = {
    "four digits": ({"format": "%d/%m/%Y"}, {"24/10/90": None, "07/02/2011": "2011-02-07", "1/1/990": None, "24/10/0090": "0090-10-24"}),
    "no format": ({}, {"90-10-24": None, "12-10-09": None, "1/2/03": None, "2003-02-01": "2003-02-01", "0090-10-24": "0090-10-24"}),
    "numbers that nothing parts": ({"format": "%Y%m%d"}, {"20241101": "2024-11-01", " 20240111 ": "2024-01-11", "2024111": None, "202411": None, "202401111": None, "2024-1-11": None}),
    "numbers that nothing parts, unpadded": ({"format": "%-d%-m%Y"}, {"01112024": "2024-11-01", "1112024": None}),
    "numbers that something parts": ({"format": "%d%b%Y"}, {"5Jan2024": "2024-01-05", "05Jan2024": "2024-01-05"}),
    "no number of digits": ({"format": "%-d/%-m/%Y"}, {"1/11/2024": "2024-11-01", "11/1/2024": "2024-01-11"}),
    "as ISO": ({"format": "%x"}, {"90-10-24": None, "1990-10-24": "1990-10-24"}),
    "two digits": ({"format": "%d/%m/%y", "years_from": 1930}, {
        "24/10/30": "1930-10-24", "24/10/29": "2029-10-24", "24/10/69": "1969-10-24", "24/10/68": "1968-10-24", "29/02/00": "2000-02-29", "24/10/1990": None}),
    "two digits of another century": ({"format": "%y%m%d", "years_from": 1850}, {"000229": None, "000228": "1900-02-28", "500101": "1850-01-01", "491231": "1949-12-31"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["date", "timestamptz"])
@pytest.mark.parametrize("case", YEARS)
def test_a_year_is_the_one_that_its_source_means_or_its_row_is_refused(house: House, case: str, kind: str) -> None:
    told, expected = YEARS[case]
    house.drop("items1.csv", "id;v\n" + "".join(f"{text};{text}\n" for text in expected))
    brick = house.brick(
        "shop", [table("items", [column("id"), column("v", kind, **told)], ["id"], {**CSV, "separator": ";"}, time_zone="UTC")]
    )
    house.land(brick)
    assert dict(house.rows(brick, "items", "id, v::date::varchar", "1")) == {text: day for text, day in expected.items() if day}


EPOCHS = {
    "epoch_s": {"1700000000": "2023-11-14 22:13:20", "0": "1970-01-01 00:00:00", "-86400": "1969-12-31 00:00:00", "1700000000.5": "2023-11-14 22:13:20.5",
                "1700000000000": None, "1.7e9": None, "0x10": None, "1_0": None, "2023-11-14": None, "9" * 30: None},
    "epoch_ms": {"1700000000000": "2023-11-14 22:13:20", "946684800000": "2000-01-01 00:00:00", "315532800000": "1980-01-01 00:00:00", "1700000000": None,
                 "946684800": None, "999999999": None, "0": None, "-86400": None, "-86400000": None, "9" * 17: None, "9" * 30: None},
}  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("unit", EPOCHS)
def test_a_number_is_an_instant_in_its_unit_and_never_in_another(house: House, unit: str, form: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = EPOCHS[unit]
    if form == "csv":
        house.drop("items1.csv", "id;v\n" + "".join(f"{text};{text}\n" for text in expected))
    else:
        expected = {text: moment for text, moment in expected.items() if text.lstrip("-").isdecimal() and len(text) < 18}
        rows = [{"id": text, "v": int(text)} for text in expected]
        house.drop("items1.ndjson", "".join(f"{json.dumps(row)}\n" for row in rows))
        pq.write_table(pa.Table.from_pylist(rows), house.drops / "items1.parquet")
    options = {"format": form, "path": f"items*.{form}", **({"separator": ";"} if form == "csv" else {})}
    brick = house.brick(
        "shop", [table("items", [column("id"), column("v", "timestamptz", format=unit)], ["id"], options, time_zone="Europe/Paris")]
    )
    house.land(brick)
    assert dict(house.rows(brick, "items", "id, v::timestamp::varchar", "1")) == {
        text: moment for text, moment in expected.items() if moment
    }


def test_milliseconds_before_1980_are_read_where_the_column_bounds_its_values(house: House) -> None:
    """Anywhere else they are rather seconds: those of any year until 11968 would be of 1970 to 1980."""
    house.drop("items1.csv", "id;v\na;0\nb;-86400000\nc;1700000000000\nd;-86400000000000\n")
    bounds = [dt.date(1960, 1, 1), None]
    columns = [column("id"), column("v", "timestamptz", format="epoch_ms", between=bounds)]
    brick = house.brick("shop", [table("items", columns, ["id"], {**CSV, "separator": ";"})])
    house.land(brick)
    found = dict(house.rows(brick, "items", "id, v::timestamp::varchar", "1"))
    assert found == {"a": "1970-01-01 00:00:00", "b": "1969-12-31 00:00:00", "c": "2023-11-14 22:13:20"}


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("kind", ["date", "timestamptz"])
def test_a_number_where_a_date_is_awaited_is_refused_with_its_mend(house: House, kind: str, form: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ingestion.steward import refused_rows

    rows = [{"id": str(number), "v": number} for number in (1700000000, 1700000000000, 20240105, 45321)]
    house.drop("items1.csv", "id;v\n" + "".join(f"{row['id']};{row['v']}\n" for row in rows))
    house.drop("items1.ndjson", "".join(f"{json.dumps(row)}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), house.drops / "items1.parquet")
    options = {"format": form, "path": f"items*.{form}", **({"separator": ";"} if form == "csv" else {})}
    entry = house.land(house.brick("shop", [table("items", [column("id"), column("v", kind)], ["id"], options)]))
    assert entry and entry["tables"]["items"]["kept"] == 0
    told = [row["reason"] for row in refused_rows(house.lake, entry, 20)["items"]]
    assert ["say `format: epoch_s` or `epoch_ms`" in reason for reason in told] == [True, True, False, False], told


def test_a_year_of_two_digits_is_refused_and_not_cut_by_the_cursor(house: House) -> None:
    brick = house.brick("shop", [table("items", [column("id"), column("day", "date", format="%d/%m/%Y")], ["id"], CSV, cursor="day")])
    house.drop("items1.csv", "id,day\na,01/02/2024\nb,02/02/2024\n")
    house.land(brick)
    house.drop("items1.csv", "id,day\na,01/02/2024\nb,02/02/2024\nc,24/10/90\n")
    entry = house.land(brick)
    assert entry
    record = entry["tables"]["items"]
    assert (record["kept"], record["refused"], record["before_cursor"]) == (1, 1, 1)


def test_a_value_out_of_its_bounds_is_refused(house: House) -> None:
    from ingestion.steward import refused_rows

    columns = [
        column("id"), column("day", "date", between=[dt.date(1990, 1, 1), dt.date(2030, 12, 31)]), column("n", "bigint", between=[0, 10]),
        column("at", "timestamptz", between=[dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC), dt.date(2024, 12, 31)]),
    ]  # fmt: skip
    good = ["a;1990-01-01;0;2024-01-01 09:00", "b;2030-12-31;10;2024-12-31 23:59", "c;;;"]
    bad = ["d;1989-12-31;1;", "e;2031-01-01;1;", "f;;11;", "g;;-1;", "h;;;2024-01-01 08:59", "i;;;2025-01-01 00:00"]
    house.drop("items1.csv", "\n".join(["id;day;n;at", *good, *bad]))
    brick = house.brick("shop", [table("items", columns, ["id"], {**CSV, "separator": ";"}, time_zone="Europe/Paris")])
    entry = house.land(brick)
    assert entry and [row[0] for row in house.rows(brick, "items", "id")] == ["a", "b", "c"]
    assert [row["reason"] for row in refused_rows(house.lake, entry, 9)["items"]] == [
        "day is not from 1990-01-01 to 2030-12-31: 1989-12-31", "day is not from 1990-01-01 to 2030-12-31: 2031-01-01",
        "n is not from 0 to 10: 11", "n is not from 0 to 10: -1",
        "at is not from 2024-01-01 08:00:00+00:00 to 2024-12-31: 2024-01-01 08:59", "at is not from 2024-01-01 08:00:00+00:00 to 2024-12-31: 2025-01-01 00:00",
    ]  # fmt: skip


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_a_load_read_by_a_clock_that_was_ahead_hides_nothing(house: House, verdict: str) -> None:
    from expectations.gate import judge_load
    from flows.outcome import LandStep

    house.drop("items1.csv", "id,n\na,1\n")
    brick = house.brick("shop", [ITEMS])
    first = house.land(brick)
    assert first
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    told = {"load_id": f"{ahead:%Y%m%dT%H%M%S%f}Z-shop", "read_at": ahead.isoformat(), "tables": {}, "verdict": verdict}
    house.journal.append("load", **{name: value for name, value in {**first, **told}.items() if name not in ENVELOPE})
    house.drop("items2.csv", "id,n\na,2\n")
    second = house.land(brick, judge_load)
    assert second and dt.datetime.fromisoformat(second["read_at"]) == ahead + dt.timedelta(microseconds=1)
    assert second["load_id"] > told["load_id"]
    assert house.rows(brick, "items", "max_by(n, _read_at)") == [(2,)]
    [warning] = [each for each in LandStep("shop", second).warnings if "clock" in each]
    assert f"load {told['load_id']} was read at" in warning and "Mend: check the clock" in warning
    house.drop("items3.csv", "id,n\na,3\n")
    third = house.land(brick)
    assert third and third["read_at"] > second["read_at"] and third["load_id"] > second["load_id"]


def test_loads_one_after_the_other_are_not_told_of_their_clock(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    entries = []
    for number in range(2):
        house.drop("SANDBOX.json", json.dumps({"synthetic": True, "now": "2025-01-01T00:00:00+00:00"}))
        house.drop(f"items{number}.csv", f"id,n\na,{number}\n")
        entries.append(house.land(brick))
    one, other = (dt.datetime.fromisoformat(entry["read_at"]) for entry in entries if entry)
    assert other - one == dt.timedelta(microseconds=1)
    assert entries[1] and "profile" not in entries[1]["tables"]["items"]


# Contracts that change ---------------------------------------------------------------------------------------------------


def test_new_columns_are_let_in_and_told(house: House) -> None:
    brick = house.brick("shop", [ITEMS, PLACES])
    house.drop("items1.csv", "id,n,colour\na,1,red\n")
    house.drop("places1.ndjson", '{"id": "p", "at": 1, "height": 3}\n{"id": "q", "at": 1}\n')
    entry = house.land(brick)
    assert entry
    assert entry["tables"]["items"]["new_columns"] == ["colour"]
    assert entry["tables"]["places"]["new_columns"] == ["height"]
    import pyarrow.parquet as pq

    landed = {name: pq.read_table(house.lake.path(record["files"][0]), partitioning=None) for name, record in entry["tables"].items()}
    assert landed["items"]["colour"].to_pylist() == ["red"]
    assert [text and json.loads(text) for text in landed["places"]["_extra"].to_pylist()] == [{"height": 3}, None]

    # Declared later, what was let in before is read.
    house.drop("items2.csv", "id,n\nb,2\n")
    items = table("items", [*ITEMS["columns"], column("colour", optional=True)], ["id"], CSV)
    places = table("places", [*PLACES["columns"], column("height", "bigint", optional=True)], ["id"], PLACES["config"]["meta"]["options"])
    brick = house.brick("shop", [items, places])
    assert house.rows(brick, "items", "id, colour") == [("a", "red")]
    house.land(brick)
    assert house.rows(brick, "items", "id, colour") == [("a", "red"), ("b", None)]
    assert house.rows(brick, "places", "id, height") == [("p", 3), ("q", None)]


def test_a_new_column_of_some_of_the_files_of_a_load_is_read_once_declared(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    house.drop("items2.csv", "id,n,colour\nb,1,red\n")
    house.land(brick)
    assert house.rows(brick, "items", "id") == [("a",), ("b",)]
    brick = house.brick("shop", [table("items", [*ITEMS["columns"], column("colour", optional=True)], ["id"], CSV)])
    assert house.rows(brick, "items", "id, colour") == [("a", None), ("b", "red")]


def test_unreadable_lines_beside_documents_do_not_hide_them(house: House) -> None:
    brick = house.brick("shop", [PLACES])
    house.drop("places1.ndjson", b'{"id": "p", "at": 1, "height": 3}\n{"id": "caf\xe9"}\n{"id": "q", "at": 2}\n')
    entry = house.land(brick)
    assert entry
    record = entry["tables"]["places"]
    assert (record["kept"], record["refused"], record["unreadable"], record["source_count"]) == (2, 1, 1, 3)
    assert house.rows(brick, "places", "id") == [("p",), ("q",)]
    brick = house.brick(
        "shop",
        [table("places", [*PLACES["columns"], column("height", "bigint", optional=True)], ["id"], PLACES["config"]["meta"]["options"])],
    )
    assert house.rows(brick, "places", "id, height") == [("p", 3), ("q", None)]


def test_a_changed_declaration_starts_a_version_and_old_loads_are_read_by_the_new_one(house: House) -> None:
    house.drop("items1.csv", "id,n,old\na,1,x\nb,2,y\n")
    brick = house.brick("shop", [table("items", [column("id"), column("n"), column("old")], ["id"], CSV)])
    first = house.land(brick)
    house.drop("items2.csv", "id,n,new,z\nc,3,w,9\n")
    columns = [column("id"), column("n", "bigint"), column("new", formerly=["old"]), column("z", "bigint", optional=True)]
    brick = house.brick("shop", [table("items", columns, ["id"], CSV)])
    second = house.land(brick)
    assert first and second and first["contract"] != second["contract"]
    assert list(second["declarations"]) == [second["contract"]["items"]]
    assert house.rows(brick, "items", "id, n, new, z") == [("a", 1, "x", None), ("b", 2, "y", None), ("c", 3, "w", 9)]

    # A column removed is not read any more; its old files still are.
    brick = house.brick("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV)])
    house.drop("items3.csv", "id,n\nd,4\n")
    house.land(brick)
    assert house.rows(brick, "items", "* exclude (_file, _row, _read_at, _load_id)") == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]

    # Said again, an old version is not told twice.
    house.drop("items4.csv", "id,n\ne,5\n")
    entry = house.land(brick)
    assert entry and entry["declarations"] == {}


VERSIONS: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any], list[str]]] = {
    "decimal comma": (column("v"), column("v", "double"), {"decimal": ",", "thousands": " "}, {}, ["1,5", "1 234,5", "1.234,5", "x"]),
    "format of a date": (column("v"), column("v", "date", format="%d/%m/%Y"), {}, {}, ["31/12/2024", "01/02/2024", "2024-01-02"]),
    "format of an instant": (column("v"), column("v", "timestamptz", format="%d/%m/%Y %H:%M"), {}, {"time_zone": "Europe/Paris"}, ["31/12/2024 10:30"]),
    "format with a zone": (column("v"), column("v", "timestamptz", format="%d/%m/%Y %H:%M%z"), {}, {"time_zone": "Europe/Paris"}, ["31/12/2024 10:30+05"]),
    "whole numbers of texts": (column("v"), column("v", "bigint"), {}, {}, ["12.7", "12.0", "1_000", "0x1F", "7"]),
    "whole numbers of numbers": (column("v", "double"), column("v", "bigint"), {}, {}, ["12.7", "12.0", "1e3"]),
    "numbers of whole numbers": (column("v", "bigint"), column("v", "double"), {"decimal": ","}, {}, ["12", "-3"]),
    "truth of numbers": (column("v", "bigint"), column("v", "boolean"), {}, {}, ["1", "0", "5"]),
    "local instants": (column("v"), column("v", "timestamptz"), {}, {"time_zone": "Europe/Paris"}, [
        "2024-07-01 12:00:00", "2024-07-01", "2024-07-01T12:00:00Z", "2024-07-01 12:00:00+05:30", "2024-07-01T12:00:00-05:00", "2024-01-05", "2024-07-01 12:00:00 America/New_York", "soon"]),
    "instants of days": (column("v", "date"), column("v", "timestamptz"), {}, {"time_zone": "Europe/Paris"}, ["2024-07-01", "2024-01-05"]),
    "days of instants": (column("v", "timestamptz"), column("v", "date"), {}, {"time_zone": "Europe/Paris"}, ["2024-07-01 00:30:00", "2024-07-01"]),
    "years of two digits": (column("v"), column("v", "date", format="%d/%m/%Y"), {}, {}, ["24/10/90", "24/10/0090", "24/10/1990"]),
    "dates that were numbers": (column("v", "bigint"), column("v", "date", format="%Y%m%d"), {}, {}, ["20241101", "2024111", "7"]),
    "dates that were numbers with a zero": (column("v", "bigint"), column("v", "date", format="%d%m%Y"), {}, {}, ["11012024", "1112024"]),
    "instants that were numbers": (column("v", "bigint"), column("v", "timestamptz", format="epoch_s"), {}, {"time_zone": "Europe/Paris"}, ["1700000000", "1700000000000"]),
    "instants that were texts": (column("v"), column("v", "timestamptz", format="epoch_ms"), {}, {"time_zone": "Europe/Paris"}, ["1700000000000", "1700000000", "946684800", "x"]),
    "years of a hundred": (column("v"), column("v", "date", format="%d/%m/%y", years_from=1930), {}, {}, ["24/10/29", "24/10/30", "24/10/1990"]),
    "bounds": (column("v"), column("v", "date", between=[dt.date(1990, 1, 1), None]), {}, {}, ["1989-12-31", "1990-01-01"]),
    "bounds of the same type": (column("v", "double"), column("v", "double", between=[0, 1.5]), {}, {}, ["-0.1", "0", "1.5", "1.6"]),
    "hours that clocks skip or show twice": (column("v"), column("v", "timestamptz"), {}, {"time_zone": "Europe/Paris"}, ["2024-03-31 02:30", "2024-10-27 02:30"]),
    "midnights that clocks skip or show twice": (column("v", "date"), column("v", "timestamptz"), {}, {"time_zone": "America/Havana"}, ["2024-03-10", "2024-11-03"]),
    "missing values": (column("v"), column("v"), {}, {"null_values": ["ND", "-"]}, ["ND", "-", "x"]),
    "JSON": (column("v"), column("v", "json"), {}, {}, ['{"a": 1}', "{", "3"]),
    "finite numbers": (column("v"), column("v", "double"), {}, {}, ["inf", "1.5", "1e400"]),
    "name in other capitals": (column("v", "bigint"), column("V", "bigint"), {}, {}, ["3"]),
}  # fmt: skip


@pytest.mark.parametrize("change", VERSIONS)
def test_an_old_load_reads_as_it_would_land_today(house: House, change: str) -> None:
    was, now, options, more, texts = VERSIONS[change]
    options = {**CSV, "separator": ";", **options}
    told = {"time_zone": more["time_zone"]} if "time_zone" in more else {}
    brick = house.brick("shop", [table("items", [column("id"), was], ["id"], options, **told)])
    write = "id;v\n" + "".join(f'{number};"{text.replace(chr(34), chr(34) * 2)}"\n' for number, text in enumerate(texts))
    house.drop("items1.csv", write)
    assert house.land(brick)
    options |= {name: value for name, value in more.items() if name == "null_values"}
    brick = house.brick("shop", [table("items", [column("id"), now], ["id"], options, **told)])
    old = dict(house.rows(brick, "items", "id, v", "1"))
    assert old, "nothing of it landed"
    house.drop("items2.csv", write)
    house.land(brick)
    new = dict(house.rows(brick, "items where _file = 'items2.csv'", "id, v", "1"))
    assert old == {number: new.get(number) for number in old}


def test_a_table_without_a_load_is_empty_and_typed(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    from ingestion.warehouse import catch_up

    with house.lake.connect() as connection:
        assert catch_up(connection, house.lake, house.journal, {"shop": brick}) == 0
        described = {row[0]: row[1] for row in connection.execute("describe shop.items").fetchall()}
        assert connection.execute("select as_of from meta.journal").fetchall() == [(None,)]
    assert described == {
        "id": "VARCHAR", "n": "BIGINT", "_file": "VARCHAR", "_row": "BIGINT",
        "_read_at": "TIMESTAMP WITH TIME ZONE", "_load_id": "VARCHAR",
    }  # fmt: skip


def test_a_lake_never_mixes_synthetic_and_real(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    house.land(brick)
    house.drop("items2.csv", "id,n\nb,1\n")
    house.drop("SANDBOX.json", json.dumps({"synthetic": True, "now": "2025-01-01T00:00:00+00:00"}))
    with pytest.raises(LakeError, match="they never mix"):
        house.land(brick)
    assert house.rows(brick, "items", "id") == [("a",)]


# Full disks ----------------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
from pathlib import Path
from ingestion.census import read_brick
from ingestion.journal import Journal
from ingestion.lake import Lake
from flows.steps import land
from expectations import gate
gate.judge_load = lambda *_: []
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
lake = Lake(sys.argv[2])
print(land(lake, Journal(lake), read_brick(Path(sys.argv[1])), "limited").error)
"""


def test_files_that_may_not_grow_give_a_clear_error_and_no_row(house: House) -> None:
    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\n" + "".join(f"{os.urandom(8).hex()},{n}\n" for n in range(20_000)))
    command = [sys.executable, "-c", LIMITED, str(house.folder / "bricks" / "shop.yml"), house.lake.root, "100000"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "too large" in told.lower() or "space" in told.lower(), told
    assert house.rows(brick, "items", "count(*)") == [(0,)]
    house.land(brick)
    assert house.rows(brick, "items", "count(*)") == [(20_000,)]
    assert house.landed_files("shop") == house.journal.named_files("shop")


@pytest.mark.parametrize("is_private", [False, True])
def test_what_duckdb_cannot_do_names_the_table_and_the_file(house: House, monkeypatch: pytest.MonkeyPatch, is_private: bool) -> None:
    import duckdb

    from flows.steps import land
    from ingestion import staging

    def fail(*_: Any) -> None:
        raise duckdb.OutOfMemoryException("could not allocate for 'DUPONT'\nand more")

    monkeypatch.setattr(staging, "write", fail)
    personal = [column("who", personal=True, mask="drop")] if is_private else []
    told: dict[str, Any] = {"legal_basis": "law", "purpose": "x"} if is_private else {}
    brick = house.brick("shop", [table("items", [column("id"), *personal], ["id"], {"format": "csv", "path": "items*.csv"})], **told)
    house.drop("items1.csv", "id,who\na,DUPONT\n")
    error = land(house.lake, house.journal, brick, "r").error
    name = "[0-9a-f]{16}" if is_private else r"items1\.csv"
    assert error and re.match(rf"shop\.items: {name} cannot be landed \(OutOfMemoryException", error) and "Mend: " in error
    assert ("DUPONT" in error) != is_private and "and more" not in error


@pytest.mark.parametrize("place", ["staging", "booking", "journal"])
def test_a_full_disk_gives_a_clear_error_and_no_row(house: House, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    from flows.steps import land
    from ingestion import staging

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    brick = two_tables(house)
    with monkeypatch.context() as patch:
        patch.setattr("expectations.gate.judge_load", accept)
        if place == "staging":
            patch.setattr(staging, "write", full)
        elif place == "booking":
            import dlt.destinations.impl.filesystem.filesystem as module

            patch.setattr(module.FilesystemLoadJob, "run", full)
        else:
            patch.setattr("ingestion.lake.os.fsync", full)
        step = land(house.lake, house.journal, brick, "run")
    assert step.failures and step.error and "No space left on device" in step.error
    assert contents(house, brick) == {"items": [], "places": []}
    house.land(brick)
    assert house.rows(brick, "items", "count(*), count(distinct id)") == [(100, 100)]
    assert house.landed_files("shop") == house.journal.named_files("shop")
    assert not [name for name in house.lake.names("journal") if not name.endswith(".json")]


# Erasure ---------------------------------------------------------------------------------------------------------------------


def test_an_erased_row_is_gone_under_every_contract_and_from_the_files(house: House) -> None:
    house.drop("items1.csv", "code,n\na,1\nb,2\nit's,3\n")
    house.land(house.brick("shop", [table("items", [column("code"), column("n", "bigint")], ["code"], CSV)]))
    house.drop("items2.csv", "id,n\na,5\nc,6\n")
    brick = house.brick("shop", [table("items", [column("id", formerly=["code"]), column("n", "bigint")], ["id"], CSV)])
    house.land(brick)
    before = house.journal.accepted()
    assert house.erase(brick, {"id": "a"}) == 2 and house.erase(brick, {"id": "it's", "n": 3}, {"id": "b", "n": 99}) == 1
    assert house.rows(brick, "items", "id, n") == [("b", 2), ("c", 6)]
    counts = [(load["tables"]["items"]["kept"], sum(load["tables"]["items"]["rows"])) for load in house.journal.accepted()]
    assert counts == [(1, 1), (1, 1)] and list(landed_faults(house.lake, house.journal, is_deep=True)) == []
    assert not house.landed_files("shop") & {name for load in before for name in files_of(load)}, "the old files are gone"
    assert [entry.get("rows") for entry in house.journal.of("erase")] == [None, 2, None, 1]


ID, N, X = column("id"), column("n", "bigint"), column("x")
IDENT, NUM = column("ident", formerly=["id"]), column("num", "bigint", formerly=["n"])
ERASURES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "nothing": ([ID, N, X], {"id": "A", "n": 1}),
    "a part of the key renamed": ([IDENT, N, X], {"id": "A", "n": 1}),
    "the other part renamed": ([ID, NUM, X], {"id": "A", "n": 1}),
    "told by the new names": ([IDENT, NUM, X], {"ident": "A", "num": 1}),
    "in other capitals": ([column("ID"), N, X], {"Id": "A", "N": 1}),
    "another type": ([ID, column("n", "double"), X], {"id": "A", "n": 1}),
    "another type, told as it is today": ([ID, column("n", "double"), X], {"id": "A", "n": 1.0}),
    "text": ([ID, column("n"), X], {"id": "A", "n": 1}),
    "a number that is no whole one": ([ID, column("n", "double"), X], {"id": "A", "n": 1.4}),
    "a row without it": ([ID, N, X], {"n": None, "x": "keep"}),
}
ERASED = "id,n,x\nA,1,secret\nA,2,keep\nB,1,keep\nC,,keep\n"


@pytest.mark.parametrize("is_before", [True, False], ids=["erased, then declared otherwise", "declared otherwise, then erased"])
@pytest.mark.parametrize("change", ERASURES)
def test_an_erasure_holds_whatever_becomes_of_the_contract_and_what_is_read_again(house: House, change: str, is_before: bool) -> None:
    columns, key = ERASURES[change]
    house.drop("items1.csv", ERASED)
    first = house.brick("shop", [table("items", [ID, N, X], ["id"], CSV)])
    house.land(first)
    is_of_today = any(name.casefold() not in ("id", "n", "x") for name in key)
    if is_before and not is_of_today:
        house.erase(first, key)
    brick = house.brick("shop", [table("items", columns, [columns[0]["name"]], CSV)])
    if not is_before or is_of_today:
        house.erase(brick, key)
    kept = {"a number that is no whole one": ["keep"] * 3 + ["secret"], "a row without it": ["keep"] * 2 + ["secret"]}.get(
        change, ["keep"] * 3
    )
    assert [value for (value,) in house.rows(brick, "items", "x")] == kept
    # The source still gives the row, in each format: it does not land again.
    names = [each["name"] for each in columns]
    house.drop("items1.csv", ERASED.replace("id,n,x", ",".join(names)) + "D,4,new\n")
    entry = house.land(brick)
    assert entry and entry["verdict"] == "accepted"
    record = entry["tables"]["items"]
    assert (record["kept"], record.get("erased", 0)) == (1 + len(kept), 4 - len(kept))
    assert [value for (value,) in house.rows(brick, "items", "x")] == sorted([*kept, *kept, "new"])
    place = house.rows(brick, "items", "_row", "_load_id desc, _row desc")[0][0]
    assert place == 5, "a row keeps its place at the source when others are left out"


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_what_was_erased_does_not_land_again_in_any_format(house: House, form: str) -> None:
    brick = house.brick("shop", [table("items", [ID, N, column("day", "date")], ["id"], {"format": form, "path": f"items*.{form}"})])
    write_items(house, form, [{"id": "a", "n": 1, "day": "2025-01-01"}, {"id": "b", "n": 2, "day": "2025-01-02"}])
    house.land(brick)
    house.erase(brick, {"id": "a"}), house.erase(brick, {"n": 2, "day": "2025-01-02"})
    assert house.rows(brick, "items") == []
    write_items(house, form, [{"id": i, "n": n, "day": f"2025-01-0{n}"} for i, n in (("a", 1), ("b", 2), ("b", 3))], "items2")
    entry = house.land(brick)
    assert entry and entry["reasons"] == [] and entry["tables"]["items"]["erased"] == 2
    assert house.rows(brick, "items", "id, n") == [("b", 3)]


def test_no_object_of_the_lake_holds_what_was_erased_nor_a_refused_row_that_told_of_it(house: House) -> None:
    house.drop("items1.csv", "id,n,x\nMartin,1,Rue Haute\nB,not a number,Martin\n")
    brick = house.brick("shop", [table("items", [ID, N, X], ["id"], CSV)])
    house.land(brick)
    house.erase(brick, {"id": "Martin"})
    for name in house.lake.names(""):
        content = house.lake.read(name) or b""
        assert b"Martin" not in content, name
    with pytest.raises(BrickError, match=r"the reason holds the value.*Mend: say it otherwise"):
        from ingestion.erasing import erase_rows

        erase_rows(house.lake, house.journal, brick, [{"id": "Dupont"}], "asked by M. Dupont")
    with pytest.raises(BrickError, match=r"shop: no table has code\. Mend: --key <column>=<value>, of items: id, n, x"):
        house.erase(brick, {"code": "A"})


def test_an_erasure_by_a_column_that_is_not_found_is_told(house: House) -> None:
    house.drop("items1.csv", "id,n\nA,1\nB,2\n")
    house.land(house.brick("shop", [table("items", [ID, N], ["id"], CSV)]))
    brick = house.brick("shop", [table("items", [ID, N, column("code")], ["id"], CSV)])
    with pytest.raises(LakeError, match=r"shop\.items: rows are erased by their column 'code'.*Mend: .*`formerly`.*`optional: true`"):
        house.erase(brick, {"code": "A"})
    assert not list(house.journal.of("erase")), "nothing is said before it can be done"
    renamed = house.brick("shop", [table("items", [column("code", formerly=["id"]), N], ["code"], CSV)])
    assert house.erase(renamed, {"code": "A"}) == 1 and house.rows(renamed, "items", "code") == [("B",)]
    never_held = house.brick("shop", [table("items", [column("id", formerly=["code"]), N, column("z", optional=True)], ["id"], CSV)])
    assert house.erase(never_held, {"z": "A"}) == 0
    gone = house.brick("shop", [table("items", [N], ["n"], CSV)])
    house.drop("items2.csv", "n\n5\n")
    with pytest.raises(
        BrickError, match=r"rows were erased by column 'code' \(entry \d+ of the journal\).*would land again\. Mend: declare it"
    ):
        house.land(gone)


def test_a_brick_without_an_endpoint_is_told_how_to_have_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    brick = house.brick("shop", [ITEMS])
    monkeypatch.delenv("ORCHESTRA_ENDPOINT_SHOP")
    with pytest.raises(BrickError, match=r"no endpoint \(Dropped by hand.\) Mend: set ORCHESTRA_ENDPOINT_SHOP"):
        house.land(brick)
    assert Journal(house.lake).seq == 0


def test_a_file_that_an_accepted_load_could_not_read_is_told_until_it_is_read_or_given_up(house: House) -> None:
    from ingestion.steward import accept_load, standing_refusals

    brick = house.brick("shop", [ITEMS])
    house.drop("items1.csv", "id,n\na,1\n")
    for name in ("items2.csv", "items3.csv"):
        house.drop(name, "other,n\nb,1\n")
    first = house.land(brick)
    assert first and first["verdict"] == "accepted"
    assert house.land(brick) is None
    told = standing_refusals(house.journal, "shop")[first["load_id"]]
    assert "is not whole: shop.items: items2.csv: lacks the declared columns id" in told and "shop.items: items3.csv" in told
    house.drop("items2.csv", "id,n\nb,1\n")
    assert house.land(brick) and "items2.csv" not in standing_refusals(house.journal, "shop")[first["load_id"]]
    assert f"orchestra loads accept {first['load_id']} --why" in told
    accept_load(house.lake, house.journal, first, "Nobody has that month.")
    assert not standing_refusals(house.journal, "shop") and house.land(brick) is None
    with pytest.raises(LakeError, match="accepted already"):
        accept_load(house.lake, house.journal, first, "Again.")
    house.drop("items3.csv", "else,n\nc,1\n")
    assert not house.land(brick), "given up until it can be read"
    house.drop("items3.csv", "id,n\nc,1\n")
    assert house.land(brick)
    assert house.rows(brick, "items", "id, n") == [("a", 1), ("b", 1), ("c", 1)]


def test_a_number_that_a_text_column_reads_stays_as_it_is_written(house: House) -> None:
    written = {
        "a": "1.50", "b": "17.0", "c": "-0.10", "d": "1e3", "e": "123456789012345678901234567890", "f": '"2.50 kWh"', "g": "null",
        "h": "1.10,\"o\": {\"x\": 1.1000}", "i": '"\\"x\\": 1.0, 1.00"', "j": "2.10, \"o\": {\"x\": 3.0}",
    }  # fmt: skip
    house.drop("versions.ndjson", "".join(f'{{"id": "{name}", "x" : {text}}}\n' for name, text in written.items()))
    columns = [column("id"), column("x")]
    brick = house.brick("versions", [table("versions", columns, ["id"], {"format": "ndjson", "path": "versions.ndjson"})])
    house.land(brick)
    found = dict(house.rows(brick, "versions", "id, x"))
    # The same number written in two ways under one key: nothing tells which, and it is what DuckDB writes.
    twice = {"f": "2.50 kWh", "g": None, "h": "1.1", "i": '"x": 1.0, 1.00', "j": "2.10"}
    assert found == {name: written[name] for name in "abcde"} | twice
