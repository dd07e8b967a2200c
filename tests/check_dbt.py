"""Rules of the dbt project that a command checks (layers, names, docs, plain SQL): part of `make check`."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from expectations.validation import faults_of_suites
from flows.dbt_process import DBT_PROJECT, dbt_environment
from flows.schema import faults_of_schemas
from ingestion.census import read_bricks
from ingestion.deletion import DELETED
from ingestion.lake import PROJECT, Lake, quoted
from ingestion.plan import GRAINS, PARTITIONED, REACHES, changes_read, columns_of
from ingestion.territory import read_territory
from redistribution.mart import CLASSES, read_marts
from redistribution.meta import column_meta, is_mart, read_meta
from redistribution.site.cards import read_cards
from redistribution.site.period import misuses, with_period
from tests.check_docs import faults_of_docs
from tests.check_joins import faults_of_joins
from tests.check_marts import faults_of_marts
from tests.check_meta import faults_of_meta, read_codes, unsaid_of
from tests.check_metrics import faults_of_metrics

# What only one engine has, and what ties a model to a run.
FORBIDDEN = (
    r"\b(strftime|epoch|quantile_cont|arg_max|is_incremental|now|getdate|today|random|uuid|read_\w+|list_\w+)\s*\("
    r"|\b(current_date|current_time|current_timestamp|localtime|localtimestamp)\b"
    r"|\b(over\s*\(\s*(?!partition\b|order\b)\w+\s+(?:rows|range))\b"  # a frame goes with no window that has a name
)
LINES = 80


def faults() -> list[str]:
    """Name the models that are too long, or say what the engine says for them."""
    found = []
    for path in sorted((DBT_PROJECT / "models").rglob("*.sql")):
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        if (count := len(text.splitlines())) > LINES:
            found.append(f"{path.name}: {count} lines, {LINES} at most: a rule deserves its own model")
        found += [f"{path.name}: {match[match.lastindex or 0]} may not stand in a model" for match in re.finditer(FORBIDDEN, text)]
        if "marts" in path.parts and re.search(r"\{\{\s*source\(", text):
            found.append(f"{path.name}: a mart reads a source")
        found += [f"{path.name}: {fault}" for fault in faults_of_facts(text, revised_seeds())]
    return found


@functools.cache
def revised_seeds() -> tuple[str, ...]:
    """Name the seeds whose facts are revised: a row that holds no more has its `valid_to`, and another one stands beside."""
    heads = {path.stem: path.open(encoding="utf-8").readline().strip().split(",") for path in (DBT_PROJECT / "seeds").rglob("*.csv")}
    return tuple(sorted(name for name, columns in heads.items() if "valid_to" in columns))


def faults_of_facts(text: str, seeds: tuple[str, ...]) -> list[str]:
    """Name the revised seeds of which a model reads every row: two rows of one fact would count its rows twice, in silence."""
    found = []
    for seed in seeds:
        rests = re.findall(rf"ref\(\s*['\"]{seed}['\"]\s*\)\s*\}}\}}([^)]*)", text)
        if any("valid_to" not in rest for rest in rests) and not re.search(rf"\b{seed}\.valid_to\b", text):
            found.append(f"reads rows of {seed} that hold no more. Mend: where valid_to is null, or a join on its days")
    return found


def columns_of_marts(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Give the columns of each mart, by type, as its contract says them."""
    models = [node for node in manifest["nodes"].values() if is_mart(node)]
    return {node["name"]: {name: column["data_type"] for name, column in node["columns"].items()} for node in models}


