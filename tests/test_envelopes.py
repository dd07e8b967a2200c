"""Uplinks of three network servers are rows of one shape: envelopes as their makers publish them, typed in by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ingestion.connectors.envelopes import Envelope, unwrapped
from tests.conftest import House, column, table
from tests.fixtures.listening import pushed, waiting
from tests.test_listen import put

RAW = bytes.fromhex("010c44")  # a humidity of 31.4 %, in the example of ThingPark's driver
LORAWAN = Path(__file__).resolve().parents[2] / "shared" / "data" / "protocols" / "lorawan"


def chirpstack(**more: Any) -> dict[str, Any]:
    """Give an uplink of ChirpStack v4: JSON of Protocol Buffers, where what is 0 or false is left out."""
    device = {
        "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "ChirpStack", "applicationName": "Buildings",
        "deviceProfileName": "Humidity", "deviceName": "school-12", "devEui": "0018b20000000b20", "tags": {"room": "3"},
    }  # fmt: skip
    radio = {"rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}], "txInfo": {"frequency": 867100000}}
    told = {"deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d", "time": "2026-11-27T09:34:15.775023242+00:00", "deviceInfo": device}
    return {**told, "devAddr": "00189440", "dr": 1, "fCnt": 1174, "fPort": 1, "data": "AQxE", "object": {"humidity": 31.4}, **radio, **more}


def tts(**more: Any) -> dict[str, Any]:
    """Give an uplink of The Things Stack v3: fields that are empty, or 0, are left out."""
    ids = {
        "device_id": "school-12",
        "application_ids": {"application_id": "buildings"},
        "dev_eui": "0018B20000000B20",
        "dev_addr": "00BCB929",
    }
    up = {
        "session_key_id": "AXBSH1Pk6Z0G166RlH16CQ==", "f_port": 1, "f_cnt": 1174, "frm_payload": "AQxE",
        "decoded_payload": {"humidity": 31.4}, "rx_metadata": [{"gateway_ids": {"gateway_id": "gtw1"}, "rssi": -35}],
        "settings": {"frequency": "868300000"}, "received_at": "2026-11-27T09:34:15.775023242Z",
    }  # fmt: skip
    told = {"end_device_ids": ids, "correlation_ids": ["as:up:01E191YN5F2HMBQCBCVRF731VY"], "received_at": "2026-11-27T09:34:15.935284891Z"}
    return {**told, "uplink_message": {**up, **more}}


def actility(**more: Any) -> dict[str, Any]:
    """Give an uplink of ThingPark, in its older version, which writes numbers as texts."""
    up = {
        "Time": "2026-11-27T10:34:15.775+01:00", "DevEUI": "0018B20000000B20", "FPort": "1", "FCntUp": "1174", "ADRbit": "1", "MType": "4",
        "FCntDn": "1229", "payload_hex": "010C44", "mic_hex": "cfffc70f", "Lrcid": "00000206", "DevAddr": "04D2848E",
        "payload": {"humidity": 31.4}, "CustomerData": {"name": "My Demo Device"},
    }  # fmt: skip
    return {"DevEUI_uplink": {**up, **more}}


MADE = {"chirpstack": chirpstack, "tts": tts, "actility": actility}
OTHERS: list[tuple[Envelope, dict[str, Any]]] = [
    ("chirpstack", {"deduplicationId": "x", "time": "2026-11-27T09:34:15Z", "deviceInfo": {"devEui": "00"}, "devAddr": "00189440"}),
    ("chirpstack", {"deviceInfo": {"devEui": "00"}, "margin": 10, "batteryLevel": 50.0}),
    ("chirpstack", {"deviceInfo": {"devEui": "00"}, "queueItemId": "x", "acknowledged": True, "fCntDown": 2}),
    ("tts", {"end_device_ids": {"dev_eui": "00"}, "join_accept": {"session_key_id": "AXBSH1Pk6Z0G166RlH16CQ=="}}),
    ("tts", {"end_device_ids": {"dev_eui": "00"}, "downlink_queued": {"f_port": 15}}),
    ("actility", {"DevEUI_downlink_Sent": {"DevEUI": "00", "FCntDn": 4}}),
    ("actility", {"DevEUI_location": {"DevEUI": "00"}}),
]


def uplinks(house: House, envelope: str) -> Any:
    columns = [
        column("deveui"), column("received_at", "timestamptz"), column("f_cnt", "bigint"), column("f_port", "bigint"),
        column("payload", "json"), column("raw"),
    ]  # fmt: skip
    return pushed(house, table("uplinks", columns, ["deveui", "received_at"], {"envelope": envelope}))


@pytest.mark.parametrize("envelope", MADE)
def test_each_envelope_lands_as_the_same_row(house: House, envelope: Envelope) -> None:
    brick = uplinks(house, envelope)
    others = [other for of, other in OTHERS if of == envelope]
    put(house, MADE[envelope](), *others, to="uplinks")
    entry = house.land(brick)
    assert entry and (entry["tables"]["uplinks"]["kept"], entry["tables"]["uplinks"]["refused"]) == (1, 0)
    asked = "deveui, date_trunc('millisecond', received_at)::varchar, f_cnt, f_port, payload->>'$.humidity', from_base64(raw)"
    assert house.rows(brick, "uplinks", asked) == [("0018b20000000b20", "2026-11-27 09:34:15.775+00", 1174, 1, "31.4", RAW)]


@pytest.mark.parametrize("envelope", MADE)
def test_what_is_no_event_of_its_server_is_refused_and_never_left_out(house: House, envelope: Envelope) -> None:
    brick = uplinks(house, envelope)
    wrong = [each() for name, each in MADE.items() if name != envelope]
    put(house, MADE[envelope](), *wrong, {"x": 1}, b"no JSON", 7, {"deviceInfo": 1, "end_device_ids": 2, "DevEUI_uplink": 3}, to="uplinks")
    entry = house.land(brick)
    assert entry and (entry["tables"]["uplinks"]["kept"], entry["tables"]["uplinks"]["refused"]) == (1, 6)


def test_what_is_left_out_because_it_is_0_is_0_and_what_lacks_is_null() -> None:
    first = {"chirpstack": chirpstack(), "tts": tts()["uplink_message"]}
    for name in ("fCnt", "fPort", "data", "object"):
        del first["chirpstack"][name]
    up = tts()
    for name in ("f_cnt", "f_port", "frm_payload", "decoded_payload", "received_at"):
        del up["uplink_message"][name]
    for found in (unwrapped(json.dumps(first["chirpstack"]), "chirpstack"), unwrapped(json.dumps(up), "tts")):
        told = json.loads(found or "")
        assert (told["f_cnt"], told["f_port"], told["payload"], told["raw"]) == (0, 0, None, None)
        assert told["deveui"] == "0018b20000000b20" and told["received_at"].startswith("2026-11-27T09:34:15.")
    silent = json.loads(unwrapped(json.dumps(actility(payload_hex="")), "actility") or "")
    assert silent["raw"] is None and silent["payload"] == {"humidity": 31.4}


def test_bytes_that_are_no_hexadecimal_refuse_their_row() -> None:
    text = json.dumps(actility(payload_hex="0g"))
    assert unwrapped(text, "actility") == text


def test_a_file_of_which_no_message_is_a_row_waits_for_one_that_is(house: House) -> None:
    brick = uplinks(house, "tts")
    put(house, OTHERS[3][1], to="uplinks")
    assert house.land(brick) is None and len(list(waiting(house, table="uplinks"))) == 1
    put(house, tts(), to="uplinks")
    assert house.land(brick) and list(waiting(house, table="uplinks")) == []


@pytest.mark.parametrize("envelope", MADE)
def test_what_decoders_give_goes_through_each_envelope_as_it_is(envelope: Envelope) -> None:
    """Frames and what a decoder makes of them, as The Things Network's repository of devices publishes them."""
    path = LORAWAN / "ttn_codec_examples.json"
    if not path.exists():
        pytest.skip(f"no {path.name} beside the project")
    keys = {"chirpstack": ("data", "object"), "tts": ("frm_payload", "decoded_payload"), "actility": ("payload_hex", "payload")}[envelope]
    for example in json.loads(path.read_text(encoding="utf-8")):
        raw, decoded = bytes.fromhex(example["hex"]), example["decoded"]
        sent = raw.hex() if envelope == "actility" else base64.b64encode(raw).decode()
        told = json.loads(unwrapped(json.dumps(MADE[envelope](**dict(zip(keys, (sent, decoded), strict=True)))), envelope) or "")
        assert base64.b64decode(told["raw"]) == raw and told["payload"] == decoded
