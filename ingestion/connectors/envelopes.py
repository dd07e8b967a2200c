"""Uplinks of LoRaWAN in one shape, whichever network server sends them: ChirpStack v4, The Things Stack v3, Actility ThingPark."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

Envelope = Literal["chirpstack", "tts", "actility"]
Event = dict[str, Any]


class NoEnvelope(ValueError):
    """A message that is not what its network server sends."""


def unwrapped(text: str, envelope: Envelope) -> str | None:
    """Give the uplink that a message in an envelope holds, as JSON: deveui, received_at, f_cnt, f_port, payload, raw.

    `deveui` is 16 hexadecimal digits in small letters, `received_at` the instant at which the network received the frame, `payload`
    what its decoder made of it (null where it has none), `raw` the bytes in base64. None for an event that is no uplink. What
    is no event of that server is given as it is: it has no deveui, and is refused.
    """
    try:
        event = json.loads(text)
        found = _READ[envelope](event) if isinstance(event, dict) else event
    except (NoEnvelope, RecursionError):
        return text
    return None if found is None else text if found is event else json.dumps(found, ensure_ascii=False)


def _chirpstack(event: Event) -> Event | None:
    """JSON of Protocol Buffers: a number that is 0 is left out."""
    device = _object(event, "deviceInfo")
    if not event.keys() & {"rxInfo", "data", "fCnt"}:
        return None
    return _uplink(
        device.get("devEui"), event.get("time"), event.get("fCnt", 0), event.get("fPort", 0), event.get("object"), event.get("data")
    )


def _tts(event: Event) -> Event | None:
    """Fields that are empty are left out, and so is a number that is 0. The Network Server receives first, the Application Server next."""
    device = _object(event, "end_device_ids")
    if "uplink_message" not in event:
        return None
    up = _object(event, "uplink_message")
    received_at, counts = up.get("received_at") or event.get("received_at"), (up.get("f_cnt", 0), up.get("f_port", 0))
    return _uplink(device.get("dev_eui"), received_at, *counts, up.get("decoded_payload"), up.get("frm_payload"))


def _actility(event: Event) -> Event | None:
    """The bytes are in hexadecimal; older versions write numbers as texts."""
    if "DevEUI_uplink" not in event:
        if any(name.startswith("DevEUI_") for name in event):
            return None
        raise NoEnvelope
    up = _object(event, "DevEUI_uplink")
    try:
        raw = base64.b64encode(bytes.fromhex(up.get("payload_hex") or "")).decode()
    except (TypeError, ValueError):
        raise NoEnvelope from None
    return _uplink(up.get("DevEUI"), up.get("Time"), up.get("FCntUp"), up.get("FPort"), up.get("payload"), raw)


_READ = {"chirpstack": _chirpstack, "tts": _tts, "actility": _actility}


def _object(event: Event, name: str) -> Event:
    found = event.get(name)
    if not isinstance(found, dict):
        raise NoEnvelope
    return found


def _uplink(deveui: Any, received_at: Any, f_cnt: Any, f_port: Any, payload: Any, raw: Any) -> Event:
    deveui = deveui.lower() if isinstance(deveui, str) else deveui
    return {"deveui": deveui, "received_at": received_at, "f_cnt": f_cnt, "f_port": f_port, "payload": payload, "raw": raw or None}
