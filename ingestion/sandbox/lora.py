"""Lays the world's readings out as the metropole's folder of LoRaWAN frames, one JSON file a frame."""

import datetime as dt
import json
import threading
from collections import Counter, OrderedDict
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingestion.sandbox.clock import PARIS, epoch_hour, local_hours
from ingestion.sandbox.stock import FIRST_DAY, FROZEN_DAYS, GAP_DAYS, HISTORY, IN_PLACE, RATES
from ingestion.sandbox.world import World

_SLOTS = {"base": (-1,), "base_scalar": (5,), "two": (2, 19), "scalar": (2, 8, 14, 19), "temp": (-1,), "temp_scalar": (4, 16)}
"""Hours UTC, from midnight of the local day, at which a device of that kind speaks; 2 is off-peak, 8 to 19 is not."""
_LEVELS, _PATTERN = ("year", "month", "day"), "year=%Y/month=%m/day=%d"
_CACHE_BYTES = 96_000_000
_LORA = (
    '"lorawan":{"type":"unconfirmed_data_up","devaddr":"%s","adr":true,"fcnt":%d,"port":%d},"lora":{"freq":%.1f,'
    '"data_rate":"SF7BW125","rssi":-%d,"lsnr":%s},"gateway":{"best":"AA555A000B03%04X","number":%d},"gps":[]}'
)
_STATUS = (
    '{"type":"0x57 Temp 3 periodic data","status":{"frameCounter":%d,"hardwareError":false,"lowBattery":false,'
    '"configurationDone":false,"configurationInconsistency":false,"configuration2ChannelsActivated":true},'
    '"decodingInfo":"values: [t=0, t-1, t-2, ...]","temperatures":[{"name":"temperature 1","unit":"°C","values":[%s]},'
    '{"name":"temperature 2","unit":"°C","values":[%s]}]}'
)


