"""A brick's YAML is what the contract asks, or its errors name file, line, field and what is accepted."""

# ruff: noqa: E501 (tables of cases, one a line)
from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Document, column, source, table

from ingestion.brick import Brick, endpoint_of
from ingestion.census import BRICKS, read_brick, read_bricks, read_census, untold_zones
from ingestion.declaration import BrickError
from ingestion.lake import PROJECT
from ingestion.territory import TerritoryError, read_territory

CSV = {"format": "csv", "path": "items.csv"}
PERSONAL = {"legal_basis": "law", "purpose": "heat", "pseudonym_domain": "homes"}


def shop() -> Document:
    """Give the document of a brick that breaks no rule."""
    return source("shop", [table("items", [column("id"), column("n", "bigint")], ["id"], CSV)])


def write(folder: Path, document: Document | str, name: str = "shop") -> Path:
    """Write a brick's file."""
    path = folder / f"{name}.yml"
    text = document if isinstance(document, str) else yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def meta(document: Document) -> Document:
    """Give the identity card of a document."""
    return document["sources"][0]["config"]["meta"]


def first(document: Document) -> Document:
    """Give the first table of a document."""
    return document["sources"][0]["tables"][0]


def put(where: Callable[[Document], Document], **values: Any) -> Callable[[Document], None]:
    """Change a place of a document; None as `drop=` takes a field away."""

    def change(document: Document) -> None:
        place = where(document)
        for name, value in values.items():
            if value is ...:
                del place[name]
            else:
                place[name] = value

    return change


def brick(document: Document) -> Document:
    """Give the source of a document."""
    return document["sources"][0]


def table_meta(document: Document) -> Document:
    """Give what the first table delivers."""
    return first(document)["config"]["meta"]


