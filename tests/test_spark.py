"""Every model, unchanged, on Spark: the marts of a nasty case are those that DuckDB gives. `make conformance` runs it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from fixtures import spark_models
from fixtures.energy_oracle import Oracle
from test_energy_oracle import built  # noqa: F401

from ingestion.territory import read_territory
from redistribution.meta import is_mart, is_memory
from tests.fixtures.chain import Chain
from tests.fixtures.compiled import parents_first

MACROS = ("territory", "json", "local_date", "energy", "names", "disclosure")
# A tie, 2.445: Spark rounds the decimals that it would write, DuckDB the double that is a little less. No other cell may differ.
TIES = [
    f"energy_by_building_month ('B30', datetime.date(2024, {month}, 1), 'electricity') consumption_kwh_pci_per_m2: "
    "2.44 on DuckDB, 2.45 on Spark"
    for month in (9, 11)
]


def python_of_spark() -> str | None:
    """Give a Python that has pyspark: this one, or the one that ORCHESTRA_PYSPARK names."""
    return sys.executable if importlib.util.find_spec("pyspark") else os.environ.get("ORCHESTRA_PYSPARK")


def renderer(project: Path) -> jinja2.Environment:
    """Render models as dbt does for Spark: its macros first, names without a schema."""
    values = read_territory().model_dump(mode="json")
    text = "".join((project / "macros" / f"{name}.sql").read_text(encoding="utf-8") for name in MACROS)
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    module: Any = None

    class Adapter:
        def dispatch(self, name: str) -> Any:
            return lambda *told: getattr(module, f"spark__{name}", getattr(module, f"default__{name}", None))(*told)

        def quote(self, name: str) -> str:
            return f"`{name}`"

    environment.globals |= {"adapter": Adapter(), "return": lambda value: value, "territory_value": values.__getitem__}
    environment.globals |= {"ref": lambda name: name, "source": lambda brick, table: f"{brick}__{table}"}
    for _ in range(len(MACROS)):  # macros call macros that are defined after them
        module = environment.from_string(text).module
        environment.globals |= {name: value for name, value in vars(module).items() if callable(value)}
    return environment


def differences(connection: duckdb.DuckDBPyConnection, mart: dict[str, Any], made: Path) -> list[str]:
    """Say what differs of a mart: rows in the order of its grain, doubles to 1e-9 of their value."""
    names = [row[0] for row in connection.execute(f"describe marts.{mart['name']}").fetchall()]
    order = ", ".join(f"{name} nulls first" for name in mart["config"]["meta"]["grain"])
    sources = (f"marts.{mart['name']}", f"read_parquet('{made}/{mart['name']}/*.parquet')")
    here, there = (connection.execute(f"select {', '.join(names)} from {source} order by {order}").fetchall() for source in sources)
    told = [f"{mart['name']}: {len(here)} rows on DuckDB, {len(there)} on Spark"] if len(here) != len(there) else []
    for ours, theirs in zip(here, there, strict=False):
        for name, one, other in zip(names, ours, theirs, strict=True):
            is_same = math.isclose(one, other, rel_tol=1e-9) if isinstance(one, float) and isinstance(other, float) else one == other
            if not is_same:
                told.append(f"{mart['name']} {ours[:3]} {name}: {one!r} on DuckDB, {other!r} on Spark")
    return told


@pytest.mark.conformance
def test_marts_are_the_same_on_spark(built: tuple[Oracle, Chain], tmp_path: Path, record_property: Any) -> None:  # noqa: F811
    python = python_of_spark()
    if python is None:
        pytest.skip("no pyspark: ORCHESTRA_PYSPARK names a Python that has it (pip install pyspark, Java 17)")
    _, chain = built
    manifest = json.loads(chain.lake.state_path("target", "manifest.json").read_bytes())
    models, environment = parents_first(manifest), renderer(chain.project)
    told: dict[str, Any] = {"sources": {}, "models": []}
    for model in models:
        text = (chain.folder / model["original_file_path"]).read_text(encoding="utf-8")
        sql = environment.from_string(text).render(published=lambda name=f"published__{model['name']}": name)
        if is_memory(model):  # nothing was published: a relation of its columns, without rows
            none = [[name, column["data_type"]] for name, column in model["columns"].items()]
            told["sources"][f"published__{model['name']}"] = {"files": [], "columns": none}
        told["models"].append((model["name"], model["config"]["materialized"] == "view", sql))
    with duckdb.connect(str(chain.lake.state / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for source in manifest["sources"].values():
            brick, table = source["source_name"], source["name"]
            written = connection.execute(
                "select sql from duckdb_views() where schema_name = ? and view_name = ?", [brick, table]
            ).fetchall()[0][0]
            columns = [row[:2] for row in connection.execute(f"describe {brick}.{table}").fetchall()]
            told["sources"][f"{brick}__{table}"] = {"files": re.findall(r"'([^']+\.parquet)'", written), "columns": columns}
        (tmp_path / "seeds").mkdir()
        for (seed,) in connection.execute("select table_name from information_schema.tables where table_schema = 'seeds'").fetchall():
            connection.execute(f"copy seeds.{seed} to '{tmp_path}/seeds/{seed}.parquet'")
        (tmp_path / "told.json").write_text(json.dumps(told), encoding="utf-8")
        done = subprocess.run([python, spark_models.__file__, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        marts = [model for model in models if is_mart(model)]
        found = [difference for mart in marts for difference in differences(connection, mart, tmp_path / "made")]
        assert sorted(found) == sorted(TIES), "\n".join(found[:50])
        counts = [connection.execute(f"select count(*) from marts.{mart['name']}").fetchall()[0][0] for mart in marts]
    record_property(
        "shown", f"{len(models)} models on Spark: {len(marts)} marts, {sum(counts):,} rows, equal to DuckDB's but for {len(TIES)} ties"
    )