def spoil(frame: str, kind: int) -> str:
    """The frame made unreadable: 0 cut in its middle, 1 without its deveui, 2 with a timestamp that is no instant."""
    if kind == 0:
        return frame[: len(frame) * 3 // 5]
    if kind == 1:
        return "{" + frame.split(",", 1)[1]
    start = frame.index('"timestamp":"') + 13
    return frame[:start] + "2099-13-45T99:61:00" + frame[start + 19 :]


class LoraTree:
    """The folder `year=/month=/day=/<deveui>/<epoch_ms>.json` and the three referentials at its root."""

    def __init__(self, world: World) -> None:
        """A local day's frames are made when its folder is first asked for; the last ones made are kept."""
        self.world, self.lock = world, threading.Lock()
        self.sent: OrderedDict[dt.date, list[tuple[dt.date, str, str, bytes]]] = OrderedDict()
        self.days: OrderedDict[dt.date, dict[str, dict[str, bytes]]] = OrderedDict()
        self.held = 0
        kinds = [kind.kind for kind in world.types]
        kinds += ["temp_scalar" if i % 6 == 5 else "temp" for i in range(len(world.thermometers))]
        self.deveuis, self.kinds = world.deveuis + world.thermometers, kinds
        pairs = [(i, hour) for i, kind in enumerate(kinds) for hour in _SLOTS[kind]]
        self.who, self.hour = (np.array(column) for column in zip(*pairs, strict=True))

    # -- frames ---------------------------------------------------------------------------------------------------

    def fates(self, day: dt.date) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """What befalls each frame sent on that local day: not sent, days late, sent twice, spoilt (-1 or how)."""
        draw, key, ordinal = self.world.draw, (self.who, self.hour), day.toordinal()
        start = np.append(self.world.fault_hours["gap"], np.full(len(self.world.thermometers), np.inf))[self.who]
        now = epoch_hour(day)
        lost = (start <= now) & (now < start + GAP_DAYS * 24)
        late = np.where(draw("late", *key, ordinal) < RATES["late"], 1 + (draw("by", *key, ordinal) < 0.4), 0)
        spoilt = draw("bad", *key, ordinal) < RATES["malformed"]
        how = np.where(spoilt, (draw("how", *key, ordinal) * 3).astype(int), -1)
        return lost, late, (draw("twice", *key, ordinal) < RATES["duplicate"]) & ~spoilt, how

    def readings(self, day: dt.date) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each frame of that local day: its instant (s), and two channels x frame x element of its history.

        The channels are withdrawn and injected index (kWh) of a meter, the two temperatures (°C) of a thermometer.
        """
        world, meter = self.world, self.who < self.world.size
        first = epoch_hour(day) - 48
        # No device keeps to the second: readings are a day apart, 20 seconds more or less.
        jitter = world.draw("jitter", self.who, self.hour, day.toordinal()) * 40 - 20
        offset = 600 + world.draw("offset", self.who) * 1700
        instants = (epoch_hour(day) + self.hour) * 3600 + (offset + jitter).astype(np.int64)
        when = instants[:, None] / 3600 - np.arange(HISTORY)
        left, part = np.divmod(when - first, 1)
        column = left.astype(np.int64)
        counted = world.counted(day - dt.timedelta(days=2), 3) + world.first_index[:, :, None]
        kinds = np.array([not self.kinds[i].startswith("base") for i in self.who])
        off_peak = (kinds & (self.hour == 2)).astype(int)[:, None]
        i = np.where(meter, self.who, 0)[:, None]
        values = np.zeros((2, len(self.who), HISTORY))
        changed, _, fall = world.events
        frozen, held, lost = world.freezes
        for channel in (0, 1):
            kept = channel * 2 + off_peak, i
            values[channel] = counted[(*kept, column)] * (1 - part) + counted[(*kept, column + 1)] * part
            stuck = (when >= frozen[i]) & (when < frozen[i] + FROZEN_DAYS * 24)
            values[channel] = np.where(stuck, held[kept] + world.first_index[kept], values[channel])
            values[channel] -= np.where(when >= frozen[i] + FROZEN_DAYS * 24, lost[kept], 0)
        values[0] -= np.where((when >= changed[i]) & (off_peak == 0), fall[i], 0)
        outside = world.weather(np.arange(first, first + 73))["t"][column]
        thermometer = np.where(meter, 0, self.who - world.size)[:, None]
        clock = local_hours(np.floor(when).astype(np.int64))
        present = world.presence[np.minimum(thermometer * 2, world.size - 1), 0, clock % 24] > 0
        inside = 17.8 + 1.6 * present + 0.05 * (outside - 12) + 0.35 * np.clip(outside - 16, 0, None)
        for channel in (0, 1):
            noise = world.draw("inside", self.who[:, None], channel, np.floor(when).astype(np.int64)) - 0.5
            values[channel] = np.where(meter[:, None], values[channel], (inside - 0.4 * channel + noise * 0.7).round(1))
        return instants, values[0], values[1]

    def make(self, day: dt.date) -> list[tuple[dt.date, str, str, bytes]]:
        """Frames sent on that local day: folder day, deveui, file name, content; duplicates and late ones included."""
        lost, late, twice, how = self.fates(day)
        instants, first, second = self.readings(day)
        radio = (self.world.draw("radio", self.who, self.hour, day.toordinal()) * 1_000_000).astype(int)
        files = []
        for n, i in enumerate(self.who.tolist()):
            if lost[n]:
                continue
            stamp, deveui, noise = int(instants[n]), self.deveuis[i], int(radio[n])
            local = dt.datetime.fromtimestamp(stamp, PARIS)
            data = self.payload(i, int(self.hour[n]), local, first[n].tolist(), second[n].tolist())
            count = (day - IN_PLACE).days * len(_SLOTS[self.kinds[i]]) + n % 4
            port, frequency, level = 125 if i < self.world.size else 1, 867.1 + noise % 8 / 5, noise % 21 / 2 - 2
            tail = _LORA % (deveui[8:], count, port, frequency, 90 + noise % 30, level, noise % 65536, 1 + noise % 10)
            frame = (
                f'{{"deveui":"{deveui}","sensor_id":"{deveui}","timestamp":"{local.isoformat()}",'
                f'"payload_ciphered":null,"payload_deciphered":"{noise:010x}","data":{data},{tail}'
            )
            content = (spoil(frame, int(how[n])) if how[n] >= 0 else frame).encode()
            delay = int(late[n])
            arrival = stamp * 1000 + 1200 + noise % 2500 + (delay * 86_400 + 900 * (delay > 0)) * 1000
            folder = day + dt.timedelta(days=delay)
            files += [(folder, deveui, f"{ms}.json", content) for ms in (arrival, arrival + 7013)[: 1 + int(twice[n])]]
        return files

    def payload(self, i: int, hour: int, local: dt.datetime, first: list[float], second: list[float]) -> str:
        """The `data` of a frame, as the decoder of the device writes it."""
        world, kind = self.world, self.kinds[i]
        if i >= world.size:
            shown = slice(0, 1 if kind == "temp_scalar" else HISTORY)
            channels = (",".join(f"{value:.1f}" for value in values[shown]) for values in (first, second))
            return _STATUS % (local.toordinal() % 8, *channels)
        period = "BASE" if kind.startswith("base") else "HCE" if hour == 2 else "HPE"
        if world.types[i].planted == "comma_decimals":
            first_text = [f'"{value:.1f}kWh"'.replace(".", ",") for value in first]
        else:
            first_text = [f'"{int(value)}kWh"' for value in first]
        texts = {"EAP_s": first_text}
        if kind == "scalar" or world.kwp[i] > 0:
            texts["EAP_i"] = [f'"{int(value)}kWh"' for value in second]
        parts = [f'"{k}":{v[0] if kind.endswith("scalar") else "[" + ",".join(v) + "]"}' for k, v in texts.items()]
        start = local.replace(day=1)
        return (
            f'{{"ADS":{41436020000 + i},"MESURES1":"{"BT INF36" if kind.startswith("base") else "BT 4 SUP36"}",'
            f'"DATE":"{local:%d/%m/%y %H:%M:%S}","PTCOUR1":"{period}","DebP":"{start:%d/%m/%y} 02:00:00",'
            + ",".join(parts)
            + f',"PS":"{world.power[i]:.0f}kVA"}}'
        )

    def frames(self, day: dt.date) -> dict[str, dict[str, bytes]]:
        """Files of one folder day, by device: the frames sent that day and the late ones of the two days before."""
        with self.lock:
            if day in self.days:
                self.days.move_to_end(day)
                return self.days[day]
            found: dict[str, dict[str, bytes]] = {}
            for before in (2, 1, 0):
                source = day - dt.timedelta(days=before)
                if source < FIRST_DAY:
                    continue
                if source not in self.sent:
                    self.sent[source] = self.make(source)
                    if len(self.sent) > 16:
                        self.sent.popitem(last=False)
                for folder, deveui, name, content in self.sent[source]:
                    if folder == day:
                        found.setdefault(deveui, {})[name] = content
            self.days[day] = found
            self.held += sum(len(content) + 100 for files in found.values() for content in files.values())
            while self.held > _CACHE_BYTES and len(self.days) > 1:
                _, gone = self.days.popitem(last=False)
                self.held -= sum(len(content) + 100 for files in gone.values() for content in files.values())
            return found

    def counters(self) -> dict[str, dict[str, int]]:
        """For each folder day with any, how many frames are late, duplicate or malformed (key file)."""
        counts: dict[str, Counter[str]] = {}
        for n in range((self.world.until - FIRST_DAY).days + 1):
            day = FIRST_DAY + dt.timedelta(days=n)
            lost, late, twice, how = self.fates(day)
            for k in np.flatnonzero(~lost & ((late > 0) | twice | (how >= 0))).tolist():
                folder = day + dt.timedelta(days=int(late[k]))
                if folder <= self.world.until:
                    found = {"late": int(late[k] > 0), "duplicate": int(twice[k]), "malformed": int(how[k] >= 0)}
                    counts.setdefault(folder.isoformat(), Counter()).update(found)
        return {day: dict(count) for day, count in sorted(counts.items())}

    # -- referentials ---------------------------------------------------------------------------------------------

    @cached_property
    def roots(self) -> dict[str, bytes]:
        """The three referentials, one line a sensor, a sensor's parameters, and a measure with its validity."""
        sensors = ["deveui,enabledon,disabledon,updatedon,reprisedon"]
        measures = ["channel,deveui,enabledon,disabledon,measurenatureid,unitid,dataparameter,step"]
        parameters = []
        natures = {"HPE": (3, 4), "HCE": (5, 6), "BASE": (7, 8)}
        for i, (deveui, kind) in enumerate(zip(self.deveuis, self.kinds, strict=True)):
            sensors.append(f"{deveui},{IN_PLACE},,{IN_PLACE},")
            meter, step = i < self.world.size, "" if kind.endswith("scalar") else "3600"
            injects = meter and (kind == "scalar" or self.world.kwp[i] > 0)
            names = ["EAP_s", "EAP_i"] if injects else ["EAP_s"]
            rows = [("1", "1", "temperature 1"), ("2", "1", "temperature 2")]
            if meter:
                periods = ("BASE",) if kind.startswith("base") else ("HPE", "HCE")
                pairs = [(p, k, name) for p in periods for k, name in enumerate(names)]
                rows = [(str(natures[p][k]), "2", f"PTCOUR1:{p}:{name}") for p, k, name in pairs]
            measures += [f"{i * 10 + k + 1},{deveui},{IN_PLACE},,{','.join(row)},{step}" for k, row in enumerate(rows)]
            parameters.append(json.dumps({
                "deveui": deveui, "global_key_names": ["PTCOUR1"] * meter, "global_value_paths": ["PTCOUR1"] * meter,
                "unique_key_names": names if meter else [],
                "unique_value_paths": [] if meter else ["temperatures_name"], "data_keys": [],
                "data_value_paths": names if meter else ["temperatures_values"], "user_prefix": [],
            }))  # fmt: skip
        texts = {"sensors.csv": sensors, "parameters.ndjson": parameters, "measure_information.csv": measures}
        return {name: ("\n".join(lines) + "\n").encode() for name, lines in texts.items()}

    # -- the tree -------------------------------------------------------------------------------------------------

    def day_of(self, parts: tuple[str, ...]) -> dt.date | None:
        """The folder day of a path, None when it names none or one outside of the data."""
        try:
            year, month, day = (int(part.removeprefix(f"{name}=")) for part, name in zip(parts, _LEVELS, strict=False))
            found = dt.date(year, month, day)
        except ValueError:
            return None
        return found if parts[:3] == tuple(found.strftime(_PATTERN).split("/")) and self.has(found) else None

    def has(self, day: dt.date) -> bool:
        """Whether the data reaches that day."""
        return FIRST_DAY <= day <= self.world.until

    def list_folder(self, parts: tuple[str, ...]) -> list[str] | None:
        """Names in a folder, sub-folders with a slash at their end; None when there is no such folder."""
        if len(parts) < 3:
            days = (FIRST_DAY + dt.timedelta(days=n) for n in range((self.world.until - FIRST_DAY).days + 1))
            paths = [day.strftime(_PATTERN).split("/") for day in days]
            names = dict.fromkeys(path[len(parts)] + "/" for path in paths if tuple(path[: len(parts)]) == parts)
            return ([*names] + ([] if parts else [*self.roots])) or None
        day = self.day_of(parts)
        if day is None or len(parts) > 4:
            return None
        found = self.frames(day)
        if len(parts) == 3:
            return [f"{deveui}/" for deveui in sorted(found)]
        return sorted(found[parts[3]]) if parts[3] in found else None

    def read(self, parts: tuple[str, ...]) -> tuple[bytes, float] | None:
        """A file's content and when it was last modified (s since 1970); None when there is no such file."""
        if len(parts) == 5:
            day = self.day_of(parts)
            content = self.frames(day).get(parts[3], {}).get(parts[4]) if day else None
            return None if content is None else (content, int(parts[4][:-5]) / 1000)
        if len(parts) == 1 and parts[0] in self.roots:
            return self.roots[parts[0]], epoch_hour(IN_PLACE) * 3600.0
        return None


PLAYS = {"lora_batiments": LoraTree}
