"""The receipt of a mart: all that its figures come from (files, SQL, journal), and the proof that they give them again."""

from __future__ import annotations

import decimal
import hashlib
import itertools
import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick
from ingestion.journal import Journal
from ingestion.lake import PROJECT, Lake, LakeError, listed, literal, load_extension, quoted
from ingestion.warehouse import source_sql
from redistribution.kept import kept_until
from redistribution.mart import CLASSES
from redistribution.meta import is_memory
from redistribution.publications import last_published

if TYPE_CHECKING:
    pass

HERE = "{lake}"  # stands for the address of the lake, which may move
ALIKE = 1e-9  # how near two computations of a double are: threads add in another order
MOST_SEED = 1_000_000  # bytes of a seed that a receipt carries


def receipt_of(
    lake: Lake,
    journal: Journal,
    manifest: Mapping[str, Any],
    bricks: Mapping[str, Brick],
    name: str,
    record: Mapping[str, Any],
    known: dict[str, str | None],
) -> dict[str, Any] | None:
    """Write the receipt of a published mart; None when its SQL is not known, or a source is of no brick of today.

    `known` are the digests of files that were told before, to which those of this receipt are added: a file never changes, and
    what it was is what counts.
    """
    node = next((n for n in manifest["nodes"].values() if n["resource_type"] == "model" and n["name"] == name), None)
    if node is None:
        return None
    models, seeds, sources, files = [], [], [], set(record["files"].values())
    for each in _in_order(manifest, node["unique_id"]):
        if each.startswith("source."):
            source = manifest["sources"][each]
            brick = bricks.get(source["source_name"])
            table = next((t for t in brick.tables if t.name == source["name"]), None) if brick else None
            if brick is None or table is None:
                return None
            loads = [load for load in journal.accepted(brick.name) if table.name in load["tables"]]
            files |= {file for load in loads for file in load["tables"][table.name]["files"]}
            sql = source_sql(lake, journal, brick, table, loads).replace(lake.root, HERE)
            of = [{"load_id": load["load_id"], "seq": load["seq"], "files": load["tables"][table.name]["files"]} for load in loads]
            sources.append({"relation": f"{brick.name}.{table.name}", "sql": sql, "loads": of})
        elif (parent := manifest["nodes"][each])["resource_type"] == "seed":
            text = (Path(parent.get("root_path") or PROJECT) / parent["original_file_path"]).read_text(encoding="utf-8")
            if len(text) > MOST_SEED:
                return None
            types = parent["config"].get("column_types") or {}
            seeds.append({"relation": f"{parent['schema']}.{parent['alias']}", "csv": text, "types": types})
        else:
            compiled = compiled_sql(lake, parent)
            if compiled is None:
                return None
            models.append({"relation": f"{parent['schema']}.{parent['alias']}", "sql": compiled})
            if is_memory(parent) and (stands := last_published(journal).get(parent["name"])):
                remembered = sorted(stands["files"].values())
                sql = f"from read_parquet({listed(f'{HERE}/{file}' for file in remembered)})"
                sources.append({"relation": f"published.{parent['name']}", "sql": sql, "loads": []})
                files |= set(remembered)
    known |= {file: sha_of(lake, file) for file in sorted(files) if not known.get(file)}
    return {
        "mart": name, "grain": node["config"]["meta"]["grain"], "class": record["class"], "published": record["files"],
        "journal": journal.digests, "sources": sources, "seeds": seeds, "models": models,
        "files": {file: known[file] for file in sorted(files)}, "kept_until": _kept_until(journal, node, sources),
    }  # fmt: skip


