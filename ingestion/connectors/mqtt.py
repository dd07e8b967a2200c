"""What an MQTT broker pushes, version 5 or 3.1.1: a persistent session, at least once, acknowledged when it is on the disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from ingestion.connectors import SourceError, Strict, Variable, pushed
from ingestion.connectors.authentication import value_of
from ingestion.connectors.pushed import Received, read
from ingestion.connectors.web import sandbox_clock
from ingestion.declaration import written

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

__all__ = ["BrickOptions", "TableOptions", "listen", "read"]
log = logging.getLogger("orchestra")

# Messages of one fsync at most, and, in version 5, those that the broker may send before one is acknowledged: so many come again
# after a kill. A broker whose own limit is below stops there: what has come is written as soon as nothing more comes.
BATCH = 200
KEPT_FOR_EVER = 0xFFFFFFFF  # seconds that a session may last: as long as the broker lets it
CONNECT_SECONDS, IDLE_SECONDS, LONGEST_WAIT_SECONDS = 10, 1.0, 60.0
FILTER = r"^(?!\$share/)(#|([^+#/\0]*|\+)(/([^+#/\0]*|\+))*(/#)?)$"


class BrickOptions(Strict):
    """What a brick of a broker may say: the version it speaks, the name of the session, how to be let in."""

    version: Literal[5, "3.1.1"] = 5
    client_id: str | None = Field(None, min_length=1, max_length=64)
    user_env: Variable | None = None
    password_env: Variable | None = None


class TableOptions(pushed.TableOptions):
    """What a table may say: the filter of its topics, and their envelope."""

    topic: Annotated[str, Field(min_length=1), written(FILTER, "is no filter of topics, as in application/+/device/+/event/up, or city/#")]


# Called with messages; once it has returned, all of them are on the disk.
Keep = Callable[[Sequence[Received]], None]


def listen(
    brick: str, endpoint: str, options: BrickOptions, client_id: str, filters: dict[str, str], keep: Keep, over: threading.Event
) -> None:
    """Receive what a broker pushes until it is over, connecting again as often as it takes; `filters` are those of the tables.

    `client_id` is the name of the session, which no other client of the broker may have. Raises SourceError for what no other try
    mends: an address, a variable.
    """
    host, port, is_tls = address_of(brick, endpoint)
    secret = tuple(value_of(brick, name) if name else None for name in (options.user_env, options.password_env))
    told, wait = "", 1.0
    while not over.is_set():
        session = _Session(brick, options, client_id, filters, keep)
        try:
            session.run(host, port, is_tls, secret, over)
        except (OSError, SourceError) as error:
            told, wait = ("", 1.0) if session.is_heard else (told, min(wait * 2, LONGEST_WAIT_SECONDS))
            again = str(error) if isinstance(error, SourceError) else (
                f"{brick}: {host}:{port} cannot be reached, or what it sends not be written ({type(error).__name__}: {error}). "
                "Mend: check the address, the network, the certificate and the disk"
            )  # fmt: skip
            log.log(logging.DEBUG if again == told else logging.WARNING, "%s; tried again until it goes well", again)
            told = again
            over.wait(wait)


def address_of(brick: str, endpoint: str) -> tuple[str, int, bool]:
    """Give host, port and whether TLS is spoken; raises SourceError for what is no address of a broker."""
    mend = f"Mend: mqtt://host:1883 or mqtts://host:8883, in `endpoint` or in ORCHESTRA_ENDPOINT_{brick.upper()}"
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        raise SourceError(f"{brick}: its endpoint is no address of a broker. {mend}") from None
    if parts.username or parts.password:
        raise SourceError(f"{brick}: its endpoint holds a user or a password. Mend: `user_env` and `password_env` name their variables")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise SourceError(f"{brick}: its endpoint is no address of a broker. {mend}")
    is_tls = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if is_tls else 1883), is_tls


class _Session:
    """One connection to a broker, in one thread: what it sends waits in `pending` until nothing more comes, then is kept."""

    def __init__(self, brick: str, options: BrickOptions, client_id: str, filters: dict[str, str], keep: Keep) -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.brick, self.filters, self.keep = brick, filters, keep
        self.version, self.is_five, self.is_heard, self.fault = options.version, options.version == 5, False, ""
        self.pending: list[MQTTMessage] = []
        self.matches = paho.topic_matches_sub
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self.is_five else False,
            protocol=paho.MQTTv5 if self.is_five else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.client.connect_timeout = CONNECT_SECONDS
        self.client.on_connect, self.client.on_subscribe = self._connected, self._subscribed
        self.client.on_message = lambda _client, _data, message: self.pending.append(message)

    def run(self, host: str, port: int, is_tls: bool, secret: tuple[str | None, ...], over: threading.Event) -> None:
        """Connect and receive until it is over; raises SourceError or OSError when the connection ends."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        user, password = secret
        if user is not None:
            self.client.username_pw_set(user, password)
        if is_tls:
            self.client.tls_set()  # the certificate and the name are verified, by the authorities of the machine or of SSL_CERT_FILE
        five: dict[str, Any] = {}
        if self.is_five:
            properties: Any = Properties
            five = {"clean_start": False, "properties": properties(PacketTypes.CONNECT)}
            five["properties"].SessionExpiryInterval, five["properties"].ReceiveMaximum = KEPT_FOR_EVER, BATCH
        self.client.connect(host, port, **five)
        try:
            while not over.is_set():
                count = len(self.pending)
                status = self.client.loop(timeout=0.0 if count else IDLE_SECONDS)
                has_ended = bool(status or self.fault)
                if self.pending and (len(self.pending) == count or len(self.pending) >= BATCH or has_ended):
                    self._keep(is_acknowledged=not has_ended)
                if has_ended:
                    mend = f"see the log of the broker, and whether it speaks MQTT {self.version}"
                    fault = self.fault or f"the connection to {host}:{port} has ended (status {int(status)}). Mend: {mend}"
                    raise SourceError(f"{self.brick}: {fault}")
        finally:
            self.client.disconnect()

    def _keep(self, *, is_acknowledged: bool) -> None:
        """Have what waits reach the disk, then acknowledge it; where the connection is lost the broker sends it once more, elsewhere."""
        received, self.pending = self.pending, []
        told = [(message, message.topic, _clock(message)) for message in received]
        kept = [Received(table, topic, bytes(message.payload), clock) for message, topic, clock in told for table in self._tables_of(topic)]
        if kept:
            self.keep(kept)
        for message in received if is_acknowledged else ():
            self.client.ack(message.mid, message.qos)

    def _tables_of(self, topic: str) -> list[str]:
        """Name the tables that a topic is of; none where the session has a filter of before, which no table asks for any more."""
        return [table for table, wanted in self.filters.items() if self.matches(wanted, topic)]

    def _connected(self, client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            mend = "`user_env` and `password_env`, and whom the broker lets in"
            if reason.value == 0x84:  # unsupported protocol version
                mend = '`version: "3.1.1"`'
            self.fault = f"the broker refuses the connection ({reason}). Mend: {mend}"
            return
        self.is_heard = True
        begun = "goes on with its session" if flags.session_present else "begins a session: what was published before does not come"
        log.info("%s: connected, %s", self.brick, begun)
        client.subscribe([(wanted, 1) for wanted in dict.fromkeys(self.filters.values())])

    def _subscribed(self, _client: Any, _data: Any, _mid: int, reasons: Sequence[Any], _properties: Any) -> None:
        for wanted, reason in zip(dict.fromkeys(self.filters.values()), reasons, strict=False):
            if reason.is_failure:
                self.fault = f"the broker refuses topic {wanted} ({reason}). Mend: `topic` of the table, or what the broker lets it read"
            elif reason.value == 0:
                log.warning("%s: the broker gives topic %s at most once: what it sends while nobody listens is lost", self.brick, wanted)


def _clock(message: MQTTMessage) -> datetime | None:
    """Give the clock of the sandbox that sent a message, which says so in its properties, as version 5 has them; None for none."""
    return sandbox_clock(dict(getattr(message.properties, "UserProperty", ())))
