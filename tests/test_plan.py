"""Incremental equals rebuild, whatever the model: random graphs of models, changes and builds, held against the same SQL run from nothing.

The project is written on the spot with the macros of the real one. dbt runs in a process forked from this one, which has imported
it already; what it should have made is made by DuckDB alone, in memory, model after model.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from conftest import House, accept, column, table
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.landing import land_brick
from ingestion.plan import Plan, Whole, following, plan
from ingestion.steward import accept_load, drop_load
from ingestion.warehouse import catch_up
from tests.check_dbt import FORBIDDEN, partition_faults
from tests.fixtures.forked import dbt_here, forked, parsed_in, warm_up
from tests.fixtures.town import project_without_models

IDS, PLACES = ("A", "B", "C"), ("x", "y", "9", "")
GONE = "9"  # the note of a row that is deleted
DAYS = ("2024-01-05", "2024-01-20", "2024-12-01", "2025-01-03")
PARTITIONS = ("month_date", "d", "year_text", "year_number", "place")
LATEST = "qualify row_number() over (partition by t.id order by t._read_at desc, t._load_id desc, t._file desc, t._row desc) = 1"
DATED = "cast(date_trunc('month', d) as date) as month_date, cast(year(d) as string) as year_text, cast(year(d) as bigint) as year_number"


@dataclass(frozen=True)
class Model:
    """A model: the shape of its SELECT, what it reads, and what it tells of itself."""

    name: str
    shape: str
    parents: tuple[str, ...] = ()
    made_as: str = "partitioned"
    partition: str | None = None
    reach: str | None = None
    grain: str | None = None
    key: tuple[str, ...] = ()
    is_text: bool = False  # its month is written as text, under the same name
    salt: int = 0
    is_broken: bool = False
    slices: int = 1

    def sql(self) -> str:
        """Write its SELECT, with dbt's references."""
        body = BODIES[self.shape].replace("{unit}", self.partition or "place")
        for place, parent in enumerate(self.parents):
            body = body.replace(f"{{{place}}}", f"{{{{ ref('{parent}') }}}}")
        dated = DATED if not self.is_text else DATED.replace("cast(date_trunc('month', d) as date)", "substr(cast(d as string), 1, 7)")
        broken = ", error('broken') as broken" if self.is_broken else ""
        return f"select id, row_id, v + {self.salt} as v, label, place, d, {dated}{broken} from ({body}) as body"

    def config(self) -> dict[str, Any]:
        """Give what its YAML says."""
        told = {"materialized": self.made_as, "partition": self.partition, "reach": self.reach, "partition_grain": self.grain}
        told |= {"slices": self.slices, "sliced_by": "id"} if self.slices > 1 else {}
        held = list(self.key) if self.made_as in ("partitioned", "view") else ["row_id"] if self.made_as == "incremental" else []
        return {name: value for name, value in (told | {"unique_key": held}).items() if value}


