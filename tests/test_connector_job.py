"""Work that another brick does: started once whatever dies when, waited for, and its result landed whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Document, House, Site, column, table

from ingestion.connectors import SourceError
from ingestion.connectors.job import TableOptions
from ingestion.declaration import BrickError
from ingestion.lake import PROJECT

OPTIONS: Document = {
    "start": {"path": "jobs", "body": {"flow": "bins", "conf": {"key": "{key}"}}, "id": "job.id"},
    "status": {"path": "jobs/{id}", "done": ["success"], "failed": ["failed"], "why": "log"},
    "result": {"path": "jobs/{id}/rows", "records": "rows"},
    "poll_seconds": 0.05,
    "timeout_seconds": 5,
}


class Runner:
    """A server of jobs: each start makes one, unless it heeds keys; `at` is called at each step with its name."""

    def __init__(self, site: Site) -> None:
        self.site, self.jobs, self.keys = site, [], []
        self.heeds, self.polls, self.state, self.at = False, 1, "success", lambda _: None
        self.rows: Callable[[int], list[Document]] = lambda number: [{"id": f"r{n}", "job": number} for n in range(5)]
        site.pages["/api/jobs"] = self._start
        site.pages["/api/found"] = self._find

    def _start(self, asked: Any) -> Any:
        self.at("received")
        key = asked["Idempotency-Key"]
        if not (self.heeds and key in self.keys):
            self.jobs.append(0)
            self.keys.append(key)
            number = len(self.jobs)
            self.site.pages[f"/api/jobs/{number}"] = lambda _: self._status(number)
            self.site.pages[f"/api/jobs/{number}/rows"] = lambda _: self._result(number)
        self.at("started")
        return 201, {}, json.dumps({"job": {"id": self.keys.index(key) + 1}}).encode()

    def _find(self, asked: Any) -> Any:
        key = asked["url"].partition("key=")[2]
        return 200, {}, json.dumps({"jobs": {"id": self.keys.index(key) + 1 if key in self.keys else None}}).encode()

    def _status(self, number: int) -> Any:
        self.jobs[number - 1] += 1
        self.at("asked after")
        told = self.state if self.jobs[number - 1] > self.polls else "running"
        return 200, {}, json.dumps({"state": told, "log": "disk full"}).encode()

    def _result(self, number: int) -> Any:
        self.at("result")
        return 200, {}, json.dumps({"rows": self.rows(number)}).encode()


@pytest.fixture
def runner() -> Iterator[Runner]:
    """Give a server of jobs."""
    site = Site()
    yield Runner(site)
    site.stop()


def brick_of(house: House, runner: Runner, **changes: Any) -> Any:
    tables = [table("t", [column("id"), column("job", "bigint")], ["id"], {**OPTIONS, **changes}, delivers="whole")]
    return house.brick("b", tables, f"{runner.site.url}/api", connector="job")


def test_a_job_is_started_waited_for_and_its_result_lands(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner)
    entry = house.land(brick)
    assert entry["tables"]["t"]["kept"] == 5
    assert house.rows(brick, "t", "id, job", "1")[0] == ("r0", 1)
    # Each landing is another job; one that gives the same moves nothing, and is not asked for again.
    assert house.land(brick)["tables"]["t"]["kept"] == 5
    assert len(runner.jobs) == 2
    runner.rows = lambda _: [{"id": "same", "job": 2}]
    house.land(brick)
    assert house.land(brick) is None
    assert house.land(brick) is None
    assert len(runner.jobs) == 5


@pytest.mark.parametrize(
    "way", [{"is_idempotent": True}, {"find": {"path": "found?key={key}", "id": "jobs.id"}}], ids=["heeds keys", "is asked"]
)
@pytest.mark.parametrize("step", ["received", "started", "asked after", "result"])
def test_killed_at_any_step_a_job_is_started_once(house: House, runner: Runner, way: Document, step: str) -> None:
    runner.heeds = "is_idempotent" in way
    brick = brick_of(house, runner, **way)
    child: list[subprocess.Popen[bytes]] = []
    reached = threading.Event()

    def kill(now: str) -> None:
        if now == step and not reached.is_set():
            reached.set()
            while not child:
                time.sleep(0.01)
            os.kill(child[0].pid, signal.SIGKILL)
            child[0].wait()

    runner.at = kill
    environment = {
        **os.environ, "ORCHESTRA_LAKE": house.lake.root, "ORCHESTRA_BRICKS": str(house.folder / "bricks"),
        "ORCHESTRA_ENDPOINT_B": f"{runner.site.url}/api", "PYTHONPATH": str(PROJECT),
    }  # fmt: skip
    child.append(subprocess.Popen([sys.executable, "-m", "flows.cli", "land", "--brick", "b"], env=environment, stderr=subprocess.DEVNULL))
    assert child[0].wait(60) == -signal.SIGKILL
    assert reached.is_set()
    entry = house.land(brick)
    assert entry["tables"]["t"]["kept"] == 5
    assert len(runner.jobs) == 1


def test_where_nothing_tells_whether_it_was_started_nothing_is_started_again(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner)

    def die(step: str) -> None:
        if step == "started":
            raise ConnectionError

    runner.at = die
    with pytest.raises(SourceError):
        house.land(brick)
    runner.at = lambda _: None
    with pytest.raises(SourceError, match=r"nobody knows whether it was started. Mend: `find` or `is_idempotent`") as told:
        house.land(brick)
    assert len(runner.jobs) == 1
    Path(str(told.value).rpartition("delete ")[2].rstrip(".")).unlink()
    house.land(brick)
    assert len(runner.jobs) == 2


def test_a_job_that_lasts_is_waited_for_by_the_next_run(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner, timeout_seconds=0.2)
    runner.polls = 15
    with pytest.raises(SourceError, match=r"job 1 is running after 0.2 s. Mend: the next run goes on waiting"):
        house.land(brick)
    runner.polls = 1
    house.land(brick)
    assert len(runner.jobs) == 1


def test_a_job_that_fails_is_told_and_the_next_run_starts_another(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner)
    runner.state = "failed"
    with pytest.raises(SourceError, match=r"job 1 has ended as failed \(disk full\)"):
        house.land(brick)
    runner.state = "success"
    house.land(brick)
    assert len(runner.jobs) == 2


def test_a_refused_start_starts_nothing_and_is_no_doubt(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner)
    real, runner.site.pages["/api/jobs"] = runner.site.pages["/api/jobs"], (400, {}, b'{"error": "no such flow"}')
    with pytest.raises(SourceError, match="400"):
        house.land(brick)
    runner.site.pages["/api/jobs"] = real
    house.land(brick)
    assert len(runner.jobs) == 1


@pytest.mark.parametrize(
    ("place", "is_below"), [("{url}/api/out/1.json", True), ("out/1.json", True), ("http://elsewhere.test/1.json", False)]
)
def test_a_result_is_read_where_the_status_says_below_the_endpoint(house: House, runner: Runner, place: str, is_below: bool) -> None:
    told = place.replace("{url}", runner.site.url)
    runner.site.pages["/api/out/1.json"] = (200, {}, json.dumps({"rows": [{"id": "a", "job": 1}]}).encode())
    real = runner._status
    runner._status = lambda number: (200, {}, json.dumps({**json.loads(real(number)[2]), "at": told}).encode())  # type: ignore[method-assign]
    status = {**OPTIONS["status"], "result": "at"}
    brick = brick_of(house, runner, status=status, result={"path": "{result}", "records": "rows"})
    if is_below:
        assert house.land(brick)["tables"]["t"]["kept"] == 1
    else:
        with pytest.raises(SourceError, match="not below the endpoint"):
            house.land(brick)


def test_a_result_that_has_gone_is_told_and_forgotten(house: House, runner: Runner) -> None:
    brick = brick_of(house, runner)
    runner._result = lambda _: (404, {}, b"")  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="the next run starts another one"):
        house.land(brick)
    del runner._result
    house.land(brick)
    assert len(runner.jobs) == 2


def test_options_that_say_no_result_are_refused(house: House, runner: Runner) -> None:
    with pytest.raises(BrickError, match=r"status.result"):
        brick_of(house, runner, result={"path": "{result}"})
    assert TableOptions.model_validate({**OPTIONS, "result": {"path": "x", "format": "csv", "decimal": ","}}).decimal == ","
