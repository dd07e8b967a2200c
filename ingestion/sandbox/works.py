"""Plays a database, as an SQLite file that is laid in the sandbox's room, and an FME Flow, which works when it is asked to."""

import datetime as dt
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from ingestion.sandbox.clock import epoch_hour, to_instant
from ingestion.sandbox.server import Answer, as_json
from ingestion.sandbox.world import World, read_communes

PLACES, KINDS = 60, ("fontaine", "brumisateur", "parc ombragé", "bâtiment frais")
SUBMIT, JOBS = ("fmerest", "v3", "transformations", "submit"), ("fmerest", "v3", "transformations", "jobs", "id")


class CoolPlaces:
    """The table of cool places, one of them surveyed anew each day."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table at `until`; each is surveyed anew every sixty days, in its turn."""
        communes, today = read_communes(), epoch_hour(self.world.until) // 24
        rows = []
        for n in range(PLACES):
            commune = communes[int(self.world.draw("cool", n) * len(communes))]
            east, north = (
                round(float(commune[axis]) + 0.01 * float(self.world.draw(axis, n) - 0.5), 5) for axis in ("longitude", "latitude")
            )
            surveyed = (today - n) // PLACES * PLACES + n  # the last day whose turn it was
            rows.append({
                "id": f"PF-{n + 1:03}", "nom": f"Point frais {n + 1} (fictif)", "nature": KINDS[n % len(KINDS)],
                "commune_insee": commune["commune_code"], "est_ouvert": int(self.world.draw("open", n, surveyed) < 0.9),
                "geom": json.dumps({"type": "Point", "coordinates": [east, north]}),
                "maj_le": f"{to_instant(surveyed * 24 + 8):%Y-%m-%dT%H:%M:%SZ}",
            })  # fmt: skip
        return rows

    def open(self, room: Path | None, push_to: str | None) -> str | None:
        """Lay the database in the room, beside the marker that says that it is synthetic; give its address."""
        if room is None:
            return None
        folder, rows = room / "points_fraicheur", self.rows()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "SANDBOX.json").write_text(json.dumps({"synthetic": True, "now": self.world.now.isoformat()}), encoding="utf-8")
        path = folder / "georchestra.sqlite"
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path)
        with database:
            database.execute(f"create table points_fraicheur ({', '.join(rows[0])})")
            database.executemany(f"insert into points_fraicheur values ({', '.join(':' + name for name in rows[0])})", rows)
        database.close()
        return f"sqlite://{path.absolute()}"

    def waiting(self) -> int:
        """It pushes nothing."""
        return 0

    def close(self) -> None:
        """The file stays."""


class Flow:
    """FME Flow, REST v3: a workspace is submitted, its job is asked after, and what it has written is downloaded."""

    def __init__(self, world: World) -> None:
        """No job has been submitted."""
        self.world, self.asked_after, self.key = world, dict[str, int](), os.environ.get("ORCHESTRA_FME_AUTHORIZATION")

    def rows(self) -> list[dict[str, Any]]:
        """What the workspace computes: a row a commune, anew each month."""
        made_on = dt.date(self.world.until.year, self.world.until.month, 1)
        rows = []
        for n, commune in enumerate(read_communes()):
            share = round(0.1 + 0.3 * float(self.world.draw("canopy", n)) + 0.001 * (made_on.year - 2024), 4)
            trees = int(commune["municipal_population"]) // 8 + int(self.world.draw("trees", n) * 500)
            own = {"code_insee": commune["commune_code"], "arbres": trees, "part_canopee": share}
            rows.append({**own, "calcule_le": made_on.isoformat()})
        return rows

    def is_let_in(self, headers: dict[str, str]) -> bool:
        """Whether a request holds the token that is asked for, where one is set."""
        return self.key is None or headers.get("authorization") == self.key

    def post(self, parts: tuple[str, ...], query: str, headers: dict[str, str], body: bytes) -> Answer:
        """Submit the workspace: 202, with the number of the job."""
        if not self.is_let_in(headers):
            return as_json({"message": "Authentication failed"}, 401)
        if parts != (*SUBMIT, "espaces_verts", "canopee_communes.fmw"):
            return as_json({"message": "Workspace not found"}, 404)
        number = str(len(self.asked_after) + 1)
        self.asked_after[number] = 0
        return as_json({"id": int(number)}, 202)

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """The state of a job, which is queued at first; or the file that it has written."""
        if not self.is_let_in(headers):
            return as_json({"message": "Authentication failed"}, 401)
        if parts[:-1] == JOBS and parts[-1] in self.asked_after:
            self.asked_after[parts[-1]] += 1
            return as_json({"id": int(parts[-1]), "status": "SUCCESS" if self.asked_after[parts[-1]] > 1 else "QUEUED"})
        if parts[-1:] == ("canopee_communes.json",) and any(count > 1 for count in self.asked_after.values()):
            return as_json(self.rows())
        return as_json({"message": "Not found"}, 404)


PLAYS = {"points_fraicheur": CoolPlaces, "canopee_communes": Flow}