FAULTS: dict[str, tuple[Callable[[Document], None], str]] = {
    "unknown field of the card": (put(meta, colour="red"), r"config.meta.colour: unknown field \(accepted: title_fr, .*retention\)"),
    "unknown field of a table": (put(table_meta, keys=["id"]), r"tables.0.config.meta.keys: unknown field \(accepted: delivers, options, key"),
    "unknown field of a column": (lambda d: first(d)["columns"][0].update(type="x"), r"tables.0.columns.0.type: unknown field \(accepted: name, data_type"),
    "unknown field of the brick": (put(brick, loader="x"), r"loader: unknown field \(accepted: name, description, config, tables\)"),
    "unknown option": (lambda d: table_meta(d)["options"].update(delimiter=";"), r":4\d: tables.0.config.meta.options.delimiter: unknown option \(accepted: format, path, "),
    "missing field of a list of words": (put(meta, status=...), r"config.meta.status: is missing \(one of candidate, tested, adopted, retired\)"),
    "length of time in words": (put(table_meta, cursor="n", lookback="2 days"), r"tables.0.config.meta.lookback: '2 days' is no mapping of count, period; as in \{count: 2, period: day\}"),
    "list that is a text": (put(meta, authoritative_for="shops"), r"config.meta.authoritative_for: 'shops' is no list"),
    "text that is a number": (put(meta, steward=12), r"config.meta.steward: 12 is no text: put it in quotes"),
    "options that are no mapping": (put(meta, options="hunter2"), r"config.meta.options: is no mapping: \{name: value\}"),
    "missing field": (put(meta, licence=...), r"config.meta.licence: is missing"),
    "value not accepted": (put(meta, access_class="public"), r"config.meta.access_class: 'public' is none of 'open', 'partner', 'internal' or 'restricted'"),
    "use case not accepted": (put(meta, use_cases=["fun"]), r"use_cases.0: 'fun' is no use case that territory.yml declares \(energy, resources, health, climate\)"),
    "type not accepted": (lambda d: first(d)["columns"][0].update(data_type="text"), r"columns.0.data_type: 'text' is none of 'string', 'bigint'"),
    "connector not known": (put(meta, connector="telepathy"), r"config.meta.connector: 'telepathy' is not one of .*files, "),
    "name not in snake case": (put(first, name="Items"), r"tables.0.name: 'Items' must be snake_case"),
    "endpoint null without a reason": (put(meta, endpoint_reason=...), r"config.meta.endpoint: null: say why in `endpoint_reason`"),
    "key that is no column": (put(table_meta, key=["code"]), r"tables.0.config.meta.key: 'code' is not one of the table's columns: id, n"),
    "cursor that is no column": (put(table_meta, cursor="at"), r"tables.0.config.meta.cursor: 'at' is not one of the table's columns"),
    "column twice": (lambda d: first(d)["columns"].append(column("id")), r"tables.0.columns: column 'id' is declared twice"),
    "column twice but for its case": (lambda d: first(d)["columns"].append(column("ID")), r"column 'ID' is declared twice"),
    "former name of another column": (lambda d: first(d)["columns"].append(column("x", formerly=["n"])), r"column 'n' is declared twice"),
    "table twice": (lambda d: brick(d)["tables"].append(copy.deepcopy(first(d))), r"table items is declared twice"),
    "name of ours and the one it lands under": (
        lambda d: first(d)["columns"].extend([column("_file"), column("_File_of_source")]), r"column '_File_of_source' is declared twice",
    ),
    "format that no reader knows": (lambda d: first(d)["columns"].append(column("at", "date", format="%Q")), r"meta.format: is no format of strptime, as in %d/%m/%Y"),
    "year of two digits without its hundred": (
        lambda d: first(d)["columns"].append(column("at", "date", format="%d/%m/%y")),
        r"shop.yml:\d+: tables.0.columns.2.config.meta.format: %y does not say of which century: add `years_from: 1930`"),
    "year of two digits with an offset": (
        lambda d: first(d)["columns"].append(column("at", "timestamptz", format="%d/%m/%-y %H:%M%z", years_from=1930)), r"meta.format: %y goes without %z"),
    "hundred years of a year of four digits": (
        lambda d: first(d)["columns"].append(column("at", "date", format="%d/%m/%Y", years_from=1930)), r"meta.years_from: it goes with a `format` that holds %y"),
    "hundred years of a date without a format": (
        lambda d: first(d)["columns"].append(column("at", "date", years_from=1930)), r"meta.years_from: it goes with a date whose `format` holds %y"),
    "a day told by a number of seconds": (lambda d: first(d)["columns"].append(column("at", "date", format="epoch_s")), r"meta.format: epoch_s is an instant: declare `data_type: timestamptz`"),
    "format without a year": (lambda d: first(d)["columns"].append(column("at", "date", format="%d/%m %%y")), r"meta.format: it names no year: %Y \(four digits\)"),
    "bounds of a text": (lambda d: first(d)["columns"].append(column("x", between=[1, 2])), r"meta.between: \[first, last\], one of them null at most: dates \(date\)"),
    "bounds of another type": (lambda d: first(d)["columns"].append(column("x", "date", between=[1, 2])), r"meta.between: \[first, last\]"),
    "bounds that are none": (lambda d: first(d)["columns"].append(column("x", "bigint", between=[None, None])), r"meta.between: \[first, last\]"),
    "local hours of no zone": (
        lambda d: first(d)["columns"].append(column("at", "timestamptz", format="%d/%m/%Y %H:%M %%z")),
        r"shop.yml:\d+: tables.0.columns.2.config.meta.format: %d/%m/%Y %H:%M %%z tells no offset, and the table no `time_zone`: say it, as in `time_zone: Europe/Paris` or"),
    "value that the territory has not": (
        lambda d: table_meta(d)["options"].update(path="H_{territory.department}.csv"),
        r"shop.yml:\d+: tables.0.config.meta.options: \{territory.department\}: territory.yml says no such text or number \(it says name, epci_code, departement"),
    "hours shown twice in no way": (put(table_meta, time_fold="both"), r"meta.time_fold: 'both' is none of 'in_order', 'first', 'second' or 'refuse'"),
    "required and optional": (lambda d: first(d)["columns"].append(column("x", required=True, optional=True)), r"required is neither optional nor"),
    "cadence of an hour that no day has": (put(meta, cadence="0 25 * * *"), r"config.meta.cadence.*is no cron that comes: Bad hour"),
    "cadence of a day that never comes": (put(meta, cadence="0 4 31 2 *"), r"config.meta.cadence.*is no cron that comes"),
    "cadence that is no cron": (put(meta, cadence="every day at six o'clock"), r"config.meta.cadence: 'every day at six o'clock' is none of hourly, daily, weekly, monthly, nor five cron fields, as in 30 5 \* \* 1"),
    "lookback without a cursor": (put(table_meta, lookback={"count": 1, "period": "day"}), r"tables.0.config.meta.lookback: a lookback needs a cursor"),
    "time zone not known": (put(table_meta, time_zone="Rennes"), r"'Rennes' is no time zone of the tz database \(Europe/Berlin"),
    "retention of nothing": (put(meta, retention={"count": 0, "period": "year"}), r"retention.count: 0 is not above 0"),
    "personal without a mask": (lambda d: first(d)["columns"].append(column("phone", personal=True)), r"a personal column needs a mask: drop, pseudonym or zone"),
    "mask without personal": (lambda d: first(d)["columns"].append(column("phone", mask="drop")), r"a mask is for a column that says `personal: true`"),
    "mask not known": (lambda d: first(d)["columns"].append(column("phone", personal=True, mask="blur")), r"mask: 'blur' is none of 'drop', 'pseudonym' or 'zone'"),
    "zone without a position": (lambda d: first(d)["columns"].append(column("zone", personal=True, mask="zone")), r"mask zone goes with `position:"),
    "pseudonym that is a number": (
        lambda d: first(d)["columns"].append(column("phone", "bigint", personal=True, mask="pseudonym")), r"masked by pseudonym lands as a string"),
    "personal without a legal basis": (
        lambda d: first(d)["columns"].append(column("phone", personal=True, mask="drop")), r"a brick with personal columns needs `legal_basis` and `purpose`"),
    "personal without a purpose": (
        lambda d: (first(d)["columns"].append(column("phone", personal=True, mask="drop")), meta(d).update(legal_basis="law")), r"needs `legal_basis` and `purpose`"),
    "pseudonym without a domain": (
        lambda d: (first(d)["columns"].append(column("phone", personal=True, mask="pseudonym")), meta(d).update(legal_basis="law", purpose="x")),
        r"mask pseudonym needs the brick's `pseudonym_domain`"),
    "adopted without an impact assessment": (
        lambda d: (first(d)["columns"].append(column("phone", personal=True, mask="drop")), meta(d).update(PERSONAL, status="adopted")),
        r"cannot be adopted without `dpia_ref`"),
    "key that is dropped": (
        lambda d: (first(d)["columns"].append(column("phone", personal=True, mask="drop")), meta(d).update(PERSONAL), table_meta(d).update(key=["phone"])),
        r"tables.0.config.meta.key: phone is dropped by its mask: use mask pseudonym"),
    **{f"cursor that is masked by {mask}": (
        lambda d, mask=mask: (first(d)["columns"].append(column("at", personal=True, mask=mask)), meta(d).update(PERSONAL), table_meta(d).update(cursor="at")),
        rf"tables.0.config.meta.cursor: 'at' is masked \({mask}\), and what a mask makes has no order.*Mend: another cursor") for mask in ("pseudonym", "drop")},
    **{f"exact position beside its zone, {how}": (
        lambda d, other=other: (first(d)["columns"].extend([other, column("z", personal=True, mask="zone", position=["lon", "lat"])]), meta(d).update(PERSONAL)),
        r"shop.yml:\d+: tables.0.columns.2.name: '\w+' is of the exact position that a zone masks.*Mend: leave it out")
        for how, other in (("as it is", column("Lon", "double")), ("by an older name", column("x", "double", formerly=["lat"])),
                           ("as a pseudonym", column("lat", personal=True, mask="pseudonym")))},
    "pattern that is no regular expression": (put(lambda d: first(d)["columns"][0], config={"meta": {"pattern": "[0-9"}}), r"meta.pattern: '\[0-9' is no regular expression"),
    "pattern that DuckDB does not read": (put(lambda d: first(d)["columns"][0], config={"meta": {"pattern": "(?=a)b"}}), r"meta.pattern: '\(\?=a\)b' looks around"),
    "pattern of a number": (put(lambda d: first(d)["columns"][1], config={"meta": {"pattern": "[0-9]"}}), r"meta.pattern: it is of a text that is read"),
    "personal paths of a text": (put(lambda d: first(d)["columns"][0], config={"meta": {"personal_paths": []}}), r"meta.personal_paths: it goes with `data_type: json`"),
    "json of a brick with personal columns": (
        lambda d: (first(d)["columns"].extend([column("phone", personal=True, mask="drop"), column("more", "json")]), meta(d).update(PERSONAL)),
        r"shop.yml:\d+: tables.0.columns.3[a-z._]*: json of a brick with personal columns: say which keys"),
    "personal paths without a purpose": (
        lambda d: first(d)["columns"].append(column("more", "json", personal_paths=["a.b"])), r"a brick with personal columns needs `legal_basis`"),
    "optional column without a header": (
        lambda d: (first(d)["columns"].append(column("x", optional=True)), table_meta(d)["options"].update(header=False)),
        r":\d+: tables.0.columns.2.config.meta.optional: without `header` columns are told by position: declare every column"),
    "password in a URL": (put(meta, endpoint="https://user:hunter2@example.org/x"), r"looks like a secret. Mend: keep it in an environment variable"),
    "key in a URL": (put(meta, endpoint="https://example.org/x?api_key=12345"), r"looks like a secret"),
    "token in a URL": (put(meta, homepage="https://example.org/x?a=1&token=12345"), r"looks like a secret"),
    "token": (put(meta, producer="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x"), r"looks like a secret"),
    "token before a host": (put(meta, endpoint="https://tok3n-hunter2@example.org"), r"looks like a secret"),
    "token of a forge": (put(brick, description="ghp_hunter2AbCdEf0123456789"), r"looks like a secret"),
    "zone of other coordinates": (
        lambda d: (first(d)["columns"].append(column("z", personal=True, mask="zone", position=["x", "y"])), table_meta(d).update(crs="EPSG:3948")),
        r"tables.0.config.meta.crs: mask zone reads longitudes and latitudes \(EPSG:4326\), not EPSG:3948"),
    "key of AWS": (put(meta, producer="AKIAIOSFODNN7EXAMPLE"), r"looks like a secret"),
    "value of an API key": (put(meta, options={"api_key": "12345"}), r"config.meta.options.api_key: unknown option \(accepted: login, auth, headers_env"),
    "two sources": (lambda d: d["sources"].append(copy.deepcopy(d["sources"][0])), r"must hold exactly one entry under `sources:`"),
    "unknown field of the file": (lambda d: d.update(models=[]), r"`models` is no field of a brick file"),
    "name of another file": (put(brick, name="other"), r"`name: other` must be the file's own name, shop"),
}  # fmt: skip


