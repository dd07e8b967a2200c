"""The annex of a tender: the checker gives, with an empty HOME and no lake, what landing gives, row by row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expectations.gate import judge_load
from flows import annex
from ingestion.connectors import SourceError
from ingestion.steward import refused_rows

COLUMNS = [
    column("id"),
    {"name": "n", "data_type": "bigint", "description": "Un nombre | entier", "config": {"meta": {"between": [0, 99], "required": True}}},
    {"name": "on", "data_type": "date", "description": "Jour", "config": {"meta": {"format": "%d/%m/%Y", "optional": True}}},
    column("code", pattern="[0-9]{5}"), column("who", personal=True, mask="pseudonym"),
]  # fmt: skip
VALUES = st.sampled_from(["1", "01", "100", "-1", "", " ", "x", "1,5", "01/02/2024", "31/02/2024", "35000", '"', "é", "NaN", "null", "a;b"])
HEADER = "id;n;on;code;who\n"
MESSY = {
    "sound": HEADER + "a;1;01/02/2024;35000;M. X\nb;2;;35001;\n",
    "none": "", "header": HEADER, "no_column": "id;on\na;01/02/2024\n", "short": HEADER + "a;1\nb;2;01/02/2024;35000;y;z\n",
    "quote": HEADER + 'a;"1;01/02/2024;35000;z\n', "html": "<html><body>404</body></html>", "latin": b"id;n;on;code;who\n\xe9;1;;35000;x\n",
    "twice": HEADER + "a;1;01/02/2024;35000;x\n" * 20 + HEADER, "zip": b"PK\x03\x04 cut", "gzip": b"\x1f\x8b\x08cut",
    "order": "n;id;on;code;who\n1;a;;35000;x\n",
}  # fmt: skip


@pytest.fixture
def delivered(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give what checks and lands the same delivery, each on its own."""
    tables = [table("items", COLUMNS, ["id"], {"format": "csv", "path": "*.csv"})]
    meta = {
        "legal_basis": "b",
        "purpose": "p",
        "pseudonym_domain": "people",
        "options": {"headers_env": {"X-Key": "ORCHESTRA_SECRET_NAME"}},
    }
    brick = house.brick("shop", tables, "https://secret.example/path", **meta)
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "k" * 64)
    checker = house.folder / "check.pyz"
    annex.write_checker(brick, checker)
    (house.folder / "home").mkdir()

    def both(content: str | bytes, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        house.drops = house.folder / "drops" / name
        house.drop("items.csv", content)
        command = [
            "env",
            "-i",
            f"HOME={house.folder / 'home'}",
            f"PATH={Path(sys.executable).parent}",
            sys.executable,
            checker,
            house.drops,
            "--json",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=house.folder / "home")
        assert done.returncode in (0, 1), done.stderr
        checked = json.loads(done.stdout)
        assert (done.returncode == 0) == (checked["verdict"] == "accepted" and not any(t["refused"] for t in checked["tables"].values()))
        assert not list((house.folder / "home").iterdir())
        return checked, _landed(house, tables, meta, name)

    return both


def _landed(house: House, tables: list[Any], meta: dict[str, Any], name: str) -> dict[str, Any]:
    from ingestion.lake import Lake

    house.lake = Lake(str(house.folder / f"lake_{name}"))
    try:
        entry = house.land(house.brick("shop", tables, house.drops, **meta), judge_load)
    except SourceError as error:
        return {"verdict": "unreadable", "reasons": [str(error)], "tables": {}}
    assert entry
    rows = refused_rows(house.lake, entry, 1 << 40)
    told = {
        name: {
            "kept": each["kept"],
            "refused": each["refused"],
            "files": [list(file) for file in each["refused_files"]],
            "rows": rows[name],
        }
        for name, each in entry["tables"].items()
    }
    # A reception tells no name of a file of persons, the checker tells who delivers theirs.
    found = {"verdict": entry["verdict"], "reasons": entry["reasons"], "tables": told}
    return json.loads(re.sub("[0-9a-f]{16}", "items.csv", json.dumps(found)))


@pytest.mark.soak
@pytest.mark.parametrize("name", MESSY)
def test_checker_and_landing_say_the_same_of_what_is_messy(delivered: Any, name: str) -> None:
    checked, landed = delivered(MESSY[name], name)
    assert checked == landed


def test_checker_and_landing_say_the_same(delivered: Any) -> None:
    content = HEADER + "a;1;01/02/2024;35000;M. X\nb;x;;35001;\nc;100;31/02/2024;1;y\n" + "".join(f"k{n};{n};;35000;\n" for n in range(40))
    checked, landed = delivered(content, "all")
    assert checked == landed
    assert [row["row"] for row in checked["tables"]["items"]["rows"]] == [2, 3]
    assert checked["verdict"] == "accepted"


@pytest.mark.soak
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(VALUES, min_size=4, max_size=6), max_size=8), seed=st.uuids())
def test_checker_and_landing_say_the_same_of_what_is_drawn(delivered: Any, rows: list[list[str]], seed: Any) -> None:
    checked, landed = delivered(HEADER + "".join(";".join(row) + "\n" for row in rows), f"d{seed.hex}")
    assert checked == landed


def test_a_checker_holds_no_secret_and_no_sandbox(house: House, delivered: Any) -> None:
    with zipfile.ZipFile(house.folder / "check.pyz") as packed:
        assert not [name for name in packed.namelist() if "sandbox" in name or "/bricks/" in name]
        held = b"".join(packed.read(name) for name in packed.namelist() if not name.endswith(".py"))
    assert b"secret.example" not in held
    assert b"ORCHESTRA_SECRET_NAME" not in held


def test_the_clause_says_what_the_brick_does(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import main

    tables = [table("items", COLUMNS, ["id"], {"format": "csv", "path": "items_%Y.csv", "separator": ";"})]
    house.brick("shop", tables, legal_basis="mission d'intérêt public", purpose="facturer", pseudonym_domain="people")
    house.brick("web", [table("items", [column("id")], ["id"], {"dataset": "x"})], connector="opendatasoft")
    monkeypatch.setenv("ORCHESTRA_BRICKS", str(house.folder / "bricks"))
    assert main(["bricks", "annex", "shop", "--folder", str(house.folder / "out")]) == 0
    clause = (house.folder / "out" / "annexe_shop.md").read_text()
    for told in (
        "« Un essai »", "tous les jours", "`items_%Y.csv`", "facturer", "au plus 20 % de lignes refusées ;", "controle_shop.pyz",
        "| `n` | nombre entier | obligatoire, au moins 0, au plus 99 | Un nombre \\| entier |", "`items.who`", "duckdb==1.5.5",
        "| date | colonne facultative, format `%d/%m/%Y` |", "Séparateur : `;`",
    ):  # fmt: skip
        assert told in clause.replace("\u00a0", " ")
    assert " :" not in clause.replace("```", "")
    assert main(["bricks", "annex", "web"]) == 2
    assert "not delivered as files" in capsys.readouterr().err