SOURCE = "t.id, t.id as row_id, coalesce(try_cast(t.v as bigint), 0) as v, t.note as label, t.place, t.d"
ROW_BY_ROW = SOURCE.replace("t.id as row_id", "t.id || t._load_id || t._row as row_id")
TAKEN = f"select {SOURCE} from {{{{ source('town', 't') }}}} as t {LATEST}"
BODIES = {
    # of the source
    "latest": TAKEN,
    "living": f"{TAKEN} and not t._deleted",
    "ranked living": (
        "select id, row_id, rank() over (partition by {unit} order by v, id) as v, label, place, d "
        f"from (select *, {DATED} from (select {SOURCE}, t._deleted from {{{{ source('town', 't') }}}} as t {LATEST})) as t "
        "qualify not t._deleted"
    ),
    "filtered": f"select * from ({TAKEN}) where v % 2 = 0",
    "exploded": (
        f"select id, id || k as row_id, v, label, place, cast(d + k * interval '1' month as date) as d "
        f"from ({TAKEN}) as t cross join (select unnest([0, 1]) as k) where v % 3 <> 0 or k = 0"
    ),
    "half": f"select id, id || k as row_id, v, label, place, d from ({TAKEN}) as t cross join (select unnest([0, 1]) as k) where v % 2 = 0",
    "ranked": (
        "select id, row_id, rank() over (partition by {unit} order by v, id) as v, label, place, d "
        f"from (select *, {DATED} from ({TAKEN})) as t qualify t.v % 2 = 0"
    ),
    "every": f"select {ROW_BY_ROW} from {{{{ source('town', 't') }}}} as t",
    "tallied": (
        "select id, row_id, count(*) over (partition by {unit}) as v, label, place, d "
        f"from (select *, {DATED} from (select {SOURCE} from {{{{ source('town', 't') }}}} as t)) as t qualify t.v % 2 = 0"
    ),
    "ended": (
        "select id, row_id, v, label, place, lead(d) over (partition by id order by d, row_id) as d "
        f"from (select {ROW_BY_ROW} from {{{{ source('town', 't') }}}} as t)"
    ),
    "unless": (
        "select * from (select id, row_id, rank() over (partition by {unit} order by v, id) as v, label, place, d "
        f"from (select *, {DATED} from ({TAKEN}))) as r where not exists (select 1 from {{0}} as o where (o.id, o.d) = (r.id, r.d))"
    ),
    "photo": "select w.id, w.id as row_id, 1 as v, 'w' as label, 'x' as place, w.d from {{ source('town', 'w') }} as w "
    "qualify w._read_at = max(w._read_at) over ()",
    # of other models
    "rows": "select * from {0}",
    "window": "select * replace (sum(v) over (partition by {unit})::bigint as v) from {0}",
    "seeded": "select body.* replace (body.label || s.code as label) from {0} as body left join {{ ref('s') }} as s using (place)",
    "astray": "select * replace (case when v % 2 = 1 then d end as d) from {0}",
    "union": "select * from {0} union all select * from {1}",
    "looked_up": (
        "select body.* replace (body.v + coalesce((select sum(v) from {1} as o where o.id = body.id), 0)::bigint as v) from {0} as body"
    ),
    "before": (
        "select body.* replace (body.v + coalesce((select sum(v) from {0} as o where date_trunc('month', o.d) + interval '1' month "
        "= date_trunc('month', body.d)), 0)::bigint as v) from {0} as body"
    ),
    "moved": "select * replace (cast(d + interval '1' month as date) as d) from {0}",
    "cumulated": "select * replace (sum(v) over (order by d, row_id, v, label, place)::bigint as v) from {0}",
}
OF_SOURCE = ("latest", "living", "living", "ranked living", "filtered", "exploded", "half", "ranked", "tallied", "every", "ended", "photo")
OWN = ("rows", "window", "seeded", "union", "astray")
NEXT = ("before", "moved")


@st.composite
def models(draw: st.DrawFn, names: tuple[str, ...], name: str) -> Model:
    """Draw a model that says nothing untrue of its reach."""
    if not names or draw(st.integers(0, 3)) == 0:
        shape = draw(st.sampled_from(OF_SOURCE))
        parents: tuple[str, ...] = ()
    else:
        shape = draw(st.sampled_from([*OWN, *NEXT, "looked_up", "cumulated"]))
        parents = tuple(draw(st.sampled_from(names)) for _ in range(2))
    made_as = draw(st.sampled_from(["partitioned"] * 4 + ["table", "view", "ephemeral", "incremental"]))
    partition = draw(st.sampled_from([*PARTITIONS, *["month_date"] * 4, None]))
    is_text = draw(st.integers(0, 5)) == 5
    key = draw(st.sampled_from([("id",), ("id",), ("id",), ("row_id",), ()]))
    told: list[tuple[str | None, str | None]] = [(None, None), ("all", None)]
    if shape in (*OWN, *OF_SOURCE):
        told += [("own", None)] * 6
    if shape not in ("looked_up", "cumulated") and partition != "d":
        told += [("next", "month"), ("next", "month"), ("next", None)]
    reach, grain = draw(st.sampled_from(told))
    return Model(name, shape, parents, made_as, partition, reach, grain, key, is_text, slices=draw(st.sampled_from([1, 1, 3])))


def kept(name: str, shape: str, *parents: str, made_as: str = "partitioned", partition: str | None = "month_date", **told: Any) -> Model:
    """Give a model that says `own`, and holds the key of the source when it reads it."""
    return Model(
        name, shape, parents, made_as, partition, told.pop("reach", "own"), told.pop("grain", None), told.pop("key", ("id",)), **told
    )


def through(made_as: str) -> list[Model]:
    """Give a model of a materialization, and its child."""
    name = f"of_{made_as}"
    return [kept(name, "rows", "first", made_as=made_as, partition=None, reach=None), kept(f"{name}_child", "rows", name)]


# What any graph holds, beside what is drawn: where faults were seen. Of the groups it holds some.
ALWAYS = [kept("first", "latest"), kept("half", "half", key=("row_id",)), kept("ranked", "ranked"), kept("tallied", "tallied")]
GROUPS = [
    *(through(made_as) for made_as in ("table", "view", "ephemeral", "incremental")),
    [kept("retyped", "window", "first", is_text=True)],
    [
        kept("yearly", "latest", partition="year_text"),
        kept("next_year", "before", "yearly", partition="year_text", reach="next", grain="month"),
    ],
    [kept("seeded", "seeded", "first"), kept("by_day", "window", "first", partition="d")],
]


