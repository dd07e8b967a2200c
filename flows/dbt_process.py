"""dbt in a process of its own, which gives its memory back and holds the lock of the build as long as it writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from flows.outcome import BuildStep
from ingestion.census import folder_of_bricks
from ingestion.disk import write_whole
from ingestion.lake import PROJECT, Lake

DBT_PROJECT = PROJECT / "dbt_project"
FAILED_STATUSES = ("error", "fail", "runtime error")  # what dbt says of a node that did


def dbt_build(lake: Lake, select: list[str], held: int, private: Collection[str] = ()) -> BuildStep:
    """Run `dbt build` in a process of its own, which gives its memory back; it inherits the lock of the build.

    So when this process is killed, the next build waits for what dbt still writes. Of what is made of `private` bricks no word of the
    database is told, which may hold values.
    """
    results_file = lake.state_path("target", "run_results.json")
    results_file.unlink(missing_ok=True)
    # Unit tests are of the SQL, whatever the lake holds: they are run when it changes, not with each build.
    process = run_dbt(lake, ["build", "--exclude-resource-type", "unit_test", *(["--select", *select] if select else [])], held)
    results = (written_by_dbt(lake, results_file.name) or {"results": []})["results"]
    nodes, manifest = [], written_by_dbt(lake, "manifest.json") or {}
    hidden = made_of_private(manifest, private)
    for result in results:
        kind, _, name = result["unique_id"].split(".", 2)
        seconds, message = round(result["execution_time"], 3), result["message"]
        if result["unique_id"] in hidden and result["status"] == "error":
            told = (re.match(r"\w+( \w+)? Error", message or "") or ["Error"])[0]
            message = f"{told}, in words that may hold values of a brick with personal columns: {lake.state / 'logs' / 'dbt.log'}"
        node = {"status": result["status"], "seconds": seconds, "kind": kind, "name": name, "message": message}
        nodes.append({**node, "id": result["unique_id"]})
    failures = [f"build: {n['kind']} {n['name']}: {n['message']}" for n in nodes if n["status"] in FAILED_STATUSES]
    if (process.returncode or not results_file.exists()) and not failures:
        told = (process.stdout + process.stderr).strip()[-2000:]
        failures = [f"build: dbt ended with status {process.returncode}: {told}"]
    return BuildStep(nodes, failures, unreached=_unreached(nodes, manifest))


def made_of_private(manifest: dict[str, Any], private: Collection[str]) -> set[str]:
    """Name the nodes of dbt that are made of what lands of some bricks."""
    found = {name for name, source in manifest.get("sources", {}).items() if source["source_name"] in private}
    parents = {name: set(node.get("depends_on", {}).get("nodes", ())) for name, node in manifest.get("nodes", {}).items()}
    while more := {name for name, of in parents.items() if name not in found and found & of}:
        found |= more
    return found


def _unreached(nodes: list[dict[str, Any]], manifest: dict[str, Any]) -> dict[str, str]:
    """Give, by node that is to be built again, why: it failed, dbt skipped it, or a test of it failed."""
    tests = manifest.get("nodes", {})
    found: dict[str, str] = {}
    for node in nodes:
        is_test = node["kind"] == "test"
        if node["status"] in FAILED_STATUSES:
            test = tests.get(node["id"], {})
            attached = [test["attached_node"]] if test.get("attached_node") else test.get("depends_on", {}).get("nodes", [])
            found |= dict.fromkeys(attached if is_test else [node["id"]], f"{node['kind']} {node['name']}: {node['message']}")
        elif node["status"] == "skipped" and not is_test:
            found.setdefault(node["id"], f"{node['kind']} {node['name']}: skipped, for what it is made of failed")
    return found


def run_dbt(lake: Lake, arguments: list[str], held: int) -> subprocess.CompletedProcess[str]:
    """Run dbt over the lake."""
    _forget_another_project(lake)
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", *arguments, "--target", "prod"]
    return subprocess.run(command, cwd=DBT_PROJECT, env=dbt_environment(lake), capture_output=True, text=True, check=False, pass_fds=[held])


def _forget_another_project(lake: Lake) -> None:
    """Have dbt parse all of a project that stands elsewhere than the one it last parsed: it would read the seeds of that one."""
    told, here = lake.state_path("target", "project"), str(DBT_PROJECT.parent).encode()
    if not told.exists() or told.read_bytes() != here:
        told.with_name("partial_parse.msgpack").unlink(missing_ok=True)
        write_whole(told, here)


def dbt_environment(lake: Lake) -> dict[str, str]:
    """Give the environment in which dbt finds the lake, its state and the project's modules, and phones nobody."""
    return {
        **os.environ,
        "ORCHESTRA_LAKE": lake.root,
        "ORCHESTRA_STATE": str(lake.state),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "DBT_PROJECT_DIR": str(DBT_PROJECT.parent),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_TARGET_PATH": str(lake.state_path("target")),
        "DBT_LOG_PATH": str(lake.state_path("logs")),
        "DBT_INDIRECT_SELECTION": "eager",  # a mart that is built alone is held against those that stand
        "DBT_USE_COLORS": "false",  # what it says of a failure stands in messages and journals
    }


def written_by_dbt(lake: Lake, name: str) -> dict[str, Any] | None:
    """Read a document that dbt leaves in its target folder; None for none, or one that a full disk or a kill has cut short."""
    path = lake.state_path("target", name)
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return told


def selector(node: str) -> str:
    """Write how dbt selects a node and what is made of it."""
    kind, _, name = node.split(".", 2)
    return f"source:{name}+" if kind == "source" else f"{name.partition('.')[0]}+"


def project_digest() -> str:
    """Sum up what dbt builds from: the project, the bricks, the territory."""
    # Not what dbt writes beside it when it is run by hand.
    folders = (*(DBT_PROJECT / name for name in ("models", "seeds", "macros", "tests")), folder_of_bricks())
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".sql", ".yml", ".csv")]
    territory = Path(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"))
    return digest_of([*files, DBT_PROJECT.parent / "dbt_project.yml", territory])


def digest_of(files: Iterable[Path]) -> str:
    """Sum up the names and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