def meta_faults(manifest: dict[str, Any]) -> list[str]:
    """Name what marts do not say of themselves, and the codes without a label in a language of the territory."""
    languages, reference = read_territory().languages, DBT_PROJECT / "seeds" / "reference"
    codes, told = read_codes(reference / "code_labels.csv", languages)
    with (reference / "disclosure_thresholds.csv").open(encoding="utf-8", newline="") as file:
        domains = {row["domain"] for row in csv.DictReader(file)}
    told += faults_of_meta(manifest, languages, codes)
    if any(read_meta(node, languages)[1] for node in manifest["nodes"].values() if is_mart(node)):
        return told  # what cannot be read is mended first
    return [
        *told,
        *faults_of_marts(manifest, codes, domains),
        *faults_of_use_cases(manifest, read_territory().use_cases),
        *faults_of_classes(manifest),
        *faults_of_seeds(manifest, codes),
        *faults_of_questions(manifest),
        *faults_of_metrics(manifest, codes.get("unit", {})),
    ]


OF_THE_HOUSE = "census"  # the folder of the marts that tell of the house itself, whatever the territory's policies are


def faults_of_use_cases(manifest: dict[str, Any], declared: Mapping[str, Any]) -> list[str]:
    """Name the marts that stand in the folder of no use case that territory.yml declares."""
    return [
        f"mart {node['name']}: {node['original_file_path']} is in the folder of no use case that territory.yml declares "
        f"({', '.join(declared)}). Mend: dbt_project/models/marts/<use case>/, or declare it in `use_cases`"
        for node in manifest["nodes"].values()
        if is_mart(node) and (len(node["fqn"]) < 4 or node["fqn"][2] not in (*declared, OF_THE_HOUSE))
    ]


def faults_of_classes(manifest: dict[str, Any]) -> list[str]:
    """Name the marts of a lower class than their sources that do not say why, and what else would withhold them whatever they hold."""
    marts, columns = read_marts(manifest, {}), columns_of_marts(manifest)
    return [f"mart {mart.name}: {fault}" for mart in marts if (fault := mart.fault((), columns[mart.name]))]


