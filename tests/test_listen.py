"""Pushed data: what is acknowledged is on the disk, whenever the listener is killed; what has landed is in the inbox no more."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows import listening, places, servers
from flows.cadence import pause
from flows.listening import Starter
from ingestion import inbox
from ingestion.census import read_bricks
from ingestion.connectors import SourceError, mqtt, webhook
from ingestion.connectors.webhook import MOST_BYTES
from ingestion.declaration import BrickError
from ingestion.inbox import append, closed, holds, inbox_of, line_of, messages
from ingestion.lake import LakeError
from tests.conftest import House, column, staged, table
from tests.fixtures.listening import TOKEN, Listener, files_of, pushed, readings, waiting

NOW = dt.datetime(2026, 11, 27, 10, 0, tzinfo=dt.UTC)


@pytest.fixture
def listener(house: House) -> Iterator[Listener]:
    with Listener(house) as running:
        yield running


def put(house: House, *bodies: Any, brick: str = "hooks", to: str = "readings", topic: str = "/hooks") -> Path:
    """Lay messages in an inbox, as the listener does; give its folder."""
    folder = inbox_of(house.lake, brick) / to
    append(folder, [line_of(topic, body if isinstance(body, bytes) else json.dumps(body).encode(), NOW) for body in bodies])
    return folder


def test_what_is_pushed_lands_and_is_in_the_inbox_no_more(house: House, listener: Listener) -> None:
    mark = column("message_received_at", "timestamptz"), column("message_topic")
    brick = pushed(house, readings({}, *mark), readings({"path": "/other"}) | {"name": "others"})
    listener.start()
    assert listener.post(b'{"sensor": "a",\r\n "n": 1, "value": 1.50}') == (200, "")
    assert listener.post(b'[{"sensor": "a", "n": 2}, {"sensor": "b", "n": 9, "value": 3}]', "/hooks/") == (200, "")
    assert listener.post(b'{"sensor": "c", "n": 1}', "/hooks/other?event=up", Authorization=TOKEN) == (200, "")
    written = files_of(inbox_of(house.lake, "hooks"))
    assert [path.name for path in written] == ["open", "open"] and {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    rooms = [path for path in house.lake.state.joinpath("inbox").rglob("*") if path.is_dir()]
    assert len(rooms) == 3 and {stat.S_IMODE(path.stat().st_mode) for path in [*rooms, house.lake.state / "inbox"]} == {0o700}
    entry = house.land(brick)
    assert (
        entry
        and entry["verdict"] == "accepted"
        and {name: r["kept"] for name, r in entry["tables"].items()} == {"readings": 3, "others": 1}
    )
    rows = house.rows(brick, "readings", "sensor, n, value, message_topic, date_diff('minute', message_received_at, now())", "sensor, n")
    assert rows == [("a", 1, 1.5, "/hooks", 0), ("a", 2, None, "/hooks", 0), ("b", 9, 3.0, "/hooks", 0)]
    assert files_of(inbox_of(house.lake, "hooks")) == [] and house.land(brick) is None
    assert listener.post(b'{"sensor": "a", "n": 3}')[0] == 200, "who receives needs not be told that its file was closed"
    assert house.land(brick) and len(house.rows(brick, "readings")) == 4
    assert "PREFECT_API_URL is not set" in listener.log.read_text()


def test_what_is_not_to_be_kept_is_not_and_its_sender_knows_why(house: House, listener: Listener) -> None:
    pushed(house)
    listener.start()
    for sent in ("Bearer wrong", "", "Bearer ", "Bearer é", f"Basic {TOKEN}"):
        status, told = listener.post(b"{}", Authorization=sent)
        assert (status, TOKEN in told) == (401, False), sent
    assert listener.post(b"{}", "/elsewhere")[0] == 404
    assert listener.post(b"{}", Content_Encoding="gzip")[0] == 415
    status, told = listener.post(b" " * (MOST_BYTES + 1))
    assert status == 413 and str(MOST_BYTES) in told, "it sees the answer, though it was sending"
    assert listener.post(b"x" * (MOST_BYTES + 1), Authorization="Bearer wrong")[0] == 401
    with socket.create_connection(("127.0.0.1", listener.port)) as raw:
        head = f"POST /hooks HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        assert b" 411 " in raw.recv(100)
    with socket.create_connection(("127.0.0.1", listener.port)) as raw:
        raw.sendall(f'{head}Content-Length: 99\r\n\r\n{{"sensor": "cut"'.encode())
    time.sleep(0.2)
    assert list(waiting(house)) == [] and not holds(inbox_of(house.lake, "hooks"))
    assert listener.post(b" " * MOST_BYTES)[0] == 200
    assert TOKEN not in listener.log.read_text()
    assert not any(TOKEN.encode() in path.read_bytes() for path in files_of(Path(house.lake.root)))


def test_what_is_no_json_is_refused_with_its_reason(house: House) -> None:
    brick = pushed(house)
    bodies = [
        b"hello",
        b"\xff\xfe\x00",
        b"",
        b'{"sensor": NaN}',
        b'{"sensor": "a", "n": 1',
        "\ufeff".encode() + b'{"sensor": "bom", "n": 2}',
        b"7",
        b"[1]",
    ]
    put(house, *bodies, b'{"sensor": "a", "n": 1}', b'{"sensor":"a","n":1,"n":2}', b"[" * 20_000 + b"]" * 20_000, b"[]")
    entry = house.land(brick)
    assert entry and entry["tables"]["readings"]["kept"] == 2 and entry["tables"]["readings"]["refused"] == 9
    told = house.refusals(entry) if hasattr(house, "refusals") else []
    assert told == [] or any("hello" in each for each in told)


def test_a_number_lands_as_it_was_written(house: House) -> None:
    brick = pushed(house, table("readings", [column("sensor"), column("code")], ["sensor"], {}))
    put(house, b'[ {"sensor": "a", "code": 1.10} , {"sensor":"b","code":12345678901234567890123} ]')
    house.land(brick)
    assert house.rows(brick, "readings", "sensor, code", "sensor") == [("a", "1.10"), ("b", "12345678901234567890123")]


def test_a_kill_between_landing_and_deletion_lands_nothing_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    brick = pushed(house)
    folder = put(house, {"sensor": "a", "n": 1})
    with monkeypatch.context() as patch:
        patch.setattr("ingestion.landing.release", lambda *_: None)
        assert house.land(brick)
        assert len(files_of(folder)) == 1 and house.land(brick) is None
        put(house, {"sensor": "a", "n": 2})
        entry = house.land(brick)
        assert entry and entry["tables"]["readings"]["kept"] == 1 and len(files_of(folder)) == 2
    assert house.land(brick) is None and files_of(folder) == [], "the next landing deletes them"


def test_a_load_that_is_refused_keeps_its_messages_until_it_is_settled(house: House) -> None:
    from ingestion.steward import drop_load

    brick, refuse = pushed(house), lambda *_: ["no"]
    folder = put(house, {"sensor": "a", "n": "one"})
    first = house.land(brick, refuse)
    assert first and first["verdict"] == "refused" and len(files_of(folder)) == 1
    assert house.land(brick, refuse) is None, "nothing has come, and nothing reads it otherwise"
    put(house, {"sensor": "a", "n": 2})
    brick = pushed(house, table("readings", [column("sensor"), column("n")], ["sensor", "n"], {}))
    mended = house.land(brick)
    assert mended and mended["tables"]["readings"]["kept"] == 2 and mended["replaces"] == [first["load_id"]] and files_of(folder) == []
    put(house, {"sensor": "b", "n": 3})
    last = house.land(brick, refuse)
    assert last and len(files_of(folder)) == 1
    drop_load(house.lake, house.journal, last, refetch=False, why="not ours")
    assert house.land(brick) is None and files_of(folder) == []


def test_what_a_kill_left_of_a_line_is_cut_and_what_stands_before_it_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "inbox" / "b" / "t"
    folder.parent.parent.parent.mkdir()
    append(folder, [line_of("t", b"1", NOW)])
    whole = (folder / "open").read_bytes()
    for torn in (b'{"received_at":"2026', b"x" * 200_000, b"\0" * 4096):
        with (folder / "open").open("ab") as file:
            file.write(torn)
        append(folder, [line_of("t", b"2", NOW)])
        assert (folder / "open").read_bytes() == whole + line_of("t", b"2", NOW)
        with (folder / "open").open("wb") as file:
            file.write(whole + torn)
        (path,) = closed(folder)
        assert path.read_bytes() == whole and [m.payload for m in messages(path)] == ["1"]
        path.rename(folder / "open")
    (folder / "open").write_bytes(b'{"received')
    assert closed(folder) == [] and not holds(folder.parent)


def test_a_full_disk_is_no_acknowledgement(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(house, {"sensor": "a", "n": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(inbox.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            append(folder, [b"x\n"])
        keep = lambda *_: append(folder, [b"x\n"])  # noqa: E731
        with webhook.listen("127.0.0.1", 0, {"/hooks": webhook.Route("hooks", "readings", "X-Token", TOKEN)}, keep) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            running = Listener(house)
            running.port = server.server_address[1]
            status, told = running.post(b"{}", X_Token=TOKEN)
            assert status == 503 and "again later" in told and running.post(b"{}")[0] == 401
            with pytest.raises(SourceError, match="ORCHESTRA_LISTEN"):
                webhook.listen("127.0.0.1", running.port, {}, keep)
            server.shutdown()


def test_a_line_that_the_disk_has_lost_is_refused_and_stops_nothing(house: House) -> None:
    brick = pushed(house)
    folder = put(house, {"sensor": "a", "n": 1})
    with (folder / "open").open("ab") as file:
        file.write(b"\0" * 100 + b'"}\n' + b'{"received_at":"2026","topic":"t","payload":\n' + b"{}\n")
    put(house, {"sensor": "a", "n": 2})
    entry = house.land(brick)
    assert entry and (entry["tables"]["readings"]["kept"], entry["tables"]["readings"]["refused"]) == (2, 3)


def test_without_a_lake_nothing_is_known_to_wait(house: House) -> None:
    with pytest.raises(SourceError, match="none is known"):
        staged(house, pushed(house))


def test_files_rotate_and_what_is_closed_is_written_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "FILE_BYTES", 1000)
    folder = tmp_path / "t"
    for number in range(100):
        append(folder, [line_of("t", str(number).encode(), NOW)])
    before = {path.name: path.read_bytes() for path in folder.glob("*.ndjson")}
    files = closed(folder)
    assert len(files) > 5 and [m.payload for path in files for m in messages(path)] == [str(number) for number in range(100)]
    assert all((folder / name).read_bytes() == content for name, content in before.items())


@pytest.mark.parametrize("topic", ['a","payload":1', 'a\\",\\"payload\\":', "é/日本", 'a,"payload":{}'])
@pytest.mark.parametrize("body", [b'{"a":{"b":"},\\"payload\\":"}}', b'"text"', b"1e400", "\u2028".encode()])
def test_a_line_gives_back_its_topic_and_its_payload(tmp_path: Path, topic: str, body: bytes) -> None:
    append(tmp_path / "t", [line_of(topic, body, NOW)] * 2)
    (path,) = closed(tmp_path / "t")
    found = list(messages(path))
    assert [(m.topic, m.received_at) for m in found] == [(topic, "2026-11-27T10:00:00.000000Z")] * 2
    told = found[0].payload if body != "\u2028".encode() else json.loads(found[0].payload)
    assert told == body.decode()


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_instant_nothing_that_was_answered_is_lost(house: House, listener: Listener, seed: int) -> None:
    drawn, brick, count = random.Random(seed), pushed(house), 500
    answered: list[int] = []
    listener.start()

    def send() -> None:
        for number in range(count):
            while number not in answered[-1:]:
                try:
                    if listener.post(json.dumps({"sensor": f"s{seed}", "n": number}).encode())[0] == 200:
                        answered.append(number)
                except OSError:
                    time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    kills, landed = 0, 0
    while sender.is_alive() and kills < 6:
        time.sleep(drawn.uniform(0, 0.25))
        listener.kill()
        kills += 1
        if drawn.random() < 0.5 and house.land(brick):  # a landing drains what stands, while nobody listens or somebody does
            landed += 1
        listener.start(is_awaited=drawn.random() < 0.5)
    sender.join(60)
    assert not sender.is_alive() and sorted(answered) == list(range(count))
    house.land(brick)
    rows = house.rows(brick, "readings", "n", "n")
    # A message that was on the disk and not answered yet was sent again, under its key: staging keeps the latest row of it.
    assert {n for (n,) in rows} == set(range(count)) and len(rows) - count <= kills, (len(rows), kills, landed)


def test_a_broker_is_told_that_a_message_is_taken_once_it_is_on_the_disk(house: House) -> None:
    """A scripted broker that sends no more than three unacknowledged messages, as those do whose `max_inflight` is low."""
    received, seen, over = [], [], threading.Event()

    def keep(messages: Any) -> None:
        received.extend(message.body for message in messages)
        if len(received) == 10:
            over.set()

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            stream, _ = server.accept()
            with stream:
                packet(stream)
                stream.sendall(b"\x20\x02\x00\x00")  # CONNACK
                number = packet(stream)[1][:2]
                stream.sendall(b"\x90\x03" + number + b"\x01")  # SUBACK: at least once
                sent = 0
                while len(seen) < 10:
                    while sent < 10 and sent - len(seen) < 3:
                        sent += 1
                        stream.sendall(b"\x32\x08\x00\x03a/b" + sent.to_bytes(2, "big") + str(sent % 10).encode())
                    kind, content = packet(stream)
                    if kind == 0x40:  # PUBACK
                        number = int.from_bytes(content[:2], "big")
                        seen.append((number, len(received)))

        broker = threading.Thread(target=serve)
        broker.start()
        endpoint, options = f"mqtt://127.0.0.1:{server.getsockname()[1]}", mqtt.BrickOptions(version="3.1.1")
        began = time.monotonic()
        mqtt.listen("b", endpoint, options, "who", {"t": "a/+"}, keep, over)
        broker.join(20)
    assert [number for number, _ in seen] == list(range(1, 11)) and all(kept >= number for number, kept in seen)
    assert time.monotonic() - began < 10, "it waited for a batch that the broker never sends"


@pytest.mark.parametrize(("connack", "suback", "told"), [
    (b"\x20\x02\x00\x05", b"", "refuses the connection"), (b"\x20\x02\x00\x01", b"", 'speaks MQTT 3.1.1'),
    (b"\x20\x02\x00\x00", b"\x80", "refuses topic a/#"), (b"\x20\x02\x00\x00", b"\x00", "at most once"),
])  # fmt: skip
def test_what_a_broker_refuses_is_told(connack: bytes, suback: bytes, told: str, caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = (f"mqtt://127.0.0.1:{server.getsockname()[1]}", mqtt.BrickOptions(version="3.1.1"), "who", {"t": "a/#"}, print, over)
        client = threading.Thread(target=mqtt.listen, args=("b", *arguments), daemon=True)
        client.start()
        stream, _ = server.accept()
        with stream:
            packet(stream)
            stream.sendall(connack)
            if suback:
                stream.sendall(b"\x90\x03" + packet(stream)[1][:2] + suback)
            for _ in range(100):
                if told in caplog.text:
                    break
                time.sleep(0.02)
            over.set()
    client.join(20)
    assert told in caplog.text and not client.is_alive()


def packet(stream: socket.socket) -> tuple[int, bytes]:
    kind, length = stream.recv(1), stream.recv(1)
    content = stream.recv(length[0]) if length and length[0] else b""
    return kind[0] if kind else 0, content


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "mqtt://", "mqtt://h:99999", "mqtt://user:hunter2@h", "mqtt://h/path", "x"])
def test_an_address_that_is_no_brokers_is_told(endpoint: str) -> None:
    with pytest.raises(SourceError, match="Mend:") as told:
        mqtt.address_of("b", endpoint)
    assert "hunter2" not in str(told.value)
    assert mqtt.address_of("b", "mqtts://h") == ("h", 8883, True) and mqtt.address_of("b", "mqtt://h:7") == ("h", 7, False)


@pytest.mark.parametrize("topic", ["a/#/b", "a+/b", "$share/g/a", "a#", ""])
def test_what_is_no_filter_of_topics_is_no_brick(house: House, topic: str) -> None:
    with pytest.raises(BrickError):
        house.brick("b", [readings({"topic": topic})], endpoint="mqtt://h", connector="mqtt")
    for good in ("#", "+/a/#", "application/+/device/+/event/up", "/a", "a//b", "$SYS/#"):
        house.brick("b", [readings({"topic": good})], endpoint="mqtt://h", connector="mqtt")


def test_what_is_pushed_is_no_photo_and_needs_a_token(house: House) -> None:
    with pytest.raises(BrickError, match="none is a photo"):
        pushed(house, readings({}, delivers="whole"))
    with pytest.raises(BrickError, match="token_env"):
        pushed(house, options={})
    with pytest.raises(BrickError, match="path"):
        pushed(house, readings({"path": "up?x=1"}))


def test_a_brick_that_cannot_be_listened_to_does_not_stop_the_others(house: House, listener: Listener) -> None:
    pushed(house)
    pushed(house, name="lame", options={"token_env": "NOT_SET_ANYWHERE"})
    pushed(house, name="twin")
    listener.environment["ORCHESTRA_ENDPOINT_TWIN"] = "/hooks"
    listener.start()
    told = listener.log.read_text()
    assert "lacks NOT_SET_ANYWHERE" in told and "twin.readings: /hooks is that of hooks.readings too" in told
    assert listener.post(b'{"sensor": "a", "n": 1}')[0] == 200 and len(list(waiting(house))) == 1
    with Listener(house) as second:
        second.environment |= listener.environment
        second.start(is_awaited=False)
        assert second.process and second.process.wait(30) == 1 and "already being run by process" in second.log.read_text()


def test_a_run_starts_at_once_after_a_rest_and_once_in_the_time_of_the_cadence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    brick, started, clock = pushed(house, cadence="*/5 * * * *"), [], [1000.0]
    monkeypatch.setattr(listening.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(listening, "start_run", lambda api, brick: started.append(brick.name) or "a run")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert pause(brick) == 300
    starter = Starter(house.lake, {"hooks": brick})
    assert starter.start_due() == [], "nothing has come"
    put(house, {"sensor": "a", "n": 1})
    starter.note("hooks")
    assert starter.start_due() == ["hooks"] and starter.start_due() == []
    put(house, {"sensor": "a", "n": 2})
    starter.note("hooks")
    assert starter.start_due() == []
    clock[0] += 299
    assert starter.start_due() == []
    clock[0] += 1
    assert starter.start_due() == ["hooks"]
    starter.note("hooks")
    house.land(brick)
    clock[0] += 300
    assert starter.start_due() == [], "another run has landed it"
    put(house, {"sensor": "a", "n": 3})
    assert Starter(house.lake, {"hooks": brick}).start_due() == ["hooks"], "what came before a kill starts a run as well"

    def broken(*_: Any) -> None:
        raise OSError("nobody answers")

    monkeypatch.setattr(listening, "start_run", broken)
    starter.note("hooks")
    assert starter.start_due() == [] and starter.waiting == {"hooks"}
    monkeypatch.delenv("PREFECT_API_URL")
    assert Starter(house.lake, {"hooks": brick}).start_due() == []


def test_prefect_is_asked_for_the_deployment_of_the_cadence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    brick, asked = pushed(house, cadence="hourly"), []
    found = [{"id": "d", "parameters": {"cadence": "daily"}}, {"id": "h", "parameters": {"cadence": "hourly"}}, {"id": "e"}]

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.headers["Authorization"]))
            body = json.dumps(found if self.path.endswith("filter") else {"name": "a run"}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "name:word")
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = f"http://127.0.0.1:{server.server_address[1]}/api"
        assert listening.start_run(api, brick) == "a run"
        assert asked[-1] == ("/api/deployments/h/create_flow_run", {"parameters": {"bricks": ["hooks"]}}, "Basic bmFtZTp3b3Jk")
        del found[1]
        with pytest.raises(LakeError, match="no deployment reads bricks hourly"):
            listening.start_run(api, brick)
        server.shutdown()


def test_an_erasure_leaves_nothing_in_the_inbox_that_a_load_holds_and_lands_no_row_of_it(house: House) -> None:
    columns = [column("phone"), column("n", "bigint")]
    brick = pushed(house, table("readings", columns, ["phone", "n"], {}))
    folder = put(house, {"phone": "0601", "n": 1}, {"phone": "0602", "n": 1})
    first = house.land(brick, lambda *_: ["no"])
    assert first and len(files_of(folder)) == 1
    put(house, {"phone": "0601", "n": 2}, {"phone": "0602", "n": 2})
    house.erase(brick, {"phone": "0601"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "read_bricks", lambda: {"hooks": brick})
        places._clean_inboxes(house.lake)
    assert b"0601" not in b"".join(path.read_bytes() for path in folder.glob("*.ndjson")) and (folder / "open").exists()
    house.land(brick)
    assert {phone for (phone,) in house.rows(brick, "readings", "phone")} <= {"0602"} and files_of(folder) == []


def test_a_brick_with_personal_columns_leaves_no_clear_value_once_it_has_landed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_PSEUDONYM_KEY", "k" * 40)
    columns = [column("phone", personal=True, mask="pseudonym"), column("n", "bigint")]
    meta = {"legal_basis": "consent", "purpose": "a trial", "pseudonym_domain": "trial"}
    brick = pushed(house, table("readings", columns, ["phone", "n"], {}), **meta)
    put(house, {"phone": "0612345678", "n": 1}, {"phone": "0612345678", "n": "many"}, b"0612345678 is no JSON {")
    entry = house.land(brick)
    assert entry and (entry["tables"]["readings"]["kept"], entry["tables"]["readings"]["refused"]) == (1, 2)
    assert not any(b"0612345678" in path.read_bytes() for path in files_of(Path(house.lake.root)))


def test_messages_of_a_table_that_the_brick_has_no_more_are_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    put(house, {"sensor": "a", "n": 1}, to="former")
    house.land(pushed(house))
    assert "has no table former any more" in caplog.text


def test_what_comes_twice_is_no_page_that_was_repeated(house: House) -> None:
    from expectations.gate import judge_load

    brick = pushed(house)
    put(house, *[{"sensor": "a", "n": number % 20} for number in range(60)])
    entry = house.land(brick, judge_load)
    assert entry and entry["verdict"] == "accepted", entry


def test_what_is_kept_running_is_started_again_and_ends_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "AGAIN_SECONDS", 0.0)
    log = tmp_path / "log"
    with servers.kept_running(["this"], log):  # a program that ends by itself
        for _ in range(200):
            if log.exists() and log.read_text().count("Beautiful") > 1:
                break
            time.sleep(0.05)
        else:
            pytest.fail("it was not started again")
    ended = log.read_text()
    time.sleep(0.3)
    assert log.read_text() == ended


def test_up_listens_where_something_is_pushed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    brick = pushed(house)
    assert listening.is_pushed_to({"hooks": brick}) and not listening.is_pushed_to(read_bricks())
    monkeypatch.setenv("ORCHESTRA_ENDPOINT_HOOKS", "none")
    assert not listening.is_pushed_to({"hooks": brick})