def test_a_brick_that_breaks_no_rule_is_read(tmp_path: Path) -> None:
    found = read_brick(write(tmp_path, shop()))
    assert (found.name, found.has_personal, found.tables[0].source_columns) == ("shop", False, ("id", "n"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_its_place_and_what_is_accepted(tmp_path: Path, fault: str) -> None:
    change, told = FAULTS[fault]
    document = shop()
    change(document)
    with pytest.raises(BrickError) as error:
        read_brick(write(tmp_path, document))
    assert re.search(told, str(error.value)), str(error.value)
    assert all(line.startswith("shop.yml") for line in str(error.value).splitlines())
    assert "hunter2" not in str(error.value) and "12345" not in str(error.value), "the error shows the secret"


def test_a_variable_that_holds_a_secret_may_stand_in_an_endpoint(tmp_path: Path) -> None:
    document = shop()
    meta(document)["endpoint"] = "https://example.org/{A_KEY}/x?token={A_TOKEN}"
    assert read_brick(write(tmp_path, document)).meta.endpoint == "https://example.org/{A_KEY}/x?token={A_TOKEN}"


@pytest.mark.parametrize("name", ["lon", "zone"])
def test_a_position_may_be_dropped_or_give_its_name_to_its_zone(tmp_path: Path, name: str) -> None:
    document = shop()
    first(document)["columns"] += [
        column(name, personal=True, mask="zone", position=["lon", "lat"]),
        column("lat", personal=True, mask="drop"),
    ]
    meta(document).update(PERSONAL)
    assert read_brick(write(tmp_path, document)).tables[0].source_columns == ("id", "n", "lon", "lat")


def test_a_fault_names_its_line(tmp_path: Path) -> None:
    document = shop()
    meta(document)["access_class"] = "public"
    first(document)["columns"][1]["data_type"] = "number"
    path = write(tmp_path, document)
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = [next(n for n, line in enumerate(lines, 1) if mark in line) for mark in ("access_class: public", "data_type: number")]
    with pytest.raises(BrickError) as error:
        read_brick(path)
    assert [int(line.split(":")[1]) for line in str(error.value).splitlines()] == wanted, "both faults, each with its line"


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        (put(meta, connector="telepathy"), "connector: telepathy"),
        (put(table_meta, cursor="at"), "cursor: at"),
        (lambda d: table_meta(d)["options"].update(delimiter=";"), "delimiter: ;"),
        (lambda d: table_meta(d)["options"].update(format="xls"), "format: xls"),
    ],
)
def test_a_fault_that_a_rule_finds_names_its_line_too(tmp_path: Path, change: Callable[[Document], None], mark: str) -> None:
    document = shop()
    change(document)
    path = write(tmp_path, document)
    wanted = next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if mark in line)
    with pytest.raises(BrickError, match=f"^shop.yml:{wanted}: "):
        read_brick(path)