def faults_of_seeds(manifest: dict[str, Any], codes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the codes of seeds that have no label, where a column of one says their domain (`config.meta.codes`), and labels elsewhere."""
    found = []
    for node in manifest["nodes"].values():
        domains = {name: domain for name, column in node.get("columns", {}).items() if (domain := column_meta(column).get("codes"))}
        if node["resource_type"] != "seed":
            continue
        with (PROJECT / node["original_file_path"]).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if node["name"] != "code_labels" and (labels := [name for name in (rows or [{}])[0] if name.startswith("label_")]):
            found.append(f"seed {node['name']}: holds labels ({', '.join(labels)}). Mend: code_labels.csv, and `codes` on its column")
        for name, domain in domains.items():
            if absent := sorted({row[name] for row in rows if row[name]} - codes.get(domain, {}).keys()):
                found.append(
                    f"seed {node['name']}, column {name}: {', '.join(absent)} has no label in domain {domain}. Mend: code_labels.csv"
                )
    return found


def faults_of_questions(manifest: dict[str, Any]) -> list[str]:
    """Try the query of each question on empty marts: those that who sees the mart sees."""
    found, marts = [], [node for node in manifest["nodes"].values() if is_mart(node)]
    classes = {node["name"]: CLASSES.index(node["config"]["meta"].get("access_class", "restricted")) for node in marts}
    columns, cards = columns_of_marts(manifest), read_cards(manifest, {})
    for node in marts:
        for question in node["config"]["meta"].get("questions") or ():
            if not question.get("sql"):
                continue
            wrong = [f"{told}. Mend: {mend}" for told, mend in misuses(question["sql"], cards[node["name"]])]
            found += [f"mart {node['name']}: the query of '{question.get('en')}' {told}" for told in wrong]
            if wrong:
                continue
            with duckdb.connect() as connection:
                for name in (name for name, of in classes.items() if of <= classes[node["name"]]):
                    connection.execute(f"create table {name} ({', '.join(f'{quoted(c)} {kind}' for c, kind in columns[name].items())})")
                try:
                    connection.execute(with_period(question["sql"], cards[node["name"]]))
                except duckdb.Error as error:
                    told = str(error).splitlines()[0]
                    found.append(f"mart {node['name']}: the query of '{question.get('en')}' cannot run: {told}. Mend: its `sql`")
    return found


def partition_faults(manifest: dict[str, Any]) -> list[str]:
    """Name the models with a partition that are computed whole all the same, for want of what they say of themselves."""
    found = []
    for model in manifest["nodes"].values():
        config, told = model["config"], f"{model['name']}: "
        if model["resource_type"] != "model" or config["materialized"] != PARTITIONED or not config.get("partition"):
            continue
        reach, changes = config.get("reach"), changes_read(model, manifest)
        if model["depends_on"]["nodes"] and reach not in REACHES:
            found.append(f"{told}reach is {reach}, so that it is computed whole. Mend: say one of {', '.join(REACHES)}")
        if reach == "next" and config.get("partition_grain") not in GRAINS:
            found.append(f"{told}reach: next needs partition_grain, one of {', '.join(GRAINS)}: it is computed whole without")
        if len(changes) > 1:
            found.append(f"{told}reads {' and '.join(changes)}: it is computed whole. Mend: a model for each, and one that reads both")
        if len(changes) == 1 and reach in ("own", "next"):
            source, held = manifest["sources"][changes[0]], columns_of(config.get("unique_key"))
            key, asked = source["config"]["meta"]["key"], f"the key of {source['source_name']}.{source['name']}"
            absent = [name for name in held if "*" not in model["raw_code"] and not re.search(rf"\b{name}\b", model["raw_code"])]
            if len(held) != len(key) or absent:
                found.append(
                    f"{told}unique_key ({', '.join(held) or 'none'}) does not hold {asked} ({', '.join(key)}), so that it is computed "
                    "whole. Mend: name the columns that hold it, as it landed"
                )
    return found


def faults_of_deletions(manifest: dict[str, Any]) -> list[str]:
    """Name the models that read a table whose rows may be deletions, and say nothing of them: what has gone would be shown."""
    found = []
    for model in manifest["nodes"].values():
        for source in (manifest["sources"].get(name) for name in model["depends_on"].get("nodes", ())):
            told = (source or {}).get("config", {}).get("meta", {}).get("deleted_when")
            if source and told and model["resource_type"] == "model" and not re.search(rf"\b{DELETED}\b", model["raw_code"]):
                name = f"{source['source_name']}.{source['name']}"
                mend = f"`and not {source['name']}.{DELETED}` beside what takes the latest row"
                found.append(f"{model['name']}: {name} tells deletions (`deleted_when`). Mend: {mend}")
    return found


def main() -> int:
    """Compile the project, have dbt-bouncer judge it, and add our own rules."""
    folder = PROJECT / "lake" / "check"
    environment = dbt_environment(Lake(str(folder), str(folder / "state"))) | {"DBT_TARGET_PATH": str(folder)}
    # Compiled SQL says its columns; who is connected knows the territory.
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "--warn-error", "compile", "--no-populate-cache", "--target", "prod"]
    if subprocess.run(command, cwd=DBT_PROJECT, env=environment, check=False).returncode:
        return 1
    bouncer = Path(sys.executable).with_name("dbt-bouncer")
    wide = os.environ | ({} if sys.stdout.isatty() else {"COLUMNS": "250"})  # it folds its table to two letters a line in a pipe
    judged = subprocess.run([str(bouncer), "--config-file", "pyproject.toml"], cwd=PROJECT, env=wide, check=False).returncode
    manifest = json.loads((folder / "manifest.json").read_bytes())
    told = [*faults(), *partition_faults(manifest), *meta_faults(manifest), *faults_of_docs(manifest), *faults_of_joins(manifest)]
    told += faults_of_deletions(manifest)
    told += faults_of_schemas()
    told += faults_of_suites(read_bricks(), columns_of_marts(manifest))
    for warning in unsaid_of(manifest, read_territory().languages):
        print(f"warning: {warning}", file=sys.stderr)
    for fault in told:
        print(fault, file=sys.stderr)
    return 1 if judged or told else 0


if __name__ == "__main__":
    sys.exit(main())
