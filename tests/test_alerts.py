"""Alerts by webhook and mail: one message when a hand is needed, one when it is mended; a form of the steward; no value, no secret."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import House

from flows import alerts, cli
from ingestion.brick import Brick
from ingestion.lake import LakeError
from ingestion.steward import refused_rows


class Hook(http.server.ThreadingHTTPServer):
    """A webhook of the tests, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hooked)
        self.told: list[tuple[str, str]] = []
        self.status = 200
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Hooked(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.told.append((body["text"], self.headers.get("Authorization", "")))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Mails(socketserver.ThreadingTCPServer):
    """A mail server of the tests, which keeps what it is given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mailed)
        self.taken: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Mailed(socketserver.StreamRequestHandler):
    server: Mails

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.taken.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 well\r\n")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    served = Hook()
    monkeypatch.setenv("ORCHESTRA_ALERT_WEBHOOK", f"http://127.0.0.1:{served.server_port}/secret-path")
    monkeypatch.setenv("ORCHESTRA_ALERT_TOKEN", "s3cr3t")
    monkeypatch.delenv("ORCHESTRA_ALERT_MAIL", raising=False)
    yield served
    served.shutdown()
    served.server_close()


def refuse(*_: Any) -> list[str]:
    return ["items: expect_column_values_to_be_in_set, seen {'partial_unexpected_list': ['4711']}"]


def land_refused(shop: tuple[House, Brick]) -> str:
    house, brick = shop
    house.drop("items1.csv", "id,n\ni1,4711\ni2,x\n")
    entry = house.land(brick, refuse)
    assert entry and entry["verdict"] == "refused"
    load_id: str = entry["load_id"]
    return load_id


def test_one_message_when_a_load_is_refused_and_one_when_it_is_mended(shop: tuple[House, Brick], hook: Hook) -> None:
    load_id = land_refused(shop)
    for _ in range(2):
        alerts.tell(shop[0].lake, "hourly", "Load refused")
    assert [text.partition(": ")[2] for text, _ in hook.told] == [
        f"Load {load_id} of shop is refused: 1 rows wait, 1 are refused themselves. See: orchestra loads show {load_id}"
    ]
    assert hook.told[0][1] == "Bearer s3cr3t" and "4711" not in hook.told[0][0], "a value"
    assert cli.main(["loads", "accept", load_id, "--why", "a stock of before"]) == 0
    for _ in range(2):
        alerts.tell(shop[0].lake, "hourly", "Completed")
    assert [text.partition(": ")[2] for text, _ in hook.told[1:]] == [f"Mended: load {load_id}."]


def test_what_was_told_and_cannot_be_read_any_more_is_told_again(shop: tuple[House, Brick], hook: Hook) -> None:
    land_refused(shop)
    alerts.tell(shop[0].lake)
    shop[0].lake.state_path("alerts.json").write_bytes(b"")
    assert len(alerts.tell(shop[0].lake)) == 1 and alerts.tell(shop[0].lake) == [] and len(hook.told) == 2


def test_a_broken_run_is_told_once_until_one_of_its_name_ends_well(shop: tuple[House, Brick], hook: Hook) -> None:
    lake = shop[0].lake
    for run, state in (
        ("daily", "Failed"),
        ("daily", "Crashed"),
        ("hourly", "Completed"),
        ("daily", "With refusals"),
        ("daily", "Completed"),
    ):
        alerts.tell(lake, run, state)
    assert [text.partition(": ")[2] for text, _ in hook.told] == [
        "The run daily ended as Failed. See it in Prefect, and: orchestra status", "Mended: run daily.",
    ]  # fmt: skip


def test_what_could_not_be_sent_is_told_the_next_time_and_shows_no_address(shop: tuple[House, Brick], hook: Hook) -> None:
    hook.status = 503
    with pytest.raises(LakeError, match="ORCHESTRA_ALERT_WEBHOOK does not take the alert") as error:
        alerts.tell(shop[0].lake, "daily", "Failed")
    assert "secret" not in str(error.value) and "s3cr3t" not in str(error.value)
    hook.status = 200
    assert len(alerts.tell(shop[0].lake, "daily", "Failed")) == len(hook.told) == 1


def test_what_one_way_took_is_not_sent_again_though_the_other_failed(
    shop: tuple[House, Brick], hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_ALERT_MAIL", "steward@example.org")
    monkeypatch.setenv("ORCHESTRA_SMTP", "smtp://127.0.0.1:1")
    with pytest.raises(LakeError, match="ORCHESTRA_SMTP does not take the mail"):
        alerts.tell(shop[0].lake, "daily", "Failed")
    assert alerts.tell(shop[0].lake, "daily", "Failed") == [] and len(hook.told) == 1


def test_mail_is_spoken_too_and_the_depositor_gets_the_refused_rows(shop: tuple[House, Brick], monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = shop
    load_id = land_refused(shop)
    load = house.journal.loads()[load_id]
    rows = refused_rows(house.lake, load, 99)
    with pytest.raises(LakeError, match="set ORCHESTRA_DEPOSITOR_SHOP"):
        alerts.send_refusals(house.lake, load, rows)
    mails = Mails()
    monkeypatch.delenv("ORCHESTRA_ALERT_WEBHOOK", raising=False)
    monkeypatch.setenv("ORCHESTRA_SMTP", f"smtp://127.0.0.1:{mails.server_address[1]}")
    monkeypatch.setenv("ORCHESTRA_ALERT_MAIL", "steward@example.org")
    monkeypatch.setenv("ORCHESTRA_DEPOSITOR_SHOP", "depositor@example.org")
    assert len(alerts.tell(house.lake)) == 1 and alerts.send_refusals(house.lake, load, rows) == 1
    mails.shutdown()
    mails.server_close()
    assert "To: steward@example.org" in mails.taken[0] and load_id in mails.taken[0]
    assert "To: depositor@example.org" in mails.taken[1] and f"refused-{load_id}.csv" in mails.taken[1]


def test_loads_list_shows_why_and_all_shows_the_dropped(shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]) -> None:
    load_id = land_refused(shop)
    assert cli.main(["loads", "accept", load_id, "--why", "a stock of before"]) == 0
    cli.main(["loads", "list"])
    assert "accepted: a stock of before" in capsys.readouterr().out
    assert cli.main(["loads", "drop", load_id, "--forget", "--why", "twice the same"]) == 0
    cli.main(["loads", "list"])
    assert load_id not in capsys.readouterr().out.splitlines()[-1]
    cli.main(["loads", "list", "--all"])
    told = capsys.readouterr().out
    assert load_id in told and "gone, was accepted" in told and "dropped: twice the same" in told
