"""Nothing personal reaches a disk in clear: the bytes of every file are searched, also after refusals, kills and spills."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import House, Site, column, table
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.brick import Brick
from ingestion.column import Column
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.lake import Lake
from ingestion.privacy import KEY, masked, pseudonym_key
from ingestion.territory import read_territory

MASTER = "une clé de test assez longue"
PERSONAL = {"legal_basis": "mission of public interest", "purpose": "heat waves", "pseudonym_domain": "homes"}
COLUMNS = [
    column("id"),
    column("name", personal=True, mask="drop"),
    column("address_key", personal=True, mask="pseudonym"),
    column("zone", personal=True, mask="zone", position=["lon", "lat"]),
    column("phone", personal=True, mask="drop"),
    column("heat", "double"),
]
SQUARE = [[[-1.7, 48.1], [-1.6, 48.1], [-1.6, 48.2], [-1.7, 48.2], [-1.7, 48.1]]]
# One value of each kind in each row, telling enough to be found anywhere.
NAMES = [f"Gwénaëlle Le Goff-{n}" for n in range(6)]
ADDRESSES = [f"35238_4321_{n:05}_rue-de-la-Soif" for n in range(6)]
PHONES = [f"06 12 34 56 7{n}" for n in range(6)]
POSITIONS = [("-1.65432101", f"48.1500987{n}") for n in range(5)] + [("2.35001234", "48.85009876")]
CLEAR = [*NAMES, *ADDRESSES, *PHONES, *(value for position in POSITIONS for value in position), "secret-undeclared-note"]


def homes(house: House, form: str, endpoint: str | None = None) -> Brick:
    """Give a brick with every mask."""
    options = {"csv": {"format": "csv", "path": "homes*.csv", "separator": ";"}, "gz": {"format": "csv", "path": "homes.csv.gz", "separator": ";"},
               "ndjson": {"format": "ndjson", "path": "homes.ndjson"}, "json": {"format": "json", "path": "homes/*.json"}}[form]  # fmt: skip
    if form == "csv" and endpoint:
        options["path"] = "homes.csv"
    return house.brick("homes", [table("people", COLUMNS, ["id"], options)], endpoint, **PERSONAL)


def content(form: str) -> dict[str, bytes]:
    """Give the source's files: six good rows, refused ones, and lines that no reader can parse, all with clear values."""
    rows = [
        {"id": f"p{n}", "name": NAMES[n], "address_key": ADDRESSES[n], "lon": POSITIONS[n][0], "lat": POSITIONS[n][1],
         "phone": PHONES[n], "heat": "1.5", "note": "secret-undeclared-note"}
        for n in range(6)
    ]  # fmt: skip
    refused = [{**rows[0], "id": "bad", "heat": PHONES[0]}, {**rows[1], "id": ""}, {**rows[2], "id": "bad2", "heat": NAMES[2]}]
    if form in ("csv", "gz"):
        lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows + refused)]
        broken = [f"{NAMES[3]};{ADDRESSES[3]};{PHONES[3]}", ";".join([*rows[4].values(), "too", "many"])]
        text = "\n".join(lines + broken).encode() + b"\n" + f"x;{NAMES[5]};".encode() + b"\xff\xfe;;;;;\n"
        return {"homes.csv.gz": gzip.compress(text)} if form == "gz" else {"homes.csv": text}
    if form == "json":
        documents = [json.dumps(row) for row in rows + refused] + [f'{{"id": "{NAMES[3]}', f'"{PHONES[2]}"']
        return {f"homes/{n}.json": document.encode() for n, document in enumerate(documents)}
    lines = [json.dumps(row, ensure_ascii=n % 2 == 0) for n, row in enumerate(rows + refused)]
    lines += [f'{{"id": "{NAMES[3]}', f'["{PHONES[2]}"]', f'"{ADDRESSES[1]}"']
    return {"homes.ndjson": "\n".join(lines).encode() + b'\n{"id": "\xff ' + NAMES[4].encode() + b'"}\n'}


def found_in_clear(*folders: Path) -> list[str]:
    """Search the bytes of every file under some folders, what gzip packed, and the values of the Parquet files."""
    import pyarrow.parquet as pq

    needles = {value: (value.encode(), json.dumps(value)[1:-1].encode(), value.encode("utf-16-le")) for value in CLEAR}
    found: list[str] = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_symlink() and path.resolve().name.startswith("memfd:"):
                continue  # memory under a name: nothing of it is on a disk
            if not path.is_file():
                continue
            raw = path.read_bytes()
            if raw[:2] == b"\x1f\x8b":
                raw += gzip.decompress(raw)
            if raw[:4] == b"PAR1":
                raw += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
                raw += repr(pq.read_schema(path)).encode()
            found += [f"{value} in {path}" for value, forms in needles.items() if any(form in raw for form in forms)]
    return found


