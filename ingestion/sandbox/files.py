"""Lays the weather and the communes out as the files their producers publish, and any file brick as file drops."""

import datetime as dt
import gzip
import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from ingestion.sandbox import lora
from ingestion.sandbox.clock import epoch_hour
from ingestion.sandbox.stock import FIRST_DAY, IN_PLACE, STATIONS
from ingestion.sandbox.world import World, read_communes

_HOURLY = "NUM_POSTE;NOM_USUEL;LAT;LON;ALTI;AAAAMMJJHH;RR1;QRR1;T;QT;U;QU"
_DAILY = "NUM_POSTE;NOM_USUEL;LAT;LON;ALTI;AAAAMMJJ;RR;QRR;TN;QTN;TX;QTX"
_COG = "TYPECOM,COM,REG,DEP,CTCD,ARR,TNCC,NCC,NCCENR,LIBELLE,CAN,COMPARENT"
_EPCI = (
    "dept;siren;raison_sociale;nature_juridique;mode_financ;nb_membres;total_pop_tot;total_pop_mun;dep_com;insee;"
    "siren_membre;nom_membre;ptot_2025;pmun_2025"
)
_ANSWERS = "batiment;energie;nature;debut;vu_le;action;action_le;responsable;effet_attendu_kwh;clos_le"
# By planted fault: kind of alert, days until its first day, until it is seen, the action, days until it, kWh that it is to save a year.
_ANSWERED = {
    "night_leak": ("night_base_load", 4, 12, "", 0, ""),
    "drift": ("drift", 80, 95, "Ventilation réglée", 150, "4500,5"),
    "frozen_index": ("frozen_index", 3, 6, "Tête de lecture remplacée", 21, ""),
    "gap": ("missing_meter", 0, 3, "", 0, ""),
    "heating_not_set_back": ("heating_excess", 0, 50, "Abaissement de nuit rétabli", 0, "12000"),
}


def write_drops(folder: Path, brick: str, scale: float = 1.0, until: dt.date | None = None, seed: int = 35) -> int:
    """Lay a file brick as a folder of files beside a marker `SANDBOX.json`; gives back how many files it holds.

    Files already there with the same content are left alone, so that a later `until` only adds.
    """
    world = World(scale, until, seed)
    tree, count = {**PLAYS, **lora.PLAYS}[brick](world), 0
    pending: list[tuple[str, ...]] = [()]
    folder.mkdir(parents=True, exist_ok=True)
    marker = {"synthetic": True, "now": world.now.isoformat()}
    (folder / "SANDBOX.json").write_text(json.dumps(marker), encoding="utf-8")
    while pending:
        parts = pending.pop()
        for name in tree.list_folder(parts) or []:
            if name.endswith("/"):
                pending.append((*parts, name[:-1]))
                continue
            found, path = tree.read((*parts, name)), folder.joinpath(*parts, name)
            if found is None:
                raise FileNotFoundError(f"sandbox: {brick} lists {path} but does not serve it")
            count += 1
            if not path.exists() or path.read_bytes() != found[0]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(found[0])
                os.utime(path, (found[1], found[1]))
    return count


def split_name(row: dict[str, str]) -> str:
    """The name in capitals without accents nor hyphens (NCC of the official code)."""
    import unicodedata

    plain = unicodedata.normalize("NFD", row["nccenr"]).encode("ascii", "ignore").decode()
    return plain.upper().replace("-", " ").replace("'", " ")


class Tree(Protocol):
    """A folder that is served: what it lists, what it holds."""

    def list_folder(self, parts: tuple[str, ...]) -> list[str] | None:
        """Names in a folder, sub-folders with a slash at their end; None when there is no such folder."""

    def read(self, parts: tuple[str, ...]) -> tuple[bytes, float] | None:
        """A file's content and when it was last modified (s since 1970); None when there is no such file."""


class FlatTree:
    """A folder of a few files, each made when it is first read."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world
        self.made: dict[str, tuple[bytes, float]] = {}

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        raise NotImplementedError

    def make(self, path: str) -> tuple[bytes, float]:
        """Content of a file and when it was last modified (s since 1970)."""
        raise NotImplementedError

    def list_folder(self, parts: tuple[str, ...]) -> list[str] | None:
        """Names in a folder, sub-folders with a slash at their end; None when there is no such folder."""
        start = "".join(part + "/" for part in parts)
        below = [name[len(start) :] for name in self.names if name.startswith(start)]
        return [*dict.fromkeys(name.split("/")[0] + "/" * ("/" in name) for name in below)] or None

    def read(self, parts: tuple[str, ...]) -> tuple[bytes, float] | None:
        """A file's content and when it was last modified (s since 1970); None when there is no such file."""
        path = "/".join(parts)
        if path in self.names and path not in self.made:
            self.made[path] = self.make(path)
        return self.made.get(path)