VALUES = ("1", "2", "3", "1 2")
ROWS = st.one_of(
    st.lists(st.tuples(*map(st.sampled_from, (IDS, VALUES, DAYS, PLACES, PLACES))), min_size=2, max_size=4),
    # A row that models leave out, and one that they may show twice: as many rows as keys, and not of the same ones.
    st.builds(
        lambda names, days: [(name, value, day, "x", "y") for name, value, day in zip(names, ("1", "2"), days, strict=False)],
        st.permutations(IDS), st.tuples(*[st.sampled_from(DAYS)] * 2),
    ),
)  # fmt: skip
CHANGES = (
    "photo", "late", "accept", "drop", "erase", "declare", "seed", "retype", "swell", "salt", "switch", "tell", "leave", "come back",
    "break", "select",
)  # fmt: skip


class World:
    """A lake, a brick, a seed and a project of models, which a state machine changes and builds."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.house, self.project = House(folder, patch), project_without_models(folder, patch)
        self.models: dict[str, Model] = {}
        self.gone: dict[str, Model] = {}
        self.landed = 0
        self.told = {"data_type": "bigint", "null_values": [], "thousands": None, "key": ["id"]}
        self.codes, self.code_type, self.is_big = {"x": "01", "y": "2"}, "bigint", False
        self.declare()

    def declare(self, **changes: Any) -> None:
        self.told |= changes
        columns = [column("id"), column("v", self.told["data_type"]), column("d", "date"), column("place"), column("note")]
        options = {"format": "csv", "path": "t*.csv", "null_values": self.told["null_values"], "thousands": self.told["thousands"]}
        gone = {"column": "note", "values": [GONE]}
        changing = table("t", columns, self.told["key"], {name: value for name, value in options.items() if value}, deleted_when=gone)
        photo = table("w", [column("id"), column("d", "date")], ["id"], {"format": "csv", "path": "w.csv"}, delivers="whole")
        self.brick = self.house.brick("town", [changing, photo])

    def sow(self) -> None:
        """Write the seed, above 1 MiB when it is big: dbt tells such a one by its path."""
        lines = [f"{place},{code}," for place, code in sorted(self.codes.items())]
        lines += [f"big{place},7,{'x' * 100_000}" for place in range(11)] if self.is_big else []
        (self.project / "seeds" / "s.csv").write_text("\n".join(["place,code,filler", *lines]) + "\n", encoding="utf-8")
        types = {"place": "string", "code": self.code_type, "filler": "string"}
        told = {"version": 2, "seeds": [{"name": "s", "config": {"column_types": types}}]}
        (self.project / "seeds" / "_s.yml").write_text(yaml.safe_dump(told), encoding="utf-8")

    def land(self, rows: list[tuple[str, ...]], judge: Any = accept) -> None:
        self.landed += 1
        content = "".join(",".join(row) + "\n" for row in rows)
        self.house.drop(f"t{self.landed:03}.csv", f"id,v,d,place,note\n{content}")
        land_brick(self.house.lake, self.house.journal, self.brick, "run", judge)

    def photograph(self, ids: list[str]) -> None:
        self.house.drop("w.csv", "id,d\n" + "".join(f"{name},{DAYS[place]}\n" for place, name in enumerate(ids)))
        land_brick(self.house.lake, self.house.journal, self.brick, "run", accept)

    def write(self) -> None:
        """Write the models as they are now."""
        folder = self.project / "models" / "staging"
        for path in folder.iterdir():
            path.unlink()
        for model in self.models.values():
            (folder / f"{model.name}.sql").write_text(model.sql(), encoding="utf-8")
        told = [{"name": model.name, "config": model.config()} for model in self.models.values()]
        groups = [{"name": "bricks", "owner": {"name": "Nobody"}}]
        (folder / "_models.yml").write_text(yaml.safe_dump({"version": 2, "groups": groups, "models": told}), encoding="utf-8")

    def dbt(self, *command: str) -> list[Any]:
        """Run a command of dbt in this very process; give the result of each node."""
        return getattr(dbt_here(self.house.lake, "--log-level-file", "none", *command).result, "results", [])

    def build(self, *select: str) -> dict[str, str]:
        """Build in a forked process; give the status of each node."""
        self.write()
        results, output = (self.house.lake.state_path(name) for name in ("results.json", "dbt.out"))
        results.unlink(missing_ok=True)

        def run() -> int:
            # dbt's manifest is read by nobody here.
            ran = self.dbt("--no-write-json", "build", *(["--select", *select] if select else []))
            results.write_text(json.dumps([(each.node.unique_id, str(each.status), each.message) for each in ran]))
            return 0

        status = forked(run, output, 120)
        assert status == 0 and results.exists(), output.read_text(encoding="utf-8")[:6000]
        nodes = json.loads(results.read_text(encoding="utf-8"))
        self.messages = {name: message for name, status, message in nodes if status != "success"}
        return {name.split(".")[2]: status for name, status, _ in nodes}

    def differing(self) -> list[str]:
        """Name the tables that are not what their SQL makes of the same lake from nothing."""
        lake, found = self.house.lake, []
        connection = lake.connect()
        with contextlib.closing(connection):
            connection.execute("set TimeZone = 'UTC'")
            catch_up(connection, lake, Journal(lake), read_bricks(self.house.folder / "bricks"))
            connection.execute(f"attach '{lake.state_path('warehouse.duckdb')}' as warehouse (read_only); create schema made")
            connection.execute(f"create table made.s as from read_csv('{self.project / 'seeds' / 's.csv'}', all_varchar = true)")
            connection.execute(f"alter table made.s alter code type {self.code_type}")
            for name in ordered(self.models):
                model, sql = self.models[name], self.models[name].sql().replace("{{ source('town', 't') }}", "town.t")
                sql = sql.replace("{{ source('town', 'w') }}", "town.w").replace("{{ ref('s') }}", "made.s")
                for parent in self.models:
                    sql = sql.replace(f"{{{{ ref('{parent}') }}}}", f"made.{parent}")
                # What an incremental model keeps is its own affair: its children must be of what it holds.
                is_own = model.made_as == "incremental"
                connection.execute(f"create table made.{name} as {f'from warehouse.staging.{name}' if is_own else sql}")
                if model.made_as == "ephemeral":
                    continue
                sides = [f"from warehouse.staging.{name}", f"from made.{name}"]
                for one, other in (sides, sides[::-1]):
                    if rows := connection.execute(f"{one} except all {other}").fetchall():
                        found.append(f"{name}: {one} alone: {rows[:4]}")
        return found


@functools.cache
def parsed() -> bytes:
    """Give what dbt keeps of what it has parsed, for all worlds: their macros, and what most of them hold."""
    with tempfile.TemporaryDirectory(prefix="plan") as folder, pytest.MonkeyPatch.context() as patch:
        world = World(Path(folder), patch)
        world.models = {model.name: model for model in [*ALWAYS, *itertools.chain(*GROUPS)] if model.shape != "seeded"}
        world.write()
        return warm_up(world.house.lake, world.sow)  # of a seed dbt keeps the whole path: none is parsed for others


def begun(folder: Path, patch: pytest.MonkeyPatch) -> World:
    """Give a world that holds its seed, and no model nor row."""
    content, made = parsed(), World(folder, patch)
    parsed_in(made.house.lake).write_bytes(content)
    made.sow()
    return made


def ordered(models: dict[str, Model]) -> list[str]:
    """Name models, parents first."""
    names: list[str] = []
    while len(names) < len(models):
        names += [name for name, model in models.items() if name not in names and set(reads(model)) <= set(names)]
    return names


def reads(model: Model) -> list[str]:
    """Name the models that a model reads."""
    return [parent for place, parent in enumerate(model.parents) if f"{{{place}}}" in BODIES[model.shape]]


class Builds(RuleBasedStateMachine):
    """Models, changes and builds: after each build that ends well, every table is what a rebuild makes of it."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.folder, self.patch = Path(tempfile.mkdtemp(prefix="plan")), pytest.MonkeyPatch()
        self.world = begun(self.folder, self.patch)
        groups = data.draw(st.permutations(GROUPS), label="groups")[:4]
        self.world.models = {model.name: model for model in [*ALWAYS, *(model for group in groups for model in group)]}
        for place in range(data.draw(st.integers(2, 4), label="models")):
            name = f"m{place}"
            self.world.models[name] = data.draw(models(tuple(self.world.models), name), label=name)
        self.world.house.drop("w.csv", f"id,d\nA,{DAYS[0]}\nB,{DAYS[2]}\n")
        for _ in range(2):
            self.world.land(data.draw(ROWS, label="rows"))
        self.compare()

    def compare(self) -> None:
        statuses = self.world.build()
        assert set(statuses.values()) == {"success"}, (statuses, self.world.messages)
        assert self.world.differing() == []

    @rule(data=st.data(), kinds=st.permutations(CHANGES), is_landed=st.sampled_from([True, True, False]))
    def change(self, data: st.DataObject, kinds: list[str], is_landed: bool) -> None:
        for kind in [*(["rows"] if is_landed else []), *kinds[:2]]:
            getattr(self, f"_{kind.replace(' ', '_')}")(data)
        self.compare()

    def _rows(self, data: st.DataObject) -> None:
        self.world.land(data.draw(ROWS, label="rows"))

    def _photo(self, data: st.DataObject) -> None:
        self.world.photograph(data.draw(st.lists(st.sampled_from(IDS), min_size=1, unique=True), label="photo"))

    def _late(self, data: st.DataObject) -> None:
        self.world.land(data.draw(ROWS, label="refused rows"), lambda *_: ["refused by hand"])

    def _loads(self, verdict: str) -> list[Any]:
        return [load for load in self.world.house.journal.loads("town").values() if load["verdict"] == verdict]

    def _accept(self, data: st.DataObject) -> None:
        for load in self._loads("refused")[:1]:
            accept_load(self.world.house.lake, self.world.house.journal, load, "It is right.")

    def _drop(self, data: st.DataObject) -> None:
        if loads := self._loads("accepted"):
            load = data.draw(st.sampled_from(loads), label="dropped")
            drop_load(self.world.house.lake, self.world.house.journal, load, refetch=False)

    def _erase(self, data: st.DataObject) -> None:
        key = {name: data.draw(st.sampled_from(IDS if name == "id" else PLACES)) for name in self.world.told["key"]}
        self.world.house.erase(self.world.brick, key)

    def _declare(self, data: st.DataObject) -> None:
        options = {
            "data_type": ["bigint", "string"],
            "null_values": [[], ["9"]],
            "thousands": [None, " "],
            "key": [["id"], ["id", "place"]],
        }
        name = data.draw(st.sampled_from(sorted(options)), label="declared")
        self.world.declare(**{name: data.draw(st.sampled_from([each for each in options[name] if each != self.world.told[name]]))})

    def _seed(self, data: st.DataObject) -> None:
        self.world.codes = {place: f"0{int(code) + 1}" for place, code in self.world.codes.items()}
        self.world.sow()

    def _retype(self, data: st.DataObject) -> None:
        self.world.code_type = "string" if self.world.code_type == "bigint" else "bigint"
        self.world.sow()

    def _swell(self, data: st.DataObject) -> None:
        self.world.is_big = not self.world.is_big
        self.world.sow()

    def _edit(self, name: str, **changes: Any) -> None:
        self.world.models[name] = replace(self.world.models[name], **changes)

    def _salt(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.models)), label="edited")
        self._edit(name, salt=self.world.models[name].salt + 1)

    def _switch(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.models)), label="switched")
        self._edit(name, made_as=data.draw(st.sampled_from(["partitioned", "table", "view", "ephemeral"])))

    def _tell(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.models)), label="told")
        model = self.world.models[name]
        other = data.draw(models(reads(model) and tuple(reads(model)), name).filter(lambda each: each.shape == model.shape), label="as")
        if model.made_as != "incremental":
            self._edit(name, partition=other.partition, reach=other.reach, grain=other.grain, key=other.key)

    def _leave(self, data: st.DataObject) -> None:
        read = {parent for model in self.world.models.values() for parent in reads(model)}
        if len(self.world.models) > 1:
            name = data.draw(st.sampled_from([name for name in self.world.models if name not in read]), label="left")
            self.world.gone[name] = self.world.models.pop(name)

    def _come_back(self, data: st.DataObject) -> None:
        for name, model in list(self.world.gone.items()):
            if set(reads(model)) <= set(self.world.models):
                self.world.models[name] = self.world.gone.pop(name)

    def _break(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.models)), label="broken")
        whole = self.world.models[name]
        self._edit(name, is_broken=True)
        self._rows(data)
        self.world.build()
        self.world.models[name] = whole

    def _select(self, data: st.DataObject) -> None:
        self._rows(data)
        self.world.build(data.draw(st.sampled_from(sorted(self.world.models)), label="selected"))

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.folder)


