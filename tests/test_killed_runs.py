"""Whole runs killed with kill -9, and two at once: a normal run follows, and the lake is what an undisturbed run makes of it."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestion.census import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake, literal, load_extension, quoted
from ingestion.sandbox.server import start
from redistribution.catalogue import attach, catalogue
from redistribution.mart import CLASSES
from tests.fixtures.compiled import Compiled

DAY = dt.date(2024, 4, 2)  # the day that the killed runs bring
RUN = [sys.executable, "-m", "flows.cli", "run"]
STEPS = ("land insee_cog", "land lora_batiments", "land meteo_stations", "land patrimoine_bati", "build", "publish")
SEED, KILLS = 1848, 54


class Trial:
    """A lake that stands at the eve of a day; what is tried on it is undone by `restore`."""

    def __init__(self, folder: Path, root: str, environment: dict[str, str]) -> None:
        self.lake = Lake(root, str(folder / "state"))
        self.kept = folder / "kept"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRA_")}
        self.environment = {**clean, **environment, "ORCHESTRA_LAKE": root, "ORCHESTRA_STATE": str(self.lake.state)}

    def start(self) -> subprocess.Popen[str]:
        """Start a run; it tells its steps on stderr."""
        return subprocess.Popen(
            RUN, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self) -> dict[str, float]:
        """Run to the end, which must be a good one; give when each step began and the run ended, in seconds."""
        born, begun = time.monotonic(), {}
        process = self.start()
        assert process.stderr and process.stdout
        told = []
        for line in process.stderr:
            told.append(line)
            begun[line.removesuffix(" ...\n")] = time.monotonic() - born
        told.append(process.stdout.read())
        assert process.wait() == 0, "".join(told)
        return {**begun, "end": time.monotonic() - born}

    def kill(self, step: str, delay: float, *, is_alone: bool) -> str | None:
        """Kill a run that many seconds after a step began: the process alone, or all of it. Give the step it died in."""
        process = self.start()
        assert process.stderr
        now = ""
        for line in process.stderr:
            now = line.removesuffix(" ...\n")
            if now == step:
                break
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):
            (os.kill if is_alone else os.killpg)(process.pid, signal.SIGKILL)
        status = process.wait()
        # What dbt, alone, has inherited of the pipe stays open: nothing waits for it here.
        os.set_blocking(process.stderr.fileno(), False)
        left = process.stderr.read() or ""
        for line in left.splitlines():
            now = line.removesuffix(" ...")
        return now if status == -signal.SIGKILL else None

    def save(self) -> None:
        """Keep the lake and its state as they are."""
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.lake.state, self.kept / "state")
        for name in self.lake.names(""):
            if content := self._outside_state(name):
                (self.kept / "lake" / name).parent.mkdir(parents=True, exist_ok=True)
                (self.kept / "lake" / name).write_bytes(content)

    def restore(self) -> None:
        """Put the lake and its state back."""
        shutil.rmtree(self.lake.state)
        self.lake.delete(self.lake.names(""))
        shutil.copytree(self.kept / "state", self.lake.state)
        for path in (self.kept / "lake").rglob("*"):
            if path.is_file():
                self.lake.replace(str(path.relative_to(self.kept / "lake")), path.read_bytes())

    def _outside_state(self, name: str) -> bytes | None:
        return None if name.startswith("state/") else self.lake.read(name)

    def contents(self) -> dict[str, Any]:
        """Sum up all that a reader, an analyst and an operator may see; instants and ids of loads aside, which differ by run."""
        journal = Journal(self.lake)
        found: dict[str, Any] = {"journal": collections.Counter(entry["kind"] for entry in journal.entries)}
        connection = self.lake.connect()
        connection.execute(f"attach {literal(str(self.lake.state / 'warehouse.duckdb'))} as warehouse (read_only)")
        tables = connection.execute("select schema_name, table_name from duckdb_tables() where database_name = 'warehouse'").fetchall()
        tables += connection.execute("select schema_name, view_name from duckdb_views() where database_name = 'warehouse'").fetchall()
        for schema, table in tables:
            if schema not in ("meta", "information_schema", "pg_catalog", "main"):
                found[f"{schema}.{table}"] = self._digest(connection, f"warehouse.{quoted(schema)}.{quoted(table)}")
        connection.close()
        for access_class in CLASSES:
            if catalogue(self.lake, access_class).exists():
                connection = self.lake.connect()
                attach(connection, self.lake, access_class)
                published = connection.execute("select table_name from duckdb_tables() where database_name = 'lake'").fetchall()
                for (table,) in published:
                    found[f"{access_class}: {table}"] = self._digest(connection, f"lake.{quoted(table)}")
                found[f"{access_class}: snapshots"] = connection.execute("select count(*) from lake.snapshots()").fetchall()
                connection.close()
        connection = self.lake.connect()
        load_extension(connection, "spatial")
        for name in self.lake.names("files"):
            if name.endswith(".parquet"):
                found[name] = self._digest(connection, f"read_parquet({literal(self.lake.path(name))})")
        connection.close()
        return found

    @staticmethod
    def _digest(connection: Any, relation: str) -> tuple[int, int]:
        columns = connection.execute(f"describe from {relation}").fetchall()
        differ = {"_read_at", "_load_id", "read_at", "last_read_at", "load_id", "published_at", "run_id", "seq"}
        # Doubles to 6 decimals: sums differ in the last bit with the order of rows.
        shown = [f"round({quoted(c[0])}, 6) + 0.0" if c[1] == "DOUBLE" else quoted(c[0]) for c in columns if c[0] not in differ]
        return tuple(connection.execute(f"select count(*), sum(hash({', '.join(shown)})::hugeint) from {relation}").fetchall()[0])

    def left_behind(self) -> list[str]:
        """Name what stands in the lake or its state and serves nobody: files no entry names, work begun, spilt pages.

        What dlt writes for itself is swept at the brick's next load.
        """
        journal = Journal(self.lake)
        named = {name for brick in {load["brick"] for load in journal.of("load")} for name in journal.named_files(brick)}
        named |= {file for entry in journal.of("publication") for record in entry["marts"].values() for file in record["files"].values()}
        names = [n for n in self.lake.names("landed") if n not in named and "/_dlt_" not in n and not n.endswith("/init")]
        names += [n for n in self.lake.names("marts") if n not in named and n.split("/")[2] != "main"]
        return names + [str(path) for pattern in ("work/*", "spill/*/duckdb*") for path in self.lake.state.glob(pattern)]


@contextlib.contextmanager
def trial(
    folder: Path, root: str, environment: dict[str, str], compiled: Compiled
) -> Iterator[tuple[Trial, dict[str, float], dict[str, Any]]]:
    """Give a trial whose lake stands at the eve of DAY, what a run of that day takes, and what it makes."""
    with start(until=DAY - dt.timedelta(days=1)) as eve:
        port = eve.port
        # No alert is answered yet: the sandbox has no such file.
        places = {"ORCHESTRA_ENDPOINT": f"{eve.url}/{{brick}}", "ORCHESTRA_ENDPOINT_REPONSES_ALERTES": "none"}
        tried = Trial(folder, root, {**environment, **places})
        shutil.copy(compiled.parsed, tried.lake.state_path("target", compiled.parsed.name))
        tried.run()
    tried.save()
    with start(port, until=DAY):
        begun = tried.run()
        expected = tried.contents()
        assert expected["journal"]["load"] > len(read_bricks()), "the day brought nothing: these kills would show nothing"
        assert tried.left_behind() == []
        tried.restore()
        yield tried, begun, expected


def lengths(begun: dict[str, float]) -> dict[str, float]:
    """Give how long each step lasted."""
    times = list(begun.items())
    return {step: end - at for (step, at), (_, end) in itertools.pairwise(times)}


@pytest.mark.soak
def test_kills_at_seeded_instants_over_the_whole_run(tmp_path: Path, compiled: Compiled) -> None:
    chance = random.Random(SEED)
    hits: collections.Counter[str] = collections.Counter()
    missed = 0
    with trial(tmp_path, str(tmp_path / "lake"), {}, compiled) as (tried, begun, expected):
        lasts = lengths(begun)
        for number in range(10 * KILLS):
            if sum(hits.values()) >= KILLS and min(hits[step] for step in STEPS) >= 3:
                break
            step = STEPS[number % len(STEPS)]
            died = tried.kill(step, chance.random() * lasts[step], is_alone=chance.random() < 0.5)
            if died is None:
                missed += 1
            else:
                hits[died] += 1
            tried.run()
            contents = tried.contents()
            differing = [name for name in expected | contents if contents.get(name) != expected.get(name)]
            assert (differing, tried.left_behind()) == ([], []), f"kill {number} (seed {SEED}) in {died}"
            tried.restore()
            print(f"{sum(hits.values())} kills: {dict(hits)}; runs that ended before their kill: {missed}", flush=True)
    assert sum(hits.values()) >= KILLS and min(hits[step] for step in STEPS) >= 3


@pytest.mark.soak
def test_a_lake_on_s3_killed_in_each_step_is_what_an_undisturbed_run_makes(tmp_path: Path, s3: dict[str, str], compiled: Compiled) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.items():
            patch.setenv(name, value)
        with trial(tmp_path, "s3://city/whole/lake", s3, compiled) as (tried, begun, expected):
            lasts = lengths(begun)
            for step in ("land meteo_stations", "build", "publish"):
                assert tried.kill(step, 0.6 * lasts[step], is_alone=True) is not None
            tried.run()
            contents = tried.contents()
            assert [name for name in expected | contents if contents.get(name) != expected.get(name)] == []
            assert tried.left_behind() == []
            again = json.loads(subprocess.run([*RUN, "--json"], env=tried.environment, capture_output=True, check=True).stdout)
            assert not any(step["entry"] for step in again["lands"]) and again["build"]["nodes"] == []


@pytest.mark.soak
def test_two_runs_at_once_make_what_one_makes(tmp_path: Path, compiled: Compiled) -> None:
    with trial(tmp_path, str(tmp_path / "lake"), {}, compiled) as (tried, _, expected):
        for pause in (0.0, 0.5, 3.0, 8.0):
            first = tried.start()
            time.sleep(pause)
            second = tried.start()
            ended = [(process.communicate()[0], process.returncode) for process in (first, second)]
            assert [status for _, status in ended] == [0, 0], ended
            contents = tried.contents()
            assert [name for name in expected | contents if contents.get(name) != expected.get(name)] == []
            assert tried.left_behind() == []
            tried.restore()