def test_what_is_no_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrickError, match=r"shop.yml: not YAML: .*line 2"):
        read_brick(write(tmp_path, "a: [1\nb: }"))
    (tmp_path / "shop.yml").write_bytes("a: é".encode("cp1252"))
    with pytest.raises(BrickError, match=r"shop\.yml: not UTF-8 at byte 3\. Mend: save it as UTF-8"):
        read_brick(tmp_path / "shop.yml")
    for empty in ("", "[]", "sources: 3"):
        with pytest.raises(BrickError, match="must hold exactly one entry under `sources:`"):
            read_brick(write(tmp_path, empty))


def test_a_date_that_no_calendar_shows_and_a_folder_that_is_not_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrickError, match=r"shop.yml: not YAML: month must be in 1..12. Mend: put what looks like a date"):
        read_brick(write(tmp_path, "version: 2\nsources:\n- name: 2024-13-45\n"))
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(tmp_path / "nope"))
    with pytest.raises(BrickError, match=r"/nope is no folder of bricks. Mend: set ORCHESTRA_BRICKS"):
        read_bricks()


def test_a_territory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrickError, match=r"territory.yml cannot be read: No such file or directory. Mend: .*ORCHESTRA_TERRITORY"):
        read_territory(tmp_path / "territory.yml")
    for number, (content, told) in enumerate(
        (
            (b"a: [1", "not YAML"),
            (b"a: \xe9", "not UTF-8 at byte 3"),
            (b"[]", "the file: .* is no mapping of name, epci_code"),
            (b"", "the file: .* is no mapping"),
        )
    ):
        path = tmp_path / f"t{number}.yml"
        path.write_bytes(content)
        with pytest.raises(BrickError, match=f"^t{number}.yml: .*{told}"):
            read_territory(path)