@pytest.fixture
def private(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Give a house with a key, zones, and a HOME and a TMPDIR of its own."""
    import tempfile

    zone = {
        "type": "Feature",
        "properties": {"code": "352380101", "households": 40},
        "geometry": {"type": "Polygon", "coordinates": SQUARE},
    }
    (tmp_path / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [zone]}))
    territory = Path(__file__).parent.parent.joinpath("territory.yml").read_text(encoding="utf-8")
    path = tmp_path / "territory.yml"
    path.write_text(re.sub(r"(?m)^zones:.*$", f"zones: {tmp_path / 'zones.geojson'}", territory), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_TERRITORY", str(path))
    read_territory.cache_clear()
    monkeypatch.setenv(KEY, MASTER)
    for name in ("HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "TMPDIR"))
    yield house


def places(house: House) -> list[Path]:
    """Give every folder in which a landing may write."""
    return [Path(house.lake.root), house.lake.state, house.folder / "HOME", house.folder / "TMPDIR"]


def keyed(value: str) -> str:
    """Give the keyed hash of a text as it stands."""
    return hmac.new(pseudonym_key(MASTER, "homes"), value.encode(), hashlib.sha256).hexdigest()


def pseudonym(value: str) -> str:
    """Give the pseudonym of a value as Python makes it."""
    return keyed(normal(value))


def test_no_clear_value_reaches_the_folder_of_dlt(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brick through dlt alone: each file of its folder is searched before and after each of its steps, and the database."""
    import dlt

    from ingestion.source import brick

    monkeypatch.setenv("ORCHESTRA_BRICKS", str(private.folder / "bricks"))
    folders, seen = [*places(private), private.folder / "dlt", private.folder / "base"], list[str]()
    for step in ("normalize", "load", "sync_destination"):
        function = getattr(dlt.Pipeline, step)

        def searched(*arguments: Any, _function: Any = function, **options: Any) -> Any:
            seen.extend(found_in_clear(*folders))
            return _function(*arguments, **options)

        monkeypatch.setattr(dlt.Pipeline, step, searched)
    (private.folder / "base").mkdir()
    for form in ("csv", "ndjson"):
        for name, raw in content(form).items():
            private.drop(name, raw)
        homes(private, form)
        target = dlt.destinations.duckdb(str(private.folder / "base" / "any.duckdb"))
        pipeline = dlt.pipeline(form, pipelines_dir=str(private.folder / "dlt"), dataset_name=form, destination=target)
        pipeline.run(brick("homes"))
        with pipeline.sql_client() as client:
            rows = client.execute_sql("select address_key from people where _refused is null order by id")
        assert [row[0] for row in rows] == [pseudonym(value) for value in ADDRESSES]
    assert list((private.folder / "dlt").rglob("*.parquet"))
    assert not seen and not found_in_clear(*folders)


def test_the_search_finds_what_is_there(private: House) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": NAMES}), private.folder / "HOME" / "a.parquet", compression="zstd")
    (private.folder / "TMPDIR" / "b.gz").write_bytes(gzip.compress(PHONES[0].encode()))
    assert len(found_in_clear(*places(private))) == len(NAMES) + 1


@pytest.mark.parametrize("way", ["folder", "http"])
@pytest.mark.parametrize("form", ["csv", "gz", "ndjson", "json"])
def test_no_clear_value_reaches_a_disk(private: House, site: Site, form: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from expectations.gate import judge_load
    from ingestion import landing
    from ingestion.steward import refused_rows

    for name, raw in content(form).items():
        if way == "http":
            site.put(f"/{name}", raw)
        else:
            private.drop(name, raw)
    brick = homes(private, form, site.url if way == "http" else None)

    # Also while it works: a kill may come at any time.
    seen: list[str] = []
    for name in ("stage", "_book"):
        function = getattr(landing, name)

        def searched(*arguments: Any, _function: Any = function) -> Any:
            seen.extend(found_in_clear(*places(private)))
            given = _function(*arguments)
            seen.extend(found_in_clear(*places(private)))
            return given

        monkeypatch.setattr(landing, name, searched)
    entry = private.land(brick, judge_load)
    assert entry
    assert seen == []
    assert found_in_clear(*places(private)) == []
    assert not any(value in json.dumps(entry, ensure_ascii=False) for value in CLEAR)

    record = entry["tables"]["people"]
    assert record["kept"] == 6 and record["refused"] >= 5
    assert record["source_count"] == record["kept"] + record["refused"]
    assert record["new_columns"] == ([] if form in ("ndjson", "json") else ["1 (the brick has personal columns: not named)"])
    told = refused_rows(private.lake, entry, 99)["people"]
    assert {row["reason"] for row in told} >= {"heat is not a number", "id is missing, and is in the key"}
    assert not any(value in row["reason"] for row in told for value in CLEAR)
    # Refused by the gate, for so many rows are refused; it says so without a value.
    assert entry["verdict"] == "refused" and not any(value in str(entry["reasons"]) for value in CLEAR)

    from ingestion.steward import accept_load

    accept_load(private.lake, private.journal, entry, "a trial")
    rows = private.rows(brick, "people", "id, address_key, zone, heat", "id")
    assert rows == [(f"p{n}", pseudonym(ADDRESSES[n]), "352380101" if n < 5 else None, 1.5) for n in range(6)]


KILLED = """
import os, signal, sys
from pathlib import Path
import ingestion.landing as landing
from ingestion.census import read_brick
from ingestion.journal import Journal
from ingestion.lake import Lake
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(*{"staged": (landing, "_book", die), "booked": (Journal, "append", die), "read": (landing, "stage", die)}[sys.argv[3]])
lake = Lake(sys.argv[2])
landing.land_brick(lake, Journal(lake), read_brick(Path(sys.argv[1])), "r", lambda *_: [])
"""


@pytest.mark.parametrize("step", ["read", "booked"])
def test_a_kill_leaves_no_clear_value(private: House, site: Site, step: str) -> None:
    for name, raw in content("csv").items():
        site.put(f"/{name}", raw)
    homes(private, "csv", site.url)
    command = [sys.executable, "-c", KILLED, str(private.folder / "bricks" / "homes.yml"), private.lake.root, step]
    assert subprocess.run(command, check=False).returncode == -9
    assert found_in_clear(*places(private)) == []


SPILT_ROWS = 400_000
SPILL = """
import os, sys, threading, time
from pathlib import Path
from ingestion.lake import Lake
lake, copied = Lake(sys.argv[1]), Path(sys.argv[2])
connection = lake.connect(is_private=sys.argv[3] == "private")
done = threading.Event()
def watch():
    while not done.is_set():
        for path in (lake.state / "spill").rglob("*"):
            try:
                if path.is_file() and path.stat().st_size > 1 << 20:
                    (copied / path.name).write_bytes(path.read_bytes())
            except OSError:
                pass
        time.sleep(0.01)
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
connection.execute("set preserve_insertion_order = false")
connection.execute("create temp table people as select 'Gwénaëlle Le Goff-' || (range % 6) || '/' || range as name, hash(range) as h from range(3000000)")
connection.execute("create temp table sorted as select * from people order by h")
done.set()
watcher.join()
"""


@pytest.mark.parametrize("nature", ["private", "open"])
def test_what_duckdb_spills_is_encrypted_for_a_brick_with_personal_columns(private: House, tmp_path: Path, nature: str) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    limits = {**os.environ, "ORCHESTRA_MEMORY": "100MB", "ORCHESTRA_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SPILL, private.lake.root, str(copied), nature], check=True, env=limits, timeout=60)
    assert sum(path.stat().st_size for path in copied.iterdir()) > 1 << 20, "nothing was spilt: this test shows nothing"
    # The prefix of the names: what is open shows that the search would find them.
    is_found = any("Gwénaëlle Le Goff-".encode() in path.read_bytes() for path in copied.iterdir())
    assert is_found == (nature == "open")


def test_a_landing_that_spills_shows_no_clear_value(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setenv("ORCHESTRA_MEMORY", "150MB")
    head = ";".join(("id", "name", "address_key", "lon", "lat", "phone", "heat"))
    rows = (f"p{n};{NAMES[n % 6]};{ADDRESSES[n % 6]}{n};-1.6543{n:06};48.1500987;{PHONES[n % 6]};1" for n in range(SPILT_ROWS))
    private.drop("homes.csv", head + "\n" + "\n".join(rows) + "\n")
    seen: list[str] = []
    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for path in private.lake.state_path("spill", "x").parent.glob("*/*"):
                try:
                    raw = path.read_bytes()
                except OSError:
                    continue
                sizes.append(len(raw))
                seen.extend(value for value in CLEAR if value.encode() in raw)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    brick = homes(private, "csv")
    entry = private.land(brick)
    done.set()
    watcher.join()
    assert entry
    assert max(sizes, default=0) > 1 << 20, "it did not spill: this test shows nothing"
    assert seen == []
    assert found_in_clear(*places(private)) == []
    # The search for zones mixes the rows up; the row that a steward is told is the source's all the same.
    with private.lake.connect() as connection:
        files = [private.lake.path(file) for file in entry["tables"]["people"]["files"]]
        told = "select count(*), count(*) filter (where id <> 'p' || (_row - 1)) from read_parquet($1)"
        assert connection.execute(told, [files]).fetchall() == [(SPILT_ROWS, 0)]


@pytest.mark.parametrize("key", [None, "", "short"])
def test_without_a_key_nothing_lands(private: House, site: Site, monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    monkeypatch.delenv(KEY)
    if key is not None:
        monkeypatch.setenv(KEY, key)
    with pytest.raises(BrickError, match=rf"homes: has personal columns and {KEY} is not set .16 characters at least.*Mend: set it"):
        private.land(homes(private, "csv", site.url))
    assert private.journal.seq == 0 and site.asked == [], "it was fetched all the same"


def test_without_its_zones_nothing_lands(private: House, tmp_path: Path) -> None:
    private.drop("homes.csv", content("csv")["homes.csv"])
    brick = homes(private, "csv")
    (tmp_path / "zones.geojson").unlink()
    read_territory.cache_clear()
    with pytest.raises(BrickError, match=r"territory\.yml: zones: .*zones\.geojson is no file"):
        private.land(brick)
    path = Path(os.environ["ORCHESTRA_TERRITORY"])
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | {"zones": None}), encoding="utf-8")
    with pytest.raises(BrickError, match=r"mask zone needs the GeoJSON that `zones` of territory\.yml names"):
        private.land(brick)
    assert private.journal.seq == 0


def test_the_zones_are_named_from_the_folder_of_the_territory(private: House, tmp_path: Path) -> None:
    path = tmp_path / "territory.yml"
    path.write_text(re.sub(r"(?m)^zones:.*$", "zones: zones.geojson", path.read_text(encoding="utf-8")), encoding="utf-8")
    read_territory.cache_clear()
    private.drop("homes.csv", content("csv")["homes.csv"])
    assert private.land(homes(private, "csv"))


def test_a_pseudonym_joins_inside_its_domain_only() -> None:
    assert pseudonym_key(MASTER, "homes") == pseudonym_key(MASTER, "homes")
    assert pseudonym_key(MASTER, "homes") != pseudonym_key(MASTER, "schools")
    assert pseudonym_key("another key, long enough", "homes") != pseudonym_key(MASTER, "homes")


def normal(text: str) -> str:
    """Give the normal form of a text: NFC, capitals folded, one space between words."""
    parted = "".join(" " if mark.isspace() else mark for mark in unicodedata.normalize("NFC", text))
    return " ".join(unicodedata.normalize("NFC", parted.casefold()).split(" ")).strip(" ")


# Letters whose simple and full folding agree; `ß` is folded as `ss` by both.
LETTERS = st.characters(max_codepoint=0x24F, exclude_characters="İıŉǰ", exclude_categories=("Cc",))
NAME = st.text(st.one_of(LETTERS, st.sampled_from("\u0301\u0308\u0327\u00a0\u2009\u3000\t\nΣςσЖжẞ")), max_size=60)


def test_sql_makes_the_pseudonyms_that_python_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Lake(str(tmp_path)).connect(is_private=True)
    expression = masked(Column.model_validate(column("x", personal=True, mask="pseudonym")), {"x": "$1::varchar"})

    @settings(max_examples=150, deadline=None)
    @given(st.binary(min_size=1, max_size=100).map(bytes.hex), NAME)
    def check(master: str, value: str) -> None:
        from ingestion import privacy
        from ingestion.brick import Brick

        monkeypatch.setenv(KEY, master * 16)
        tables = [table("t", [column("id"), column("x", personal=True, mask="pseudonym")], ["id"], {"format": "csv", "path": "x.csv"})]
        from conftest import source

        brick = Brick.model_validate(source("homes", tables, **PERSONAL)["sources"][0])
        privacy.prepare(connection, brick)
        key = hmac.new((master * 16).encode(), b"homes", hashlib.sha256).digest()
        text = re.sub(" +", " ", normal(value))
        expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest() if text else None
        assert connection.execute(f"select {expression}", [value]).fetchall() == [(expected,)]

    check()


SPELLED = ["Gwénaëlle Le Goff", "GWÉNAËLLE LE GOFF", unicodedata.normalize("NFD", "gwénaëlle  le\u00a0goff"), " Gwénaëlle Le Goff\u2009"]


def test_a_name_has_one_pseudonym_however_it_is_written(private: House) -> None:
    options = {"format": "csv", "path": "homes.csv"}
    brick = private.brick("homes", [table("people", [column("id"), column("name", **PHONE)], ["id"], options)], **PERSONAL)
    private.drop("homes.csv", "id,name\n" + "".join(f"{n},{name}\n" for n, name in enumerate([*SPELLED, "Straße 1", "STRASSE 1"])))
    entry = private.land(brick)
    assert entry and entry["pseudonyms"]["form"] == 2 and "profile" not in entry["tables"]["people"]
    names = [name for (name,) in private.rows(brick, "people", "name", "id")]
    assert names == [pseudonym("gwénaëlle le goff")] * 4 + [pseudonym("strasse 1")] * 2


@pytest.mark.parametrize("said", ["without a form", "not at all"])
def test_a_lake_that_began_with_texts_as_they_stand_keeps_that_form_and_says_so(private: House, said: str) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    brick = private.brick("homes", [table("people", [column("id"), column("name", **PHONE)], ["id"], options)], **PERSONAL)
    private.drop("homes1.csv", f"id,name\na,{SPELLED[0]}\n")
    private.land(brick)
    path = Path(private.lake.path("journal", f"{2:012d}.json"))
    entry = json.loads(path.read_text())
    entry["pseudonyms"].pop("form")
    path.write_text(
        json.dumps(entry if said == "without a form" else {name: value for name, value in entry.items() if name != "pseudonyms"})
    )
    private.drop("homes2.csv", f"id,name\nb, {SPELLED[0]} \nc,{SPELLED[1]}\n")
    second = private.land(brick)
    assert second and second["pseudonyms"]["form"] == 1
    [warning] = second["tables"]["people"]["profile"]["warnings"]
    assert "domain 'homes' are of texts as they stand" in warning and "orchestra loads drop" in warning
    assert [name for _, name in private.rows(brick, "people", "id, name")][1:] == [keyed(SPELLED[0]), keyed(SPELLED[1])]


def test_the_key_never_stands_in_sql(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import staging

    texts: list[str] = []
    copy = staging.write
    monkeypatch.setattr(staging, "write", lambda connection, select, file: (texts.append(select), copy(connection, select, file)))
    private.drop("homes.csv", content("csv")["homes.csv"])
    private.land(homes(private, "csv"))
    key = pseudonym_key(MASTER, "homes")
    assert texts and not any(MASTER in text or key.hex() in text.lower() for text in texts)


# Columns that become personal ------------------------------------------------------------------------------------------


BEFORE = ["declared", "let in", "let in as json", "named otherwise", "a position", "masked less", "pseudonym", "refused"]


def becoming_personal(private: House, before: str) -> tuple[Brick, Entry]:
    """Land a row and a refused one with a column in clear; give the brick that says it is personal, and that load."""
    form = "ndjson" if before == "let in as json" else "csv"
    options = {"format": form, "path": f"homes.{form}"}
    row = {"id": "a", "n": "1", "phone": PHONES[0], "telephone": PHONES[0], "lon": "-1.65432101", "lat": "48.15009870"}
    raw = json.dumps(row) + "\n" if form == "ndjson" else ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    if before == "refused":
        raw += f"c,{PHONES[0]},,,,\n"
    private.drop(f"homes.{form}", raw)
    was = {
        "declared": [column("phone")],
        "pseudonym": [column("phone")],
        "named otherwise": [column("telephone")],
        "a position": [column("lon", "double"), column("lat", "double")],
        "masked less": [column("phone", personal=True, mask="pseudonym")],
    }.get(before, [])
    declared = [column("id"), column("n", "bigint")]
    told = PERSONAL if before == "masked less" else {}
    first = private.land(private.brick("homes", [table("people", declared + was, ["id"], options)], **told))
    assert first
    new = {
        "a position": column("zone", personal=True, mask="zone", position=["lon", "lat"]),
        "named otherwise": column("phone", personal=True, mask="pseudonym", formerly=["telephone"]),
        "pseudonym": column("phone", personal=True, mask="pseudonym"),
    }.get(before, column("phone", personal=True, mask="drop"))
    brick = private.brick("homes", [table("people", [*declared, new], ["id"], options)], **PERSONAL)
    private.drop(f"homes.{form}", raw + raw.splitlines()[1 if form == "csv" else 0].replace('"a"', '"b"').replace("a,", "b,") + "\n")
    return brick, first


@pytest.mark.parametrize("before", BEFORE)
def test_a_column_that_becomes_personal_is_masked_in_the_old_loads_first(private: House, before: str) -> None:
    from ingestion.steward import refused_rows

    brick, first = becoming_personal(private, before)
    assert before == "masked less" or found_in_clear(Path(private.lake.root)), "it stands in clear until then"
    old_files = private.landed_files("homes")
    warehouse = private.lake.state_path("warehouse.duckdb")
    warehouse.write_bytes(PHONES[0].encode())
    second = private.land(brick)
    assert second and second["verdict"] == "accepted"
    loads = private.journal.loads("homes")
    assert list(loads) == [first["load_id"], second["load_id"]], "the old load is there, under its name"
    amended = loads[first["load_id"]]
    assert amended["read_at"] == first["read_at"] and amended["verdict"] == first["verdict"] and amended["seq"] > first["seq"]
    assert not old_files & private.landed_files("homes"), "its files in clear are gone"
    assert not warehouse.exists(), "and the warehouse that was built from them"
    assert found_in_clear(*places(private)) == []
    _, _, _, masked_value = private.rows(brick, "people", "id, n, _load_id, {}".format(
        {"a position": "zone", "named otherwise": "phone", "pseudonym": "phone"}.get(before, "null")), "_read_at, id")[0]  # fmt: skip
    expected = {"a position": "352380101", "named otherwise": pseudonym(PHONES[0]), "pseudonym": pseudonym(PHONES[0])}.get(before)
    assert masked_value == expected
    assert {row[0] for row in private.rows(brick, "people", "id")} == {"a", "b"}
    [reason] = [row["reason"] for row in refused_rows(private.lake, amended, 9)["people"]] or [None]
    assert reason == ("n is not a whole number" if before == "refused" else None)
    assert private.land(brick) is None, "nothing is to be masked any more"


@pytest.mark.parametrize("step", ["written", "said"])
def test_a_kill_while_old_loads_are_masked_loses_nothing_and_ends_masked(private: House, step: str) -> None:
    brick, _ = becoming_personal(private, "pseudonym")
    script = f"""
import os, signal, sys
from pathlib import Path
from ingestion.census import read_brick
from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.landing import land_brick
amend = Journal.amend
def killed(journal, load, **changes):
    if {step == "said"}:
        amend(journal, load, **changes)
    os.kill(os.getpid(), signal.SIGKILL)
Journal.amend = killed
lake = Lake(sys.argv[1])
land_brick(lake, Journal(lake), read_brick(Path(sys.argv[2])), "run", lambda *_: [])
"""
    path = private.folder / "bricks" / "homes.yml"
    process = subprocess.run([sys.executable, "-c", script, private.lake.root, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert private.land(brick)
    assert found_in_clear(*places(private)) == []
    assert private.rows(brick, "people", "id, phone") == [
        ("a", pseudonym(PHONES[0])),
        ("a", pseudonym(PHONES[0])),
        ("b", pseudonym(PHONES[0])),
    ]
    named = private.journal.named_files("homes")
    assert private.landed_files("homes") == named


def test_what_a_killed_masking_left_of_a_brick_that_is_unplugged_is_swept(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import steps
    from ingestion.erasing import take_back_of

    brick, _ = becoming_personal(private, "pseudonym")
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(private.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_HOMES", "none")
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "delete", lambda *_: os._exit(9))
        child = os.fork()
        if child == 0:
            try:
                take_back_of(private.lake, private.journal, brick)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert found_in_clear(Path(private.lake.root)), "the old files stand, and no entry names them"
    step = steps.mask(private.lake, private.journal, "r")
    assert step and step.failures == [] and step.masked == {"homes": []}
    assert found_in_clear(Path(private.lake.root)) == []
    assert steps.mask(private.lake, private.journal, "r") is None


@pytest.mark.parametrize("was", ["declared", "let in"])
def test_a_column_in_other_capitals_that_becomes_personal_is_masked(private: House, was: str) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    private.drop("homes1.csv", f"id,PHONÉ\na,{PHONES[0]}\n")
    columns = [column("id"), *([column("PHONÉ")] if was == "declared" else [])]
    private.land(private.brick("homes", [table("people", columns, ["id"], options)]))
    assert found_in_clear(Path(private.lake.root)), "it stands in clear until then"
    columns = [column("id"), column("phoné", personal=True, mask="pseudonym")]
    brick = private.brick("homes", [table("people", columns, ["id"], options)], **PERSONAL)
    private.drop("homes2.csv", f"id,PHONÉ\nb,{PHONES[1]}\n")
    private.land(brick)
    assert found_in_clear(*places(private)) == []
    assert private.rows(brick, "people", 'id, "phoné"') == [("a", pseudonym(PHONES[0])), ("b", pseudonym(PHONES[1]))]


def test_headers_that_are_not_declared_are_counted_and_not_named(private: House, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from flows import cli

    columns = [column("id", optional=True), column("phone", optional=True, personal=True, mask="drop")]
    brick = private.brick("homes", [table("people", columns, ["id"], {"format": "csv", "path": "homes.csv"})], **PERSONAL)
    private.drop("homes.csv", f"{NAMES[0]};{PHONES[0]}\n{NAMES[1]};{PHONES[1]}\n")  # no header: the first row is taken for one
    entry = private.land(brick)
    assert entry and not any(value in json.dumps(entry, ensure_ascii=False) for value in CLEAR)
    monkeypatch.setenv("ORCHESTRA_LAKE", private.lake.root)
    assert cli.main(["loads", "show", entry["load_id"]]) == 0
    assert "columns that the brick does not declare: 2 (the brick has personal columns: not named)" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["csv", "ndjson", "json", "zip"])
def test_a_file_that_is_called_after_a_person_is_told_by_digests_of_its_name(
    private: House, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    import zipfile

    def lay(name: str, rows: str) -> None:
        path = private.drops / "2025-01-01" / (f"{name}.zip" if form == "zip" else f"{name}.{form}")
        path.parent.mkdir(exist_ok=True)
        if form == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{name} 2.csv", rows)
        else:
            path.write_text(rows)

    def rows_of(*ids: str) -> str:
        if form in ("ndjson", "json"):
            return "".join(json.dumps({"id": i, "n": 1, "phone": PHONES[0]}) + ("\n" if form == "ndjson" else "") for i in ids)
        return "id,n,phone\n" + "".join(f"{i},1,{PHONES[0]}\n" for i in ids)

    path = {"zip": "%Y-%m-%d/*.zip/*.csv"}.get(form, f"%Y-%m-%d/*.{form}")
    options = {"format": "csv" if form == "zip" else form, "path": path}
    columns = [column("id"), column("n", "bigint"), column("phone", **PHONE)]
    brick = private.brick("homes", [table("people", columns, ["id"], options, cursor="folder_date")], **PERSONAL)
    lay(NAMES[0], rows_of("a"))
    lay(NAMES[1], "id;phone\nx;y\n" if form in ("csv", "zip") else "[1, 2")  # cannot be read, or lacks a column
    entry = private.land(brick)
    assert entry and entry["verdict"] == "accepted", entry["reasons"]
    assert private.rows(brick, "people", "id") == [("a",)]
    [(name,)] = set(private.rows(brick, "people", "_file"))
    assert re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}" + ("/[0-9a-f]{16}" if form == "zip" else ""), name)
    root = Path(private.lake.root)
    for told in (NAMES[0], NAMES[1]):
        assert not [path for path in root.rglob("*") if path.is_file() and told.encode() in path.read_bytes()], "no file holds the name"
        assert told not in json.dumps(entry, ensure_ascii=False) and told not in caplog.text
    # Known again: what has not changed is not read again, what has is, and a file that failed is asked for however old.
    assert private.land(brick) is None
    lay(NAMES[0], rows_of("b"))
    (private.drops / "2025-06-01").mkdir()
    assert private.land(brick) and private.rows(brick, "people", "id") == [("a",), ("b",)]
    lay(NAMES[1], rows_of("c"))
    assert private.land(brick) and ("c",) in private.rows(brick, "people", "id")
    assert not private.journal.unread("homes")


def test_the_names_of_files_of_older_loads_are_told_by_digests_too_and_known_again(private: House) -> None:
    options = {"format": "csv", "path": "*.csv"}
    private.drop(f"{NAMES[0]}.csv", f"id,n,phone\na,1,{PHONES[0]}\nb,x,{PHONES[0]}\n")
    private.drop(f"{NAMES[1]}.csv", "id\n")
    columns = [column("id"), column("n", "bigint"), column("phone")]
    assert private.land(private.brick("homes", [table("people", columns, ["id"], options)]))
    dropped = private.drop(f"{NAMES[2]}.csv", f"id,n,phone\nd,4,{PHONES[1]}\n") and private.land(
        private.brick("homes", [table("people", columns, ["id"], options)])
    )
    assert dropped
    from ingestion.steward import drop_load

    drop_load(private.lake, private.journal, dropped, refetch=False)
    brick = private.brick("homes", [table("people", [*columns[:2], column("phone", **PHONE)], ["id"], options)], **PERSONAL)
    again = private.land(brick)
    assert again and again["tables"]["people"]["opened"].keys() == {name for name, _ in again["tables"]["people"]["refused_files"]}
    assert len(again["tables"]["people"]["opened"]) == 1, "but for the one that could not be read, all its files are known"
    root = Path(private.lake.root)
    held = [path for path in root.rglob("*") if path.is_file() and any(name.encode() in path.read_bytes() for name in NAMES)]
    assert not held and private.rows(brick, "people", "id") == [("a",)]
    assert set(private.journal.unread("homes")) == {again["load_id"]} or again["verdict"] == "refused"


def test_masking_old_loads_keeps_out_what_was_erased(private: House) -> None:
    brick, _ = becoming_personal(private, "pseudonym")
    private.erase(brick, {"phone": PHONES[0]})
    private.drop("homes.csv", "id,n,phone\nz,9,\n")
    assert private.land(brick)
    assert private.rows(brick, "people", "id") == [("z",)]


def test_the_command_masks_what_is_unplugged_and_the_status_asks_for_it(
    private: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import cli

    _, first = becoming_personal(private, "pseudonym")
    for name, value in (("LAKE", private.lake.root), ("BRICKS", str(private.folder / "bricks")), ("ENDPOINT_HOMES", "none")):
        monkeypatch.setenv(f"ORCHESTRA_{name}", value)
    with monkeypatch.context() as patch:
        patch.delenv(KEY)
        assert cli.main(["mask"]) == 1
        assert f"FAILED masking homes: homes: has personal columns and {KEY} is not set" in capsys.readouterr().out
        assert cli.main(["status"]) == 1
        asked = "FAILED homes: 1 loads hold people.phone in clear, or masked otherwise than today"
        assert asked in (told := capsys.readouterr().out) and "Mend: orchestra mask" in told
    assert cli.main(["mask"]) == 0 and "masked: 1 loads of homes" in capsys.readouterr().out
    assert cli.main(["status"]) == 0 and found_in_clear(*places(private)) == []
    assert private.journal.loads("homes")[first["load_id"]]["masked"] == {"people": ["phone"]}


def test_a_load_of_which_nobody_knows_how_it_landed_is_hidden_and_stops_no_other_brick(
    private: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import steps
    from ingestion.clear import hidden_because

    brick, first = becoming_personal(private, "pseudonym")
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(private.folder / "bricks"))
    path = Path(private.lake.path("journal", f"{2:012d}.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "declarations": {}}))
    mend = f"Mend: orchestra loads drop {first['load_id']} --refetch"
    assert steps.is_to_mask(private.lake, private.journal)
    step = steps.mask(private.lake, private.journal, "r")
    assert step and mend in step.errors["masking homes"] and mend in hidden_because(private.journal, [brick])["homes"]


# The key ---------------------------------------------------------------------------------------------------------------

PHONE = {"personal": True, "mask": "pseudonym"}


def phones(private: House, name: str = "homes", domain: str = "homes") -> Brick:
    """Give a brick whose key is a pseudonym."""
    columns = [column("phone", **PHONE), column("n", "bigint")]
    options = {"format": "csv", "path": f"{name}*.csv"}
    return private.brick(name, [table("people", columns, ["phone"], options)], **{**PERSONAL, "pseudonym_domain": domain})


def test_another_key_than_the_one_the_lake_began_with_is_refused_by_domain(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    private.drop("homes1.csv", f"phone,n\n{PHONES[0]},1\n")
    brick = phones(private)
    first = private.land(brick)
    assert first
    private.drop("homes2.csv", f"phone,n\n{PHONES[0]},2\n")
    private.drop("flats1.csv", f"phone,n\n{PHONES[0]},3\n")
    private.drop("clubs1.csv", f"phone,n\n{PHONES[0]},4\n")
    monkeypatch.setenv(KEY, "une autre clé de test, tout aussi longue")
    for refused in (brick, phones(private, "flats")):
        told = rf"{refused.name}: {KEY} is not the key by which the pseudonyms of domain 'homes' .* Mend: .*loads drop {first['load_id']} --refetch"
        with pytest.raises(BrickError, match=told):
            private.land(refused)
    assert private.land(phones(private, "clubs", "clubs")), "another domain begins by itself"
    monkeypatch.setenv(KEY, MASTER)
    assert private.land(brick) and private.land(phones(private, "flats"))
    assert private.rows(brick, "people", "distinct phone") == [(pseudonym(PHONES[0]),)]
    held = [entry["pseudonyms"] for entry in private.journal.of("load")]
    assert all(set(each) == {"domain", "salt", "check", "form"} for each in held)
    assert len({each["salt"] for each in held}) == 2 and len({each["check"] for each in held}) == 2
    entries = "".join(json.dumps(entry, ensure_ascii=False) for entry in private.journal.entries)
    assert MASTER not in entries and pseudonym_key(MASTER, "homes").hex() not in entries


def test_another_domain_than_the_one_of_the_loads_that_stand_is_refused(private: House) -> None:
    from ingestion.steward import drop_load

    private.drop("homes1.csv", f"phone,n\n{PHONES[0]},1\n")
    first = private.land(phones(private))
    assert first
    brick = phones(private, domain="houses")
    with pytest.raises(BrickError, match=r"homes: its pseudonyms are of domain 'homes' .*Mend: `pseudonym_domain: homes`; or drop"):
        private.land(brick)
    drop_load(private.lake, private.journal, first, refetch=True)
    assert private.land(brick), "nothing that stands is of another domain"


def test_a_lake_that_holds_no_check_adopts_the_key_of_the_next_landing(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    private.drop("homes1.csv", f"phone,n\n{PHONES[0]},1\n")
    brick = phones(private)
    private.land(brick)
    path = Path(private.lake.path("journal", f"{2:012d}.json"))
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in entry.items() if name != "pseudonyms"}))
    private.drop("homes2.csv", f"phone,n\n{PHONES[0]},2\n")
    assert private.land(brick)
    private.drop("homes3.csv", f"phone,n\n{PHONES[0]},3\n")
    monkeypatch.setenv(KEY, "une autre clé de test, tout aussi longue")
    with pytest.raises(BrickError, match="is not the key"):
        private.land(brick)


@pytest.mark.parametrize("before", [*BEFORE, "another mask"])
def test_what_is_personal_today_and_landed_in_clear_is_hidden_until_it_is_masked(
    private: House, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    if before == "another mask":
        private.drop("homes.csv", f"id,phone,lon,lat\na,{PHONES[0]},-1.65,48.15\n")
        options = {"format": "csv", "path": "homes.csv"}
        private.land(private.brick("homes", [table("people", [column("id"), column("phone", **PHONE)], ["id"], options)], **PERSONAL))
        zone = column("phone", personal=True, mask="zone", position=["lon", "lat"])
        brick = private.brick("homes", [table("people", [column("id"), zone], ["id"], options)], **PERSONAL)
    else:
        brick, _ = becoming_personal(private, before)
    monkeypatch.delenv(KEY)
    masks = {c.name: c.meta.mask for c in brick.table("people").columns if c.meta.mask and c.is_landed}
    shown = f"id, {', '.join(masks) or 'null'}"
    assert private.rows(brick, "people", shown) == [("a", None)]
    if "pseudonym" in masks.values():
        with pytest.raises(BrickError, match=KEY):
            private.land(brick)
        assert private.rows(brick, "people", shown) == [("a", None)]


def test_a_load_that_was_masked_shows_its_pseudonyms_beside_one_in_clear(private: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion import erasing

    options = {"format": "csv", "path": "homes*.csv"}
    private.drop("homes1.csv", f"id,phone\na,{PHONES[0]}\n")
    private.land(private.brick("homes", [table("people", [column("id"), column("phone")], ["id"], options)]))
    brick = private.brick("homes", [table("people", [column("id"), column("phone", **PHONE)], ["id"], options)], **PERSONAL)
    private.drop("homes2.csv", f"id,phone\nb,{PHONES[1]}\n")
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "mask_history", lambda *_: [])
        private.land(brick)
    # Its name was told in clear: it is read again where nothing has told it otherwise.
    assert private.rows(brick, "people", "id, phone") == [("a", pseudonym(PHONES[0])), ("a", None), ("b", pseudonym(PHONES[1]))]


# What older loads hold beside the columns of today ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_what_no_source_shows_of_older_loads_is_cleaned_too(private: House, form: str) -> None:
    """Refused rows, lines that could not be read, undeclared columns: of a brick that had no personal column, nor that column."""
    from flows.steps import is_to_mask
    from ingestion.erasing import take_back_of
    from ingestion.steward import refused_rows

    options = {"format": form, "path": f"homes.{form}"}
    if form == "csv":
        raw = f"id,n,note\na,1,{NAMES[0]}\nb,{PHONES[0]},\nc,2,{NAMES[1]},{PHONES[1]},x\n"
    else:
        rows = [{"id": "a", "n": 1, "note": NAMES[0]}, {"id": "b", "n": PHONES[0]}]
        raw = "".join(json.dumps(row) + "\n" for row in rows) + f'{{"id": "{NAMES[1]}\n'
    private.drop(f"homes.{form}", raw)
    declared = [column("id"), column("n", "bigint")]
    first = private.land(private.brick("homes", [table("people", declared, ["id"], options)]))
    assert first and first["tables"]["people"]["refused"] == 2 and len(found_in_clear(Path(private.lake.root, "landed"))) >= 3
    # The column that is personal has never landed.
    phone = column("phone", personal=True, mask="drop", optional=True)
    brick = private.brick("homes", [table("people", [*declared, phone], ["id"], options)], **PERSONAL)
    assert take_back_of(private.lake, private.journal, brick) == [first["load_id"]]
    assert found_in_clear(Path(private.lake.root, "landed")) == []
    amended = private.journal.loads("homes")[first["load_id"]]
    assert amended["is_private"] and amended["masked"] == {"people": []}
    assert "n is not a whole number" in {row["reason"] for row in refused_rows(private.lake, amended, 9)["people"]}
    assert private.rows(brick, "people", "id, n") == [("a", 1)]
    assert take_back_of(private.lake, private.journal, brick) == [] and not is_to_mask(private.lake, private.journal)


def test_a_table_that_is_renamed_as_its_column_becomes_personal_is_cleaned(private: House) -> None:
    from ingestion.erasing import take_back_of

    private.drop("homes.csv", f"id,phone,lon,lat,note\na,{PHONES[0]},-1.65432101,48.15009870,{NAMES[0]}\n")
    options = {"format": "csv", "path": "homes.csv"}
    clear = [column("id"), column("Phone"), column("lon", "double"), column("lat", "double")]
    first = private.land(private.brick("homes", [table("people", clear, ["id"], options)]))
    assert first
    zone = column("zone", personal=True, mask="zone", position=["lon", "lat"])
    brick = private.brick("homes", [table("persons", [column("id"), column("phone", **PHONE), zone], ["id"], options)], **PERSONAL)
    assert take_back_of(private.lake, private.journal, brick) == [first["load_id"]]
    assert found_in_clear(*places(private)[:2]) == []
    amended = private.journal.loads("homes")[first["load_id"]]
    assert amended["tables"]["people"]["columns"] == {"id": "string"} and amended["masked"] == {"people": ["Phone", "lat", "lon"]}
    assert take_back_of(private.lake, private.journal, brick) == []
    assert private.land(brick) and private.rows(brick, "persons", "phone, zone") == [(pseudonym(PHONES[0]), "352380101")]


# What is refused rather than told twice --------------------------------------------------------------------------------


@pytest.mark.parametrize("off", ["the mask", "the column", "a renamed table", "the column under a new name"])
def test_a_mask_that_was_taken_off_is_refused(private: House, off: str) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    private.drop("homes1.csv", f"id,phone\na,{PHONES[0]}\n")
    first = private.land(private.brick("homes", [table("people", [column("id"), column("phone", **PHONE)], ["id"], options)], **PERSONAL))
    assert first
    name, columns = {
        "the mask": ("people", [column("id"), column("phone")]),
        "the column": ("people", [column("id")]),
        "a renamed table": ("persons", [column("id"), column("phone")]),
        "the column under a new name": ("people", [column("id"), column("telephone", formerly=["phone"])]),
    }[off]
    brick = private.brick("homes", [table(name, columns, ["id"], options)])
    private.drop("homes2.csv", f"id,phone\nb,{PHONES[1]}\n")
    with pytest.raises(BrickError, match=rf"homes.people: (phone|telephone) landed masked \(load {first['load_id']}\).* --forget"):
        private.land(brick)
    assert found_in_clear(*places(private)) == []


def test_a_position_that_a_zone_has_masked_does_not_land_beside_or_after_it(private: House) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    private.drop("homes1.csv", f"id,phone,lon,lat\na,{PHONES[0]},-1.65432101,48.15009870\n")
    phone, zone = column("phone", personal=True, mask="drop"), column("zone", personal=True, mask="zone", position=["lon", "lat"])
    private.land(private.brick("homes", [table("people", [column("id"), phone, zone], ["id"], options)], **PERSONAL))
    after = private.brick("homes", [table("people", [column("id"), phone, column("lon"), column("lat")], ["id"], options)], **PERSONAL)
    private.drop("homes2.csv", f"id,phone,lon,lat\nb,{PHONES[0]},-1.65432101,48.15009870\n")
    with pytest.raises(BrickError, match=r"lon, lat landed masked .* and would land in clear now"):
        private.land(after)
    assert found_in_clear(*places(private)) == []


def test_no_mask_is_made_of_another(private: House) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    private.drop("homes1.csv", "id,lon,lat\na,-1.65,48.15\n")
    zone = column("place", personal=True, mask="zone", position=["lon", "lat"])
    private.land(private.brick("homes", [table("people", [column("id"), zone], ["id"], options)], **PERSONAL))
    brick = private.brick("homes", [table("people", [column("id"), column("place", optional=True, **PHONE)], ["id"], options)], **PERSONAL)
    private.drop("homes2.csv", f"id,place\nb,{ADDRESSES[0]}\n")
    assert private.land(brick)
    assert private.rows(brick, "people", "id, place") == [("a", None), ("b", pseudonym(ADDRESSES[0]))], "no pseudonym of the code of a zone"


def test_other_zones_are_refused_and_the_same_in_another_order_are_not(private: House, tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    zones = json.loads(path.read_text())
    zones["features"].append({**zones["features"][0], "properties": {"code": "2", "households": 11}})
    path.write_text(json.dumps(zones))
    private.drop("homes.csv", content("csv")["homes.csv"])
    first = private.land(homes(private, "csv"))
    assert first and first["zones"]
    path.write_text(json.dumps({**zones, "features": zones["features"][::-1]}, indent=2))
    private.drop("homes2.csv", content("csv")["homes.csv"])
    assert private.land(homes(private, "csv"))
    zones["features"][1]["properties"]["code"] = "3"
    path.write_text(json.dumps(zones))
    private.drop("homes3.csv", content("csv")["homes.csv"])
    with pytest.raises(
        BrickError, match=rf"the zones of .*zones.geojson are not those by which load {first['load_id']} was masked.*Mend: put"
    ):
        private.land(homes(private, "csv"))


@pytest.mark.parametrize(
    ("properties", "told"),
    [({"code": "9", "households": 10}, "1 zones of .* .9. tell no `households`, or fewer than 11"), ({"code": "9"}, "1 zones of .*Mend: merge"),
     ({"households": 40}, "no GeoJSON of zones with a `code` each")],
)  # fmt: skip
def test_a_zone_that_tells_of_a_household_alone_is_refused(private: House, tmp_path: Path, properties: dict[str, Any], told: str) -> None:
    path = tmp_path / "zones.geojson"
    zones = json.loads(path.read_text())
    zones["features"].append({**zones["features"][0], "properties": properties})
    path.write_text(json.dumps(zones))
    private.drop("homes.csv", content("csv")["homes.csv"])
    with pytest.raises(BrickError, match=told):
        private.land(homes(private, "csv"))
    assert private.journal.seq == 0


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_personal_keys_of_json_do_not_land_and_leave_older_loads(private: House, form: str) -> None:
    """Whatever stands where they are looked for: a list, a text, a key told twice, accents apart."""
    values = [
        f'{{"propriétaire": {{"nom": "{NAMES[0]}", "age": 40}}, "n": 1}}', f'{{"propriétaire": [{{"nom": "{NAMES[1]}"}}]}}', f'["{NAMES[2]}"]',
        unicodedata.normalize("NFD", f'{{"propriétaire": {{"nom": "{PHONES[0]}"}}}}'), f'{{"tel": {{"x": ["{PHONES[1]}"]}}, "n": 2}}',
    ]  # fmt: skip
    if form == "csv":
        raw = "id;more\n" + "".join(f"{n};'{value}'\n" for n, value in enumerate(values))
        options = {"format": "csv", "path": "homes*.csv", "separator": ";", "quote": "'"}
    else:
        raw = "".join(json.dumps({"id": str(n), "more": json.loads(value)}) + "\n" for n, value in enumerate(values))
        options = {"format": "ndjson", "path": "homes*.ndjson"}
    expected = [{"n": 1, "propriétaire": {"age": 40}}, {"propriétaire": {}}, {}, {"propriétaire": {}}, {"n": 2}]
    private.drop(f"homes1.{form}", raw)
    clear = private.land(private.brick("homes", [table("people", [column("id"), column("more", "json")], ["id"], options)]))
    assert clear and found_in_clear(Path(private.lake.root))
    more = column("more", "json", personal_paths=["propriétaire.nom", "tel"])
    brick = private.brick("homes", [table("people", [column("id"), more], ["id"], options)], **PERSONAL)
    assert private.rows(brick, "people", "distinct more") == [(None,)], "hidden until it is masked"
    private.drop(f"homes2.{form}", raw)
    entry = private.land(brick)
    assert entry and entry["tables"]["people"]["refused"] == 0
    assert found_in_clear(*places(private)) == []

    found = [text for (_, text) in private.rows(brick, "people", "id, more", "_read_at, id")]
    assert [json.loads(unicodedata.normalize("NFC", text)) for text in found] == expected * 2
    fewer = private.brick(
        "homes", [table("people", [column("id"), column("more", "json", personal_paths=["tel"])], ["id"], options)], **PERSONAL
    )
    with pytest.raises(BrickError, match=r"more landed masked .* and would land in clear now"):
        private.land(fewer)


@pytest.mark.parametrize("mask", [{}, PHONE])
def test_a_row_whose_values_are_shifted_is_refused_by_the_pattern_of_its_column(private: House, mask: dict[str, Any]) -> None:
    options = {"format": "csv", "path": "homes*.csv"}
    told = {"pattern": "[0-9]{5}-?", **mask}
    columns = [column("id", **told), column("name", personal=True, mask="drop"), column("n", "bigint", optional=True)]
    brick = private.brick("homes", [table("people", columns, ["id"], options)], **PERSONAL)
    private.drop("homes1.csv", f"id,name,n\n35238,{NAMES[0]},1\n{NAMES[1]},35047,2\n")
    entry = private.land(brick)
    assert entry and (entry["tables"]["people"]["kept"], entry["tables"]["people"]["refused"]) == (1, 1)
    from ingestion.steward import refused_rows

    assert [row["reason"] for row in refused_rows(private.lake, entry, 9)["people"]] == ["id is not written as [0-9]{5}-?"]
    assert found_in_clear(*places(private)) == []
    narrower = [column("id", **{**told, "pattern": "35047"}), *columns[1:]]
    later = private.rows(private.brick("homes", [table("people", narrower, ["id"], options)], **PERSONAL), "people", "id")
    assert later == [(pseudonym("35238") if mask else None,)], "what landed by another pattern reads as none, but for what is hashed"
