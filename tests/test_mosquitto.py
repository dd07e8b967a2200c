"""Pushed data from a real broker, mosquitto (`apt-get install mosquitto`): part of `make conformance`."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from ingestion.brick import Brick
from ingestion.connectors.mqtt import BATCH
from ingestion.inbox import inbox_of
from tests.conftest import House, column
from tests.fixtures.listening import Listener, files_of, free_port, readings, waiting

pytestmark = pytest.mark.conformance
PASSWORD = "s3cr3t-of-the-broker"


class Broker:
    """mosquitto, with sessions that outlive it, a user `lake` and what it may read."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder, self.process = free_port(), folder, None
        folder.mkdir()
        subprocess.run(["mosquitto_passwd", "-c", "-b", folder / "passwords", "lake", PASSWORD], check=True, capture_output=True)
        (folder / "rights").write_text("user lake\ntopic readwrite city/#\n")
        (folder / "passwords").chmod(0o600)
        (folder / "m.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/rights\n"
            f"persistence true\npersistence_location {folder}/\nautosave_interval 1\nuser root\nmax_queued_messages 0\n"
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["mosquitto", "-c", str(self.folder / "m.conf")], stdout=log, stderr=log)
        wait_for(lambda: publisher(self.port).is_connected())

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)


def publisher(port: int) -> Any:
    from paho.mqtt import client as paho

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set("lake", PASSWORD)
    for _ in range(100):
        try:
            client.connect("127.0.0.1", port)
            break
        except OSError:
            time.sleep(0.05)
    client.loop_start()
    wait_for(client.is_connected)
    return client


def wait_for(holds: Callable[[], Any], seconds: float = 30, pause: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(pause)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_of(folder))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if not shutil.which("mosquitto"):
        pytest.skip("no mosquitto: apt-get install mosquitto")
    running = Broker(tmp_path / "broker")
    running.start()
    yield running
    running.stop()


def of_broker(house: House, broker: Broker, version: Any = 5, **options: Any) -> Brick:
    told = {"version": version, "user_env": "BROKER_USER", "password_env": "BROKER_PASSWORD", **options}
    one, two = readings({"topic": "city/+/readings"}, column("message_topic")), readings({"topic": "city/alarms/#"}) | {"name": "alarms"}
    return house.brick("city", [one, two], endpoint=f"mqtt://127.0.0.1:{broker.port}", connector="mqtt", options=told)


def listener_of(house: House, password: str = PASSWORD) -> Listener:
    return Listener(house, BROKER_USER="lake", BROKER_PASSWORD=password)


def publish(client: Any, topic: str, *bodies: Any) -> None:
    for body in bodies:
        client.publish(topic, body if isinstance(body, bytes) else json.dumps(body), qos=1).wait_for_publish(20)


@pytest.mark.parametrize("version", [5, "3.1.1"])
def test_what_is_published_lands_also_what_came_while_nobody_listened(house: House, broker: Broker, version: Literal[5, "3.1.1"]) -> None:
    brick, client = of_broker(house, broker, version), publisher(broker.port)
    with listener_of(house) as listener:
        listener.start(is_awaited=False)
        wait_for(lambda: "begins a session" in listener.log.read_text())
        time.sleep(0.3)  # its subscription is taken
        publish(client, "city/a/readings", {"sensor": "a", "n": 1, "value": 2.5}, b"no JSON")
        publish(client, "city/alarms/x/y", {"sensor": "alarm", "n": 1})
        publish(client, "city/a/else", {"sensor": "nobody", "n": 1})
        wait_for(lambda: len(list(waiting(house, "city"))) >= 2 and list(waiting(house, "city", "alarms")))
        listener.kill()
        publish(client, "city/b/readings", {"sensor": "b", "n": 1})
        broker.stop()
        broker.start()
        listener.start(is_awaited=False)
        wait_for(lambda: {"sensor": "b", "n": 1} in waiting(house, "city"))
        assert "goes on with its session" in listener.log.read_text()
        entry = house.land(brick)
        # Killed before it acknowledged, it was sent what it had written once more.
        assert entry and entry["tables"]["readings"]["kept"] >= 2 and entry["tables"]["readings"]["refused"] >= 1
        assert {*house.rows(brick, "readings", "sensor, message_topic")} == {("a", "city/a/readings"), ("b", "city/b/readings")}
        broker.stop()
        wait_for(lambda: "tried again" in listener.log.read_text())
        broker.start()
        publish(publisher(broker.port), "city/c/readings", {"sensor": "c", "n": 1})
        wait_for(lambda: list(waiting(house, "city")) == [{"sensor": "c", "n": 1}])
        told = listener.log.read_bytes() + b"".join(path.read_bytes() for path in files_of(Path(house.lake.root)))
        assert PASSWORD.encode() not in told