def test_faults_of_the_territory_are_told_once_in_words_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "territory.yml"
    sound = yaml.safe_load((PROJECT / "territory.yml").read_text(encoding="utf-8"))
    cases: dict[str, Document] = {
        r"epci_code: 243400017 is no text: put it in quotes": {"epci_code": 243400017},
        r"languages: 'fr' is no list: \[..., ...\]": {"languages": "fr"},
        r"reference_year: 'last' is no whole number": {"reference_year": "last"},
        r"reference_degree_days: holds 2 of at least 12 items": {"reference_degree_days": [1, 2]},
        r"hue: unknown field \(accepted: name, epci_code, .*zones": {"hue": 1},
        r"time_zone: 'Mars' is no time zone of the tz database": {"time_zone": "Mars"},
        r"use_cases: 'x' has no title in fr, en": {"use_cases": {"x": {}}},
        r"zones: nowhere.geojson is no file \(.*/nowhere.geojson\)": {"zones": "nowhere.geojson"},
    }
    monkeypatch.setenv("ORCHESTRA_TERRITORY", str(path))
    for told, change in cases.items():
        path.write_text(yaml.safe_dump(sound | change), encoding="utf-8")
        read_territory.cache_clear()
        with pytest.raises(TerritoryError) as error:
            read_bricks()
        (line,) = str(error.value).splitlines()
        assert re.search(f"^territory.yml: .*{told}.* ?Mend: ", line), line