class WeatherTree(FlatTree):
    """Météo-France's files of the departement: hourly and daily, years until 2024 and the latest ones."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        hourly = [f"HOR/H_35_{years}.csv.gz" for years in ("latest-2025-2026", "previous-2020-2024")]
        daily = [f"QUOT/Q_35_{years}_RR-T-Vent.csv.gz" for years in ("latest-2025-2026", "previous-1950-2024")]
        return hourly + daily

    def make(self, path: str) -> tuple[bytes, float]:
        """One row a station and hour (or day); the last day's extremes look past 23:00 so that they never change."""
        new_year, end = dt.date(2025, 1, 1), self.world.until + dt.timedelta(days=1)
        first, last = (new_year, end) if "latest" in path else (FIRST_DAY, min(new_year, end))
        days, hourly = max(0, (last - first).days), path.startswith("HOR")
        lines = [_HOURLY if hourly else _DAILY]
        for number, (code, name, lat, lon, height, _) in enumerate(STATIONS if days else ()):
            place = f"{code};{name};{lat:.6f};{lon:.6f};{height}"
            if hourly:
                hours = epoch_hour(first) + np.arange(days * 24)
                found = self.world.weather(hours, number)
                stamps = np.datetime_as_string(hours.astype("datetime64[h]"), unit="h").tolist()
                keys, columns = [stamp.replace("-", "").replace("T", "") for stamp in stamps], ("rr", "t", "u")
            else:
                found = self.world.daily_weather(first, days, number)
                keys, columns = [f"{first + dt.timedelta(days=n):%Y%m%d}" for n in range(days)], ("rr", "tn", "tx")
            values = zip(keys, *(found[column].tolist() for column in columns), strict=True)
            lines += [f"{place};{key};{a:.1f};1;{b:.1f};1;{c:g};1" for key, a, b, c in values]
        modified = min(self.world.now.timestamp(), epoch_hour(new_year) * 3600.0 if "previous" in path else 1e12)
        return gzip.compress(("\n".join(lines) + "\n").encode(), 6, mtime=0), modified


class CommunesTree(FlatTree):
    """The official geographic code and the members of the EPCI, for the 43 communes of Rennes Métropole."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        return ["cog_communes.csv", "perimetre-epci-a-fp.csv"]

    def make(self, path: str) -> tuple[bytes, float]:
        """Facts in the producers' own shapes: UTF-8 and commas; cp1252, semicolons, CRLF, spaces in thousands."""
        rows, lines, modified = read_communes(), [_COG], epoch_hour(IN_PLACE) * 3600.0
        if path == "cog_communes.csv":
            for row in sorted(rows, key=lambda row: row["commune_code"]):
                names = f"{row['tncc']},{split_name(row)},{row['nccenr']},{row['name']}"
                lines.append(f"COM,{row['commune_code']},53,35,35D,353,{names},{row['canton_code']},")
            return ("\r\n".join(lines) + "\r\n").encode(), modified
        counts = {kind: [int(row[f"{kind}_population"]) for row in rows] for kind in ("total", "municipal")}
        sums = ";".join(f"{sum(counts[kind]):,}".replace(",", " ") for kind in counts)
        lines = [_EPCI]
        for row, total, municipal in zip(rows, counts["total"], counts["municipal"], strict=True):
            people = f"{total:,};{municipal:,}".replace(",", " ")
            member = f"35;{row['commune_code']};{row['siren']};{row['name']};{people}"
            lines.append(f"35;243500139;Rennes Métropole;METRO;FPU;{len(rows)};{sums};{member}")
        return ("\r\n".join(lines) + "\r\n").encode("cp1252"), modified


class AnswersTree(FlatTree):
    """The spreadsheet in which the energy manager answers the alerts that faults planted in the territory raise."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root: none before the first answer."""
        return ["reponses_alertes.csv"] if self.rows else []

    @cached_property
    def rows(self) -> list[str]:
        """Lines of the spreadsheet; what is dated after today is not in it yet."""
        rows, now = [], self.world.until
        for fault in self.world.planted:
            if fault["kind"] not in _ANSWERED:
                continue
            kind, told_after, seen_after, action, acts_after, expected_kwh = _ANSWERED[fault["kind"]]
            first = dt.date.fromisoformat(fault["from"][:10])
            told, seen = first + dt.timedelta(days=told_after), first + dt.timedelta(days=seen_after)
            acted: dt.date | None = first + dt.timedelta(days=acts_after) if acts_after else None
            if fault["kind"] == "heating_not_set_back":  # it is the action that mends it
                acted = dt.date.fromisoformat(fault["to"]) if fault["to"] else None
            if seen <= now:
                row = [fault["building_id"], fault["params"].get("energy", "electricity"), kind, f"{told:%d/%m/%Y}", f"{seen:%d/%m/%Y}"]
                done = acted is not None and acted <= now
                row += [action, f"{acted:%d/%m/%Y}", "Exploitation des bâtiments", expected_kwh] if done else [""] * 4
                closed = acted + dt.timedelta(days=90) if acted else None
                rows.append(";".join([*row, f"{closed:%d/%m/%Y}" if closed and closed <= now else ""]))
        return rows

    def make(self, path: str) -> tuple[bytes, float]:
        """UTF-8 with a BOM, semicolons, French dates and decimals, as a spreadsheet saves it."""
        return ("\ufeff" + "\r\n".join([_ANSWERS, *self.rows]) + "\r\n").encode(), self.world.now.timestamp()


PLAYS: dict[str, Callable[[World], Tree]] = {
    "meteo_stations": WeatherTree,
    "insee_cog": CommunesTree,
    "reponses_alertes": AnswersTree,
}