@pytest.mark.parametrize("version", [5, "3.1.1"])
def test_who_is_not_let_in_is_told_and_goes_on_trying(house: House, broker: Broker, version: Literal[5, "3.1.1"]) -> None:
    of_broker(house, broker, version)
    with listener_of(house, "wrong-one") as listener:
        listener.start(is_awaited=False)
        wait_for(lambda: "the broker refuses the connection" in listener.log.read_text())
        told = listener.log.read_text()
        assert "`password_env`" in told and "wrong-one" not in told
        assert listener.process and listener.process.poll() is None


def test_two_lakes_that_listen_to_one_broker_have_each_message_both(house: House, broker: Broker, tmp_path: Path) -> None:
    of_broker(house, broker)
    with listener_of(house) as first, listener_of(house) as second:
        second.environment["ORCHESTRA_LAKE"], second.log = str(tmp_path / "another"), tmp_path / "second.log"
        for listener in (first, second):
            listener.start(is_awaited=False)
            wait_for(lambda: "begins a session" in listener.log.read_text())  # noqa: B023
        time.sleep(0.3)
        publish(publisher(broker.port), "city/a/readings", *({"sensor": "a", "n": number} for number in range(20)))
        other = tmp_path / "another" / "state" / "inbox" / "city" / "readings" / "open"
        wait_for(lambda: len(list(waiting(house, "city"))) == 20 and other.exists() and other.read_bytes().count(b"\n") == 20)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_any_instant_nothing_that_was_acknowledged_is_lost(house: House, broker: Broker, seed: int) -> None:
    drawn, count, brick = random.Random(seed), 500, of_broker(house, broker)
    with listener_of(house) as listener:
        listener.start(is_awaited=False)
        wait_for(lambda: "connected" in listener.log.read_text())
        time.sleep(0.3)
        client, kills, folder = publisher(broker.port), 0, inbox_of(house.lake, "city") / "readings"
        sent = [client.publish("city/s/readings", json.dumps({"sensor": "s", "n": number}), qos=1) for number in range(count)]
        while kills < 8:
            until, end = bytes_of(folder) + drawn.randrange(4000), time.monotonic() + 1.5  # some 90 a message: in the middle of a burst
            wait_for(lambda: bytes_of(folder) > until or time.monotonic() > end, pause=0)  # noqa: B023
            listener.kill()
            kills += 1
            if drawn.random() < 0.3:
                house.land(brick)
            listener.start(is_awaited=False)
        for each in sent:
            each.wait_for_publish(20)

        def landed() -> set[int]:
            house.land(brick)
            return {n for (n,) in house.rows(brick, "readings", "n")} if house.journal.accepted() else set()

        wait_for(lambda: landed() == set(range(count)))
        time.sleep(0.5)
        house.land(brick)
        rows = house.rows(brick, "readings", "n", "n")
        print(f"seed {seed}: {len(rows) - count} messages twice, {kills} kills")
        assert len(rows) - count <= BATCH * kills


def test_it_keeps_up_with_a_broker_that_sends_all_at_once(house: House, broker: Broker) -> None:
    of_broker(house, broker)
    count = 5000
    with listener_of(house) as listener:
        listener.start(is_awaited=False)
        wait_for(lambda: "connected" in listener.log.read_text())
        time.sleep(0.3)
        listener.kill()
        client = publisher(broker.port)
        sent = [client.publish("city/s/readings", json.dumps({"sensor": "s", "n": number}), qos=1) for number in range(count)]
        sent[-1].wait_for_publish(30)
        began = time.monotonic()
        listener.start(is_awaited=False)
        wait_for(lambda: sum(1 for _ in waiting(house, "city")) >= count, 60)
        print(f"{count / (time.monotonic() - began):,.0f} messages a second, the start of the process included")