def test_a_brick_says_values_of_the_territory_without_typing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shop()
    table_meta(document)["options"] |= {
        "path": "{a,b}_{territory.departement}_{territory.epci_code}.csv",
        "null_values": ["{territory.name}"],
    }
    table_meta(document)["time_zone"] = "{territory.time_zone}"
    path, own = write(tmp_path, document), yaml.safe_load((PROJECT / "territory.yml").read_text(encoding="utf-8"))
    found = read_brick(path).tables[0].meta
    assert found.options["path"] == "{a,b}_35_243500139.csv" and found.options["null_values"] == ["Rennes Métropole"]
    assert found.time_zone == "Europe/Paris"
    other = tmp_path / "territory.yaml"
    other.write_text(yaml.safe_dump({**own, "epci_code": "243400017", "departement": "34", "time_zone": "UTC"}), encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_TERRITORY", str(other))
    read_territory.cache_clear()
    found = read_brick(path).tables[0].meta
    assert (found.options["path"], found.time_zone) == ("{a,b}_34_243400017.csv", "UTC")
    other.write_text(yaml.safe_dump({name: value for name, value in own.items() if name != "departement"}), encoding="utf-8")
    read_territory.cache_clear()
    with pytest.raises(BrickError, match=r"\{territory.departement\}: territory.yml says no such text or number"):
        read_brick(path)


def test_instants_that_may_tell_no_offset_are_warned_of_where_no_zone_is_said(tmp_path: Path) -> None:
    document = shop()
    first(document)["columns"] += [column("at", "timestamptz"), column("since", "timestamptz", format="epoch_s")]
    (told,) = untold_zones([read_brick(write(tmp_path, document))])
    assert told.startswith(
        "shop.yml: table items: at is read as UTC where it tells no offset, and no `time_zone` says so. Mend: `time_zone: UTC`"
    )
    table_meta(document)["time_zone"] = "UTC"
    assert untold_zones([read_brick(write(tmp_path, document))]) == untold_zones(read_bricks(BRICKS).values()) == []


def test_a_schema_of_the_warehouse_is_no_name_and_a_cron_is_a_cadence(tmp_path: Path) -> None:
    document = shop()
    meta(document)["cadence"] = "*/15 6-20 * * MON-FRI"
    assert read_brick(write(tmp_path, document)).meta.cadence == "*/15 6-20 * * MON-FRI"
    for name in ("staging", "information_schema", "pg_catalog", "system", "temp"):
        brick(document)["name"] = name
        with pytest.raises(BrickError, match=f"'{name}' is the name of a schema of the warehouse"):
            read_brick(write(tmp_path, document, name))


def test_a_dataset_has_one_brick_that_decides(tmp_path: Path) -> None:
    for name in ("one", "two"):
        document = source(name, shop()["sources"][0]["tables"], authoritative_for=["communes"])
        write(tmp_path, document, name)
    with pytest.raises(
        BrickError, match=r"two.yml:\d+: `authoritative_for: communes` is already claimed by one.yml:\d+. Mend: keep it in the one"
    ):
        read_bricks(tmp_path)


def test_every_faulty_brick_is_told_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, source(name, [], colour="red"), name)
    with pytest.raises(BrickError) as error:
        read_bricks(tmp_path)
    assert {line.split(":")[0] for line in str(error.value).splitlines()} == {"one.yml", "two.yml"}