def _kept_until(journal: Journal, node: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> str | None:
    """Give the day before which a mart keeps rows of loads that have expired; None where it keeps none."""
    if not node["config"]["meta"].get("keeps"):
        return None
    return kept_until(journal, {source["relation"].partition(".")[0] for source in sources})


def _bricks(manifest: Mapping[str, Any], name: str) -> list[str]:
    node = next((n for n in manifest["nodes"].values() if n["resource_type"] == "model" and n["name"] == name), None)
    lineage = _in_order(manifest, node["unique_id"]) if node else []
    return sorted({manifest["sources"][each]["source_name"] for each in lineage if each.startswith("source.")})


def made_of(journal: Journal, manifest: Mapping[str, Any], name: str, record: Mapping[str, Any]) -> list[Any]:
    """Sum up what a receipt is made of, without opening a file: its loads, its publication, and what dbt would make of it."""
    node = next((n for n in manifest["nodes"].values() if n["resource_type"] == "model" and n["name"] == name), None)
    lineage = _in_order(manifest, node["unique_id"]) if node else []
    loads = [(load["load_id"], load["seq"]) for brick in _bricks(manifest, name) for load in journal.accepted(brick)]
    published = last_published(journal)
    remembered = [published.get(node["name"], {}).get("files") for each in lineage if is_memory(node := manifest["nodes"].get(each, {}))]
    checks = [(manifest["nodes"][each].get("checksum") or {}).get("checksum") for each in lineage if each in manifest["nodes"]]
    return [loads, record["files"], remembered, checks]


def compiled_sql(lake: Lake, node: Mapping[str, Any]) -> str | None:
    """Give the SELECT of a model as dbt compiled it the last time that it built it; None when it never did."""
    if node.get("compiled_code"):
        return str(node["compiled_code"])
    path = lake.state_path("target", "compiled", node.get("package_name", ""), node.get("original_file_path", ""))
    return path.read_text(encoding="utf-8") if path.is_file() else None


def sha_of(lake: Lake, name: str) -> str | None:
    """Give the digest of an object of the lake, None when it is gone."""
    if not lake.is_s3:
        try:
            with Path(lake.path(name)).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
    content = lake.read(name)
    return None if content is None else hashlib.sha256(content).hexdigest()


@dataclass
class Proof:
    """What proving a row gave: what differs, or is not what the receipt says; nothing when the row was made again, equal."""

    mart: str
    key: dict[str, str]
    receipt: str
    row: dict[str, Any] = field(default_factory=dict)
    again: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    loads: int = 0
    files: int = 0
    models: int = 0
    seconds: float = 0.0


class Prover:
    """Makes the rows of a mart again from its receipt and the files that it names; the mart is computed once."""

    def __init__(self, lake: Lake, mart: str, tell: Callable[[str], None] = lambda step: None) -> None:
        """Read the receipt of the most open site that has one; raises LakeError when none has."""
        self.lake, self.mart, self.tell = lake, mart, tell
        places = [f"site/{access_class}/receipts/{mart}.json" for access_class in CLASSES]
        contents = {place: content for place in places if (content := lake.read(place)) is not None}
        if not contents:
            held = sorted({Path(name).stem for access_class in CLASSES for name in lake.names(f"site/{access_class}/receipts")})
            others = f"they hold those of {', '.join(held)}" if held else "none was written"
            raise LakeError(f"no site holds a receipt of mart {mart} ({others}). Mend: orchestra site --class C, with a class that sees it")
        self.place, content = next(iter(contents.items()))
        self.faults: list[str] = []
        try:
            mark = json.loads(lake.read(f"{self.place.rsplit('/', 2)[0]}/.seq") or b"{}")
            told = mark["files"][f"receipts/{mart}.json"][1]
        except (ValueError, KeyError, TypeError):
            told = None
        if told != hashlib.sha256(content).hexdigest()[:32]:
            self.faults.append(f"{self.place} is not the receipt that was written")
        try:
            self.receipt: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise LakeError(f"{self.place} cannot be read ({error}). Mend: orchestra site --class {self.place.split('/')[1]}") from error
        self.faults += self._faults_of_files()
        self.connection = lake.connect()
        self.connection.execute("attach ':memory:' as warehouse; use warehouse")
        load_extension(self.connection, "spatial")
        self.is_computed = False

    def _faults_of_files(self) -> Iterator[str]:
        self.tell("files and journal")
        for name, told in self.receipt["files"].items():
            if (found := sha_of(self.lake, name)) != told:
                yield f"{name} {'is gone' if found is None else 'is not the file that was read: its digest differs'}"
        # By seq, the digest of an entry and of all before it.
        for seq, (before, told) in enumerate(itertools.pairwise(self.receipt["journal"]), 1):
            name = f"journal/{seq:012d}.json"
            if hashlib.sha256(before.encode() + (self.lake.read(name) or b"")).hexdigest()[:32] != told:
                yield f"{name} is not the entry that stood there"

    def prove(self, key: Mapping[str, str]) -> Proof:
        """Make one row again and compare each of its values; raises LakeError for a key of no row that was published."""
        begun = time.monotonic()
        receipt = self.receipt
        proof = Proof(
            self.mart, dict(key), self.place, faults=list(self.faults), loads=sum(len(s["loads"]) for s in receipt["sources"]),
            files=len(receipt["files"]), models=len(receipt["models"]),
        )  # fmt: skip
        if any(" is gone" in fault for fault in proof.faults):
            return proof
        try:
            published = f"read_parquet({listed(self.lake.path(file) for file in receipt['published'].values())})"
            proof.row = self._row(published, key)
            self._compute()
            schema, _, name = receipt["models"][-1]["relation"].partition(".")
            proof.again = self._row(f"warehouse.{quoted(schema)}.{quoted(name)}", key)
        except LakeError:
            raise
        except Exception as error:  # a file that is broken says so in DuckDB's words, when nothing else was said of it
            if not proof.faults:
                proof.faults.append(f"cannot be computed again: {str(error).splitlines()[0]}")
            return proof
        if not proof.again and (until := receipt.get("kept_until")):
            told = f"the loads that it was made of have expired ({until})"
            proof.faults.append(f"{told}: it stays as it was published, and is not made again")
            return proof
        for column, value in proof.row.items():
            if column != "geometry" and not is_alike(value, proof.again.get(column)):
                proof.faults.append(f"{column} was published as {value} and is {proof.again.get(column)} when it is computed again")
        proof.seconds = round(time.monotonic() - begun, 2)
        return proof

    def _compute(self) -> None:
        if self.is_computed:
            return
        for source in self.receipt["sources"]:
            sql = re.sub(re.escape(HERE), lambda _: self.lake.root, source["sql"])
            self._make(source["relation"], sql)
        with tempfile.TemporaryDirectory() as folder:
            for number, seed in enumerate(self.receipt["seeds"]):
                path = Path(folder, f"{number}.csv")
                path.write_text(seed["csv"], encoding="utf-8")
                types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in seed["types"].items())
                options = f", types = {{{types}}}" if types else ""
                self._make(seed["relation"], f"from read_csv({literal(str(path))}, header = true, sample_size = -1{options})", "table")
            for model in self.receipt["models"]:
                self._make(model["relation"], model["sql"], "table")
        self.is_computed = True

    def _make(self, relation: str, sql: str, kind: str = "view") -> None:
        self.tell(relation)
        schema, _, name = relation.partition(".")
        self.connection.execute(f"create schema if not exists warehouse.{quoted(schema)}")
        self.connection.execute(f"create {kind} warehouse.{quoted(schema)}.{quoted(name)} as {sql}")

    def _row(self, relation: str, key: Mapping[str, str]) -> dict[str, Any]:
        if set(key) != set(self.receipt["grain"]):
            raise LakeError(f"mart {self.mart}: a row is known by {', '.join(self.receipt['grain'])}, not by {', '.join(key)}")
        where = " and ".join(f"{quoted(name)}::varchar = {literal(value)}" for name, value in key.items())
        cursor = self.connection.execute(f"select * from {relation} where {where}")
        names, found = [each[0] for each in cursor.description or ()], cursor.fetchall()
        if not found and "read_parquet" in relation:
            raise LakeError(f"mart {self.mart}: no row of {', '.join(f'{n} {v}' for n, v in key.items())} was published")
        return dict(zip(names, found[0], strict=True)) if found else {}

    def keys(self) -> list[dict[str, str]]:
        """Give the key of every published row."""
        names = self.receipt["grain"]
        columns = ", ".join(f"{quoted(name)}::varchar" for name in names)
        files = listed(self.lake.path(file) for file in self.receipt["published"].values())
        rows = self.connection.execute(f"select {columns} from read_parquet({files})").fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def key_of(self, values: Sequence[str]) -> dict[str, str]:
        """Read a key as it is typed: the values of the grain in its order, or each with its name; raises LakeError for another number."""
        grain = self.receipt["grain"]
        if values and all(value.partition("=")[0] in grain and "=" in value for value in values):
            return dict(value.partition("=")[::2] for value in values)
        if len(values) != len(grain):
            mend = f"orchestra prove {self.mart} {' '.join(f'<{name}>' for name in grain)}"
            raise LakeError(f"mart {self.mart}: the key of a row is {len(grain)} values: {', '.join(grain)}. Mend: {mend}")
        return dict(zip(grain, values, strict=True))

    def close(self) -> None:
        """Close it."""
        self.connection.close()


def is_alike(one: Any, other: Any) -> bool:
    """Whether two values are the same; doubles, but for the order in which they were added."""
    numbers = (float, decimal.Decimal)
    if isinstance(one, numbers) and isinstance(other, (*numbers, int)):
        return math.isclose(float(one), float(other), rel_tol=ALIKE, abs_tol=ALIKE) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)


def _in_order(manifest: Mapping[str, Any], node_id: str) -> list[str]:
    """Give what a node is made of, parents first, itself last."""
    done: dict[str, None] = {}

    def walk(each: str) -> None:
        if each in done:
            return
        for parent in manifest["nodes"].get(each, {}).get("depends_on", {}).get("nodes", []):
            walk(parent)
        done[each] = None

    walk(node_id)
    return list(done)
