"""What landed and was published in clear before it was personal: taken from readers first, then masked, whatever fails then."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from conftest import Document, House, column, table
from test_privacy import KEY, MASTER, PERSONAL, PHONES, found_in_clear, pseudonym

from flows import dbt_process, steps
from flows.outcome import Outcome
from ingestion.lake import Lake
from redistribution.catalogue import attach
from tests.fixtures.forked import run_dbt_forked
from tests.fixtures.site import META
from tests.fixtures.town import project_without_models

MART_META = {
    **{name: told for name, told in META.items() if name not in ("position", "completeness", "questions")},
    "grain": ["id"], "access_class": "internal", "completeness_why": "Nothing is awaited.", "reasons_not_open": ["persons"],
}  # fmt: skip
COLUMNS = [{"name": n, "data_type": "varchar", "config": {"meta": {"label_fr": n, "label_en": n}}} for n in ("id", "phone")]
PSEUDONYM, DROPPED = {"personal": True, "mask": "pseudonym"}, {"personal": True, "mask": "drop"}


class Homes:
    """A brick that knows phones, a mart that shows them, and a site: landed, built and published, in clear for now."""

    def __init__(self, house: House, patch: pytest.MonkeyPatch) -> None:
        self.house, self.patch, project = house, patch, project_without_models(house.folder, patch)
        for module in (steps, dbt_process):
            patch.setattr(module, "run_dbt", run_dbt_forked)
        (project / "models" / "marts" / "energy").mkdir(parents=True)
        (project / "models" / "staging" / "stg_people.sql").write_text("select id, phone from {{ source('homes', 'people') }}")
        (project / "models" / "marts" / "energy" / "people.sql").write_text("select id, phone from {{ ref('stg_people') }}")
        told = {
            "models": [
                {"name": "people", "config": {"group": "all", "materialized": "table", "meta": MART_META}, "columns": COLUMNS},
                {"name": "stg_people", "config": {"group": "all"}},
            ]
        }
        groups = {"version": 2, "groups": [{"name": "all", "owner": {"name": "Nobody"}}]}
        (project / "models" / "_models.yml").write_text(yaml.safe_dump({**groups, **told}), encoding="utf-8")
        self.declare(column("phone"))
        house.drop("people.csv", f"id,phone\na,{PHONES[0]}\nb,{PHONES[1]}\n")
        house.land(self.brick)
        outcome = self.run("build", "publish")
        assert outcome.failures == [] and outcome.mask is None
        steps.follow_sites(house.lake, house.journal, asked="internal")
        assert {path.parts[len(Path(house.lake.root).parts)] for path in self.in_clear()} >= {"landed", "marts", "files", "site", "state"}

    def declare(self, phone: Document, name: str = "people", endpoint: str | None = None, **meta: Any) -> None:
        people = table(name, [column("id"), phone], ["id"], {"format": "csv", "path": "people*.csv"})
        self.brick = self.house.brick("homes", [people], endpoint, **meta)

    def run(self, *asked: str) -> Outcome:
        return steps.run_chain(self.house.lake, {}, steps=asked)

    def in_clear(self) -> set[Path]:
        """Give the files of the lake and its state that hold a phone."""
        return {Path(told.partition(" in ")[2]) for told in found_in_clear(Path(self.house.lake.root))}

    def snapshots(self, lake: Lake) -> list[Any]:
        """Read the mart in each snapshot that holds it."""
        with lake.connect() as connection:
            attach(connection, lake, "internal")
            found: list[Any] = []
            for (version,) in connection.execute("select snapshot_id from lake.snapshots() order by 1").fetchall():
                with contextlib.suppress(duckdb.CatalogException):
                    found.append(connection.execute(f"from lake.people at (version => {version}) order by id").fetchall())
            return found


@pytest.fixture
def homes(house: House, monkeypatch: pytest.MonkeyPatch) -> Homes:
    monkeypatch.delenv(KEY, raising=False)
    return Homes(house, monkeypatch)


def test_without_the_key_nothing_of_the_brick_is_published_until_its_history_is_masked(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = homes.house.lake
    homes.declare(column("phone", **PSEUDONYM), "people", "none", **PERSONAL)  # unplugged
    outcome = homes.run("land", "build", "publish")
    assert outcome.mask and outcome.mask.taken_away == ["people"] and KEY in outcome.mask.errors["masking homes"]
    assert outcome.publish and outcome.publish.entry
    [reason] = outcome.publish.entry["withheld"]["people"]["reasons"]
    assert reason.startswith("homes: 1 loads hold people.phone in clear") and reason.endswith("Mend: orchestra mask")
    assert {path.parts[len(Path(lake.root).parts)] for path in homes.in_clear()} == {"landed"}, "the landed file alone, which nobody reads"
    assert homes.snapshots(lake) == [] and not lake.names("files/internal/people.parquet")
    again = homes.run("build", "publish")
    assert again.publish and again.publish.entry is None and "homes" in again.publish.withheld["people"]

    monkeypatch.setenv(KEY, MASTER)
    outcome = homes.run()
    assert outcome.failures == [] and outcome.mask and len(outcome.mask.masked["homes"]) == 1, "no source is asked: the brick is unplugged"
    assert homes.in_clear() == set()
    assert homes.run("build", "publish").failures == []
    assert homes.snapshots(lake) == [[("a", pseudonym(PHONES[0])), ("b", pseudonym(PHONES[1]))]]
    assert homes.run("build", "publish").mask is None and homes.in_clear() == set()


def test_what_a_model_still_selects_of_a_dropped_column_is_taken_away_before_the_build_fails(homes: Homes) -> None:
    lake = homes.house.lake
    homes.declare(column("phone", **DROPPED), **PERSONAL, status="retired")
    outcome = homes.run("build", "publish")
    assert any("stg_people" in failure for failure in outcome.failures)
    assert outcome.mask and outcome.mask.masked["homes"] and outcome.mask.errors == {}
    assert homes.in_clear() == set() and homes.snapshots(lake) == [] and not lake.names("files/internal")[1:]