def run_builds(count: int, step_count: int) -> None:
    told = settings(
        max_examples=count, stateful_step_count=step_count, deadline=None, database=None, derandomize=count < 50,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate] if not os.environ.get("SHRINK") else list(Phase),
        print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(Builds, settings=told)


def test_incremental_equals_rebuild_over_random_models() -> None:
    run_builds(5, 2)


@pytest.mark.soak
@pytest.mark.parametrize("quarter", range(4))
def test_incremental_equals_rebuild_over_many_random_models(quarter: int) -> None:
    """Fifty graphs of their own each, so that workers share them and each tells when it ends."""
    run_builds(50, 6)


ROW = ("A", "1", "2024-01-05", "x", "x")
OTHERS = [("B", "2", "2024-02-05", "y", "9"), ("C", "3", "2025-01-03", "9", "y")]
CORRECTED = ("A", "3", "2024-02-05", "y", "x")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a world whose first rows are landed, and that holds no model yet."""
    made = begun(tmp_path, monkeypatch)
    made.house.drop("w.csv", "id,d\nA,2024-01-05\n")
    made.land([ROW, *OTHERS])
    return made


def grown(world: World, *models: Model) -> None:
    world.models = {model.name: model for model in models}
    is_equal(world)


def is_equal(world: World) -> dict[str, str | None]:
    """Build, hold against a rebuild, and give why the whole of each model was computed."""
    assert set(world.build().values()) == {"success"}, world.messages
    assert world.differing() == []
    with duckdb.connect(str(world.house.lake.state / "warehouse.duckdb"), read_only=True) as connection:
        told = connection.execute("select split_part(model, '.', 3), why from meta.built where made_as like 'partitioned%'").fetchall()
    return dict(told)


def test_children_of_every_materialization_follow(world: World) -> None:
    others = ("table", "view", "ephemeral", "incremental")
    shown = {"reach": None, "partition": None}
    parents = [kept(f"of_{made_as}", "rows", "first", made_as=made_as, **shown) for made_as in others]
    # A view and an ephemeral model that tell their partition let those of their parents through.
    parents += [kept("told_view", "rows", "first", made_as="view")]
    grown(world, kept("first", "latest"), *parents, *(kept(f"{parent.name}_child", "rows", parent.name) for parent in parents))
    assert set(is_equal(world).values()) == {None}
    world.land([CORRECTED])
    why = is_equal(world)
    assert why["first"] is why["told_view_child"] is None
    assert all(why[f"of_{made_as}_child"] for made_as in others)
    # A load whose rows are those that stand already: tables are built anew, and nothing has changed.
    world.land([CORRECTED])
    assert why["first"] is is_equal(world)["of_table_child"] is None
    # What a view selects changes, and neither its child nor the rows below it do; then it is a table; then it is a view again.
    for change in ({"salt": 1}, {"made_as": "table"}, {"made_as": "view", "salt": 0}, {"made_as": "partitioned"}):
        world.models["told_view"] = replace(world.models["told_view"], **change)
        world.land([ROW if change else CORRECTED])
        is_equal(world)


def test_partitions_of_another_name_type_or_calendar_are_the_whole(world: World) -> None:
    by = [kept(f"by_{partition}", "window", "first", partition=partition) for partition in ("d", "year_text", "year_number", "place")]
    nexts = [
        kept("next_month", "before", "first", reach="next", grain="month"),
        kept("next_without_grain", "before", "first", reach="next"),
        kept("next_year", "before", "yearly", partition="year_text", reach="next", grain="year"),
        kept("next_place", "before", "placed", partition="place", reach="next", grain="month"),
    ]
    first = [kept("first", "latest"), kept("yearly", "latest", partition="year_text"), kept("placed", "latest", partition="place")]
    grown(world, *first, *by, *nexts, kept("retyped", "window", "first", is_text=True))
    for rows in ([CORRECTED], [("B", "5", "2024-12-01", "x", "x")]):
        world.land(rows)
        why = is_equal(world)
        assert {name for name in why if not why[name]} == {"first", "yearly", "placed", "next_month"}


def test_without_a_reach_any_partition_may_change(world: World) -> None:
    grown(world, kept("first", "latest"), kept("silent", "cumulated", "first", reach=None), kept("source", "latest", reach=None))
    world.land([("A", "5", "2024-01-20", "x", "x")])
    why = is_equal(world)
    assert why["first"] is None
    assert why["silent"]
    assert why["source"]


def test_what_changes_how_rows_are_read_is_seen(world: World) -> None:
    world.declare(data_type="string")
    world.land([("B", "1 2", "2024-02-05", "9", "9")])
    grown(world, kept("first", "latest"), kept("seeded", "seeded", "first"))
    for change in ({"null_values": ["9"]}, {"data_type": "bigint"}, {"thousands": " "}, {"null_values": []}):
        world.declare(**change)
        assert is_equal(world)["first"]
    world.is_big = True
    for code, kind in (("3", "bigint"), ("04", "bigint"), ("04", "string"), ("4", "string")):
        world.codes["x"], world.code_type = code, kind
        world.sow()
        why = is_equal(world)
        assert why["seeded"]
        assert why["first"] is None


def test_keys_tell_where_rows_stood_or_the_whole_is_computed(world: World) -> None:
    shapes = ("filtered", "exploded", "half", "ranked", "every")
    by_row = [kept(f"{shape}_by_row", shape, key=("row_id",)) for shape in ("exploded", "half", "every")]
    grown(world, kept("first", "latest"), *(kept(shape, shape) for shape in shapes), *by_row, kept("none", "latest", key=()))
    changes = [
        [CORRECTED],
        # One row is left out while another gives two.
        [("B", "5", "2024-01-05", "x", "x"), ("C", "4", "2024-12-01", "x", "x")],
        # A key comes twice, and its last row is left out.
        [("B", "2", "2024-12-01", "y", "y"), ("B", "1", "2024-01-20", "y", "y")],
        [("B", "2", "2025-01-03", "y", "y")],
    ]
    for rows in changes:
        world.land(rows)
        why = is_equal(world)
        assert why["first"] is why["every"] is None
        assert all(why[f"{name}"] for name in ("filtered", "ranked", "none", "exploded_by_row"))
    world.declare(key=["id", "place"])
    world.land([CORRECTED])
    assert all(is_equal(world).values())


def test_a_row_may_stand_where_another_of_its_key_tells(world: World) -> None:
    grown(world, kept("ended", "ended"))
    for rows in ([("A", "5", "2024-12-01", "x", "x")], [("A", "6", "2024-01-20", "x", "x"), ("B", "7", "2025-01-03", "x", "x")]):
        world.land(rows)
        assert is_equal(world) == {"ended": None}


def test_a_deletion_goes_from_where_its_key_stood_and_counts_where_it_comes(world: World) -> None:
    world.land([("A", "1", "2024-01-05", "x", "x"), ("B", "2", "2024-01-20", "x", "x"), ("C", "3", "2024-12-01", "x", "x")])
    grown(world, kept("living", "living"), kept("ranked", "ranked living"), kept("child", "window", "living"), kept("first", "latest"))
    changes: list[list[tuple[str, ...]]] = [
        [("A", "", "", "", GONE)],  # its key alone
        [("A", "7", "2024-12-01", "x", "x")],  # it comes back elsewhere
        # Deleted where it never stood: it ranks there, and is not shown.
        [("A", "1", "2024-01-20", "x", GONE)],
        [("A", "9", "2025-01-03", "x", "x")],  # it ranks there no more
        [("B", "1", "2024-01-20", "x", GONE), ("B", "2", "2025-01-03", "x", "x"), ("C", "2", "", "x", GONE)],
        [("B", "", "", "", GONE), ("C", "", "", "", GONE), ("D", "", "", "", GONE)],  # one that never stood
        [("C", "5", "2024-01-05", "x", "x")],
    ]
    for rows in changes:
        world.land(rows)
        assert is_equal(world) == dict.fromkeys(("living", "ranked", "child", "first")), rows


def test_a_row_may_come_to_have_no_partition(world: World) -> None:
    grown(world, kept("first", "latest"), kept("astray", "astray", "first"))
    for value in ("2", "3"):
        world.land([("A", value, "2024-01-05", "x", "x")])
        assert is_equal(world) == {"first": None, "astray": None}


def test_a_model_that_is_made_in_slices_holds_the_same_rows(world: World) -> None:
    sliced = [kept("window", "window", "first", slices=3), kept("whole", "cumulated", "first", partition=None, reach=None, slices=3)]
    grown(world, kept("first", "latest", slices=2), *sliced)
    # One partition, then three, one of which is of the rows that have none, then another shape.
    for rows in ([CORRECTED], [("A", "1", "2024-01-05", "x", "x"), ("B", "2", "", "x", "x"), ("C", "3", "2025-01-03", "x", "x")]):
        world.land(rows)
        assert is_equal(world)["window"] is None
    world.models["first"] = replace(world.models["first"], is_text=True)
    is_equal(world)


def test_a_key_whose_last_row_another_input_has_taken_is_no_longer_held(world: World) -> None:
    world.photograph(["C"])
    world.land([("A", "1", "2024-01-20", "x", "x"), ("B", "2", "2024-01-05", "x", "x")])
    grown(world, kept("photo", "photo"), kept("unless", "unless", "photo"))
    world.photograph(["C", "A"])
    assert is_equal(world)["unless"] is None
    # It was counted where it no longer stood.
    world.land([("A", "9", "2024-12-01", "x", "x")])
    assert is_equal(world)["unless"]


def test_a_row_that_is_left_out_counts_where_it_stood_and_where_it_comes(world: World) -> None:
    world.land([("A", "1", "2024-01-05", "x", "x"), ("B", "2", "2024-01-20", "x", "x"), ("C", "2", "2024-12-01", "x", "x")])
    grown(world, kept("first", "latest"), kept("ranked", "ranked"))
    # It ranked before another, and now is shown elsewhere.
    world.land([("A", "2", "2024-12-01", "x", "x")])
    assert is_equal(world)["ranked"]
    # Every key stands; of two new rows of one key, the first is only counted, where another stands.
    world.models["tallied"] = kept("tallied", "tallied")
    world.land([("B", "2", "2024-01-20", "x", "x")])
    is_equal(world)
    world.land([("C", "1", "2024-01-05", "x", "x"), ("C", "2", "2025-01-03", "x", "x")])
    assert is_equal(world)["tallied"]


def test_a_child_that_lags_behind_is_told_when_the_partition_of_its_parent_is_another_one(world: World) -> None:
    grown(world, kept("first", "latest"), kept("second", "rows", "first"), kept("third", "rows", "second", partition="place"))
    third = world.models["third"]
    world.models["third"] = replace(third, is_broken=True)
    world.land([("A", "5", "2024-01-05", "y", "y")])
    world.build()
    world.models |= {"second": kept("second", "rows", "first", partition="place"), "third": third}
    assert is_equal(world)["third"]


def test_what_is_not_known_of_a_parent_has_its_child_computed_whole() -> None:
    child = {
        "unique_id": "model.city.child", "name": "child", "relation_name": '"w"."staging"."child"', "columns": {},
        "config": {"materialized": "partitioned", "partition": "month_date", "reach": "own"},
        "depends_on": {"nodes": ["model.city.parent"]},
    }  # fmt: skip
    parent = child | {"unique_id": "model.city.parent", "name": "parent", "depends_on": {"nodes": []}}
    rows: dict[str, tuple[Any, ...]] = {}

    def query(sql: str) -> list[tuple[Any, ...]]:
        return [row for name, row in rows.items() if f"meta.built where model = '{name}'" in sql]

    def planned(made_as: str) -> Plan:
        nodes = {"model.city.parent": parent | {"config": parent["config"] | {"materialized": made_as}}} if made_as else {}
        return plan(child, {"nodes": nodes, "sources": {}}, "select 1", query, "staged", stands=True)

    rows["model.city.child"] = ("partitioned by month_date", planned("table").fingerprint, 3, False)
    for made_as in ("table", "snapshot", "mine", ""):
        rows.pop("model.city.parent", None)
        assert planned(made_as).why == "nothing tells what changed of model.city.parent"
        # Another materialization booked it once, and this one says nothing.
        rows["model.city.parent"] = ("incremental", "digest", 1, False)
        assert planned(made_as).touched is None
    rows["model.city.parent"] = ("table", "digest", 1, False)
    assert planned("table").touched == ()


def test_a_model_that_failed_or_went_catches_up_whatever_is_selected(world: World) -> None:
    grown(world, kept("first", "latest"), kept("second", "window", "first"), kept("third", "rows", "second"))
    world.models["second"] = replace(world.models["second"], is_broken=True)
    world.land([CORRECTED])
    assert world.build() == {"s": "success", "first": "success", "second": "error", "third": "skipped"}
    world.models["second"] = replace(world.models["second"], is_broken=False)
    world.land([("B", "5", "2024-12-01", "x", "x")])
    assert world.build("third") == {"third": "success"}
    assert set(is_equal(world).values()) == {None}
    gone = world.models.pop("third")
    world.land([ROW])
    is_equal(world)
    world.models["third"] = gone
    world.land([("C", "5", "2024-12-01", "x", "x")])
    assert set(is_equal(world).values()) == {None}


@pytest.mark.parametrize(
    ("partition", "grain", "following_one"),
    [
        ("2024-12-01", "month", "2025-01-01"), ("2024-02-28", "day", "2024-02-29"), ("2024-12-30", "week", "2025-01-06"),
        ("2024-10-01", "quarter", "2025-01-01"), ("2024-01-01", "year", "2025-01-01"), ("2024-01-31", "month", None),
        ("2025", "year", None), ("2024-02-01", "quarter", None), ("20240101", "year", None), ("x", "day", None),
        ("9999-12-31", "day", None), ("9999-12-01", "month", None), ("2024-01-01 00:00:00", "month", None),
    ],
)  # fmt: skip
def test_what_follows_is_told_by_the_grain(partition: str, grain: str, following_one: str | None) -> None:
    if following_one:
        assert following(partition, grain) == following_one
    else:
        with pytest.raises(Whole, match=re.escape(f"'{partition}' is no first day of a {grain}")):
            following(partition, grain)


def test_the_check_names_the_models_that_are_computed_whole_for_want_of_a_word(world: World) -> None:
    world.models = {
        model.name: model
        for model in (
            kept("right", "latest"), kept("silent", "rows", "right", reach=None), kept("grainless", "rows", "right", reach="next"),
            kept("keyless", "latest", key=()), kept("misnamed", "latest", key=("nope",)),
        )
    }  # fmt: skip
    world.write()
    world.dbt("parse")
    manifest = json.loads(world.house.lake.state_path("target", "manifest.json").read_text(encoding="utf-8"))
    told = {fault.split(":")[0]: fault for fault in partition_faults(manifest)}
    assert set(told) == {"silent", "grainless", "keyless", "misnamed"}
    assert "unique_key (nope) does not hold the key of town.t (id)" in told["misnamed"]


def test_the_check_finds_what_ties_a_model_to_a_run() -> None:
    tied = ["current_date", "current_timestamp", "localtimestamp", "now()", "today ()", "random()", "read_csv('x.csv')"]
    assert all(re.search(FORBIDDEN, f"select {text} as x") for text in tied)
    assert re.search(FORBIDDEN, "select count(*) over (\n series range between 2 preceding and 1 preceding) from t window series as ()")
    assert not re.search(FORBIDDEN, "select sum(x) over (order by y rows between 1 preceding and 1 following), max(z) over own from t")
    assert not re.search(FORBIDDEN, "select read_at, t.list_price, current_date_of_source, randomised from t")
