"""Plays the networks of sensors that push: ChirpStack by an MQTT broker of its own, The Things Stack by a webhook."""

import base64
import datetime as dt
import json
import os
import socketserver
import threading
import urllib.request
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

from ingestion.sandbox.clock import epoch_hour, to_instant
from ingestion.sandbox.world import World

KEPT_DAYS = 2  # that a network holds what nobody has acknowledged
PROBES, PROBE_HOURS, CLASSROOM_HOURS = 6, 3, 2
AGAIN_SECONDS = 0.5
WINDOW = 50  # messages that the broker sends before one of them is acknowledged


class Sent(NamedTuple):
    """A message: when the network received it, where it goes (a topic, a path), and what it says."""

    at: dt.datetime
    to: str
    body: bytes

    def headers(self) -> dict[str, str]:
        """What says that it is of a sandbox, and what the clock of it is."""
        return {"X-City-Orchestra-Sandbox": "synthetic", "Date": format_datetime(self.at, usegmt=True)}


class Outbox:
    """What a network holds until it is acknowledged, in order; how far that is outlives the sandbox, in a file of its room."""

    brick = ""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world, self.over = world, threading.Event()
        self.path: Path | None = None
        self.reached = dt.datetime.min.replace(tzinfo=dt.UTC).isoformat()
        self.held: list[Sent] = []

    def messages(self) -> list[Sent]:
        """All that the network receives in its last days, oldest first, no two at one instant."""
        raise NotImplementedError

    def begin(self, room: Path | None) -> None:
        """Hold what was not acknowledged before."""
        self.path = room / f"{self.brick}.reached" if room else None
        if self.path and self.path.exists():
            self.reached = self.path.read_text()
        self.held = [message for message in self.messages() if message.at.isoformat() > self.reached]

    def acknowledge(self) -> None:
        """Let the oldest message go."""
        self.reached = self.held.pop(0).at.isoformat()
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(self.reached)

    def waiting(self) -> int:
        """How many messages were not acknowledged."""
        return len(self.held)

    def close(self) -> None:
        """Send no more."""
        self.over.set()

    def uplinks(self, devices: int, each_hours: int) -> list[tuple[dt.datetime, int, int]]:
        """When each device speaks: the instant, its number, the hour since 1970; each at a second of its own."""
        last = epoch_hour(self.world.until) + 23
        hours = range((last - KEPT_DAYS * 24) // each_hours * each_hours + each_hours, last + 1, each_hours)
        told = [(to_instant(hour) + dt.timedelta(seconds=7 * device), device, hour) for hour in hours for device in range(devices)]
        return [one for one in told if one[0] <= self.world.now]


class Classrooms(Outbox):
    """The Things Stack: the air of classrooms, posted to a webhook with a token, one after the other."""

    brick = "air_des_ecoles"

    def messages(self) -> list[Sent]:
        """An uplink a classroom and two hours: carbon dioxide, temperature, humidity."""
        world, found = self.world, []
        rooms = [i for i, kind in enumerate(world.types) if kind.use in ("school", "nursery")]
        for at, number, hour in self.uplinks(len(rooms), CLASSROOM_HOURS):
            told = {
                "co2_ppm": 420 + int(world.draw("co2", number, hour) * 900),
                "temperature_c": round(18 + 4 * float(world.draw("class t", number, hour)), 1),
                "humidity_percent": 35 + int(world.draw("class u", number, hour) * 30),
            }
            up = {"f_port": 2, "f_cnt": hour % 65_536, "decoded_payload": told, "received_at": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
            up["frm_payload"] = base64.b64encode(json.dumps(told).encode()).decode()
            device = f"70B3D5E75F{0x3000 + rooms[number]:06X}"
            ids = {"device_id": f"salle-{rooms[number] + 1}", "application_ids": {"application_id": "air-des-ecoles"}, "dev_eui": device}
            found.append(Sent(at, "", json.dumps({"end_device_ids": ids, "received_at": up["received_at"], "uplink_message": up}).encode()))
        return found

    def open(self, room: Path | None, push_to: str | None) -> str | None:
        """Post to where webhooks are received, until all is acknowledged; give the path."""
        if not push_to:
            return None
        self.begin(room)
        threading.Thread(target=self.push, args=(f"{push_to}/push/{self.brick}",), daemon=True).start()
        return f"/push/{self.brick}"

    def push(self, url: str) -> None:
        """Post what is held; what is not answered by 200 is posted again."""
        token = os.environ.get("ORCHESTRA_AIR_DES_ECOLES_TOKEN", "")
        while self.held and not self.over.is_set():
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **self.held[0].headers()}
            try:
                with urllib.request.urlopen(urllib.request.Request(url, self.held[0].body, headers), timeout=20) as answer:
                    is_kept = answer.status == 200
            except OSError:
                is_kept = False
            if is_kept:
                self.acknowledge()
            else:
                self.over.wait(AGAIN_SECONDS)


class Trees(Outbox):
    """ChirpStack: the soil at the foot of trees, by a broker of one session that has been there since its first message."""

    brick = "sols_des_arbres"

    def messages(self) -> list[Sent]:
        """An uplink a probe and three hours: tension of the water in the soil, and its temperature."""
        world, found = self.world, []
        for at, number, hour in self.uplinks(PROBES, PROBE_HOURS):
            told = {
                "soil_tension_kpa": round(10 + 60 * float(world.draw("soil", number, hour)), 1),
                "soil_temperature_c": round(6 + 4 * float(world.draw("soil t", number, hour)), 1),
            }
            eui = f"a84041{0x4000 + number:010x}"
            device = {"applicationName": "sols-des-arbres", "deviceName": f"arbre-{number + 1}", "devEui": eui}
            event = {"time": f"{at:%Y-%m-%dT%H:%M:%S.000000000+00:00}", "deviceInfo": device, "fCnt": hour % 65_536, "fPort": 2}
            event |= {"data": base64.b64encode(json.dumps(told).encode()).decode(), "object": told}
            found.append(Sent(at, f"application/sols-des-arbres/device/{eui}/event/up", json.dumps(event).encode()))
        return found

    def open(self, room: Path | None, push_to: str | None) -> str:
        """Listen to clients on a free port; give the address."""
        self.begin(room)
        self.server = Broker(self)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return f"mqtt://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()


class Broker(socketserver.ThreadingTCPServer):
    """A broker of MQTT 5: as little of it as a client needs that subscribes, at least once, to one outbox."""

    daemon_threads, allow_reuse_address, block_on_close = True, True, False

    def __init__(self, outbox: Outbox) -> None:
        """Take a free port."""
        super().__init__(("127.0.0.1", 0), Session)
        self.outbox, self.secret = outbox, [os.environ.get(f"ORCHESTRA_SOLS_DES_ARBRES_{name}", "") for name in ("USER", "PASSWORD")]


class Session(socketserver.StreamRequestHandler):
    """One connection: it is let in, subscribes, is sent what is held, and acknowledges it."""

    server: Broker

    def handle(self) -> None:
        """Answer packets until the client goes."""
        outbox, sent = self.server.outbox, 0
        while packet := self.read_packet():
            kind, body = packet
            if kind == 1:  # CONNECT
                is_let_in = self.is_let_in(body)
                self.send(0x20, b"\x01\x00\x00" if is_let_in else b"\x00\x87\x00")
                if not is_let_in:
                    return
            elif kind == 8:  # SUBSCRIBE
                self.send(0x90, body[:2] + b"\x00\x01")
                sent = self.publish(outbox.held[:WINDOW])
            elif kind == 4:  # PUBACK: in the order in which they were sent, as clients must
                outbox.acknowledge()
                if sent := sent - 1:
                    continue
                sent = self.publish(outbox.held[:WINDOW])
            elif kind == 12:
                self.send(0xD0, b"")
            else:
                return

    def is_let_in(self, body: bytes) -> bool:
        """Whether a CONNECT holds the user and the password that are asked for, where they are set."""
        return not any(self.server.secret) or body.endswith(b"".join(map(text, self.server.secret)))

    def publish(self, messages: list[Sent]) -> int:
        """Send messages, at least once; give how many."""
        for number, message in enumerate(messages, 1):
            told = b"".join(b"\x26" + text(name) + text(value) for name, value in message.headers().items())
            self.send(0x32, text(message.to) + number.to_bytes(2, "big") + length(len(told)) + told + message.body)
        return len(messages)

    def send(self, kind: int, body: bytes) -> None:
        """Send a packet."""
        self.wfile.write(bytes([kind]) + length(len(body)) + body)

    def read_packet(self) -> tuple[int, bytes] | None:
        """The kind and the content of the next packet; None at the end."""
        first, size, shift = self.rfile.read(1), 0, 0
        if not first:
            return None
        while True:
            byte = self.rfile.read(1)[0]
            size, shift = size | (byte & 127) << shift, shift + 7
            if byte < 128:
                return first[0] >> 4, self.rfile.read(size)


def text(value: str) -> bytes:
    """A text as MQTT writes it."""
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def length(size: int) -> bytes:
    """A length as MQTT writes it, seven bits a byte."""
    found = b""
    while size > 127:
        found, size = found + bytes([size & 127 | 128]), size >> 7
    return found + bytes([size])


PLAYS = {Trees.brick: Trees, Classrooms.brick: Classrooms}