def test_the_bricks_of_the_project_are_what_the_contract_asks() -> None:
    census = read_census(BRICKS)
    assert set(census.all) == {path.stem for path in BRICKS.glob("*.yml")} and len(census.bricks) >= 4
    assert read_bricks(BRICKS) == census.bricks and all(not hasattr(tool, "tables") for tool in census.tools.values())
    assert read_territory().time_zone == "Europe/Paris"


def test_the_environment_says_where_a_brick_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shop()
    meta(document).update(endpoint="https://example.org/data/")
    found = read_brick(write(tmp_path, document))
    monkeypatch.delenv("ORCHESTRA_ENDPOINT_SHOP", raising=False)
    monkeypatch.delenv("ORCHESTRA_ENDPOINT", raising=False)
    assert endpoint_of(found) == "https://example.org/data"
    monkeypatch.setenv("ORCHESTRA_ENDPOINT", "http://127.0.0.1:9/{brick}")
    assert endpoint_of(found) == "http://127.0.0.1:9/shop"
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_SHOP", "/drops")
    assert endpoint_of(found) == "/drops"


def test_a_contract_changes_with_what_lands_and_not_with_its_words() -> None:
    def version(change: Callable[[Document], Any]) -> str:
        document = shop()
        change(document)
        return Brick.model_validate(document["sources"][0]).tables[0].contract()[0]

    same = version(lambda d: None)
    assert version(lambda d: first(d)["columns"][0].update(description="Other words.")) == same
    assert version(lambda d: first(d)["columns"][1].update(config={"meta": {"unit": "kWh"}})) == same
    assert version(lambda d: meta(d).update(steward="Somebody else")) == same
    for change in (
        lambda d: first(d)["columns"][1].update(data_type="double"), lambda d: first(d)["columns"].append(column("x")),
        lambda d: table_meta(d).update(key=["id", "n"]), lambda d: table_meta(d).update(time_zone="Europe/Paris"),
        lambda d: first(d)["columns"][1].update(config={"meta": {"formerly": ["m"]}}),
    ):  # fmt: skip
        assert version(change) != same


def test_every_field_of_the_contract_is_documented() -> None:
    from expectations import suite
    from ingestion import brick as contract
    from ingestion.column import ColumnMeta
    from ingestion.connectors import CONNECTORS, authentication, connector, rest, since, turns

    text = (PROJECT / "docs" / "contracts.md").read_text(encoding="utf-8")
    models = [
        contract.Brick,
        contract.BrickConfig,
        contract.BrickMeta,
        contract.Table,
        contract.TableMeta,
        contract.Column,
        ColumnMeta,
    ]
    models += [options for module in map(connector, CONNECTORS) for options in (module.BrickOptions, module.TableOptions)]
    models += [authentication.Auth, turns.Limits, rest.Paging, since.Since, suite.Expectation, suite.Suite, suite.LandedSuite]
    names = {name for model in models for name in model.model_fields} | set(suite.LANDED) | set(suite.MART)
    assert [name for name in sorted(names - {"config", "meta"}) if f"`{name}" not in text] == []
