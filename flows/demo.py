"""The whole chain over the sandbox, in a lake of its own: what `make demo` runs; `make demo-live` lands what is public for all."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flows.cli import main as orchestra
from flows.servers import UNTIL, free_port, plug_in, receive_all, sandbox, secrets_of
from ingestion.brick import Brick
from ingestion.census import read_bricks
from ingestion.connectors import PUSHED
from ingestion.connectors.web import VARIABLE
from ingestion.lake import Lake
from ingestion.probing import Probe, note_probes, probe

ASKED_SECONDS, LANDED_SECONDS = 30.0, 300.0  # in which the sources answer, all at once, and in which one of them lands


def main() -> int:
    """Serve the sandbox, run the chain, print what it did and what to type next; give the run's exit status."""
    folder = Path(sys.argv[1]).absolute()
    for name in [name for name in os.environ if name.startswith("ORCHESTRA_ENDPOINT")]:
        del os.environ[name]  # what a real lake reads
    if "--live" in sys.argv:
        return live(folder)
    until = os.environ.get("UNTIL", UNTIL)
    place = shown = os.environ.get("ORCHESTRA_LAKE", "")
    if place.startswith("s3://"):
        shown += f" ORCHESTRA_STATE={os.environ.setdefault('ORCHESTRA_STATE', str(folder / 'state'))}"
    else:
        os.environ.pop("ORCHESTRA_STATE", None)
        place = os.environ["ORCHESTRA_LAKE"] = str(folder)
        shown = os.path.relpath(place)
    listened = os.environ["ORCHESTRA_LISTEN"] = f"127.0.0.1:{free_port()}"  # beside what a real lake receives
    with sandbox(until, folder / "planted.json", push_to=listened) as url:
        print(f"A synthetic territory, until {until}, is served on {url}; the lake is {place}.\n", flush=True)
        plug_in(url)
        receive_all(url, folder / "listen.log")
        status = orchestra(["run"]) or orchestra(["site", "--class", "internal"]) or orchestra(["site"])
    tomorrow = dt.date.fromisoformat(until) + dt.timedelta(days=1)
    command = os.path.relpath(Path(sys.executable).parent / "orchestra")
    address = "" if place.startswith("s3://") else f"\nThe site, for everybody: file://{folder}/site/open/index.html\n"
    print(
        f"""{address}
Everything above is synthetic. Next:
  export ORCHESTRA_LAKE={shown}
  {command} status                  what the lake holds
  {command} loads list              every load; `loads show <id>` tells its refused rows
  UNTIL={tomorrow} make demo                 one more day in the territory
  make up                                    the same with schedules and the Prefect UI"""
    )
    return status


def live(folder: Path) -> int:
    """Land the public bricks that need no key from where they really are, in a lake of its own, and say of each how it went, in a line.

    Gives 1 where one did not answer, or did not land, and 0 else. All are asked at once first; who does not answer is not waited for.
    """
    os.environ.pop("ORCHESTRA_STATE", None)
    os.environ["ORCHESTRA_LAKE"] = str(folder)
    bricks = {brick.name: brick for brick in read_bricks().values() if is_for_all(brick)}
    print(f"{len(bricks)} public bricks need no key; the lake is {folder}.\n", flush=True)
    failed, found = 0, asked(bricks.values(), ASKED_SECONDS)
    note_probes(Lake(), found)
    for name in sorted(bricks, key=lambda name: not found[name].is_reached):
        fault, told = ("did not answer", found[name].told) if not found[name].is_reached else landed(name, LANDED_SECONDS)
        failed += bool(fault)
        print(f"{name:<28} {': '.join(filter(None, (fault, ' '.join(told.removeprefix(f'{name}: ').split()))))}", flush=True)
    print(f"\n{len(bricks) - failed} of {len(bricks)} bricks have landed, or have nothing new.")
    return int(failed > 0)


def is_for_all(brick: Brick) -> bool:
    """Say whether a brick is public, and whoever asks for it by HTTP is answered: without a key, at an address that holds no secret."""
    meta = brick.meta
    options = json.dumps([meta.options, *(table.meta.options for table in brick.tables)])
    is_public = meta.access_class == "open" and meta.status != "retired" and meta.connector not in PUSHED
    is_secret = secrets_of([brick]) or VARIABLE.search(f"{meta.endpoint} {options}")
    return is_public and (meta.endpoint or "").startswith(("http://", "https://")) and not is_secret


def asked(bricks: Iterable[Brick], seconds: float) -> dict[str, Probe]:
    """Ask sources whether they are there, all at once; one that has not answered in so many seconds is left to itself."""
    at, deadline = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), time.monotonic() + seconds
    found = {brick.name: Probe(at, False, told=f"nothing came in {seconds:g} s. Mend: try later.") for brick in bricks}
    answers = dict[str, Probe]()

    def ask(brick: Brick) -> Callable[[], None]:
        return lambda: answers.update({brick.name: probe(brick)})

    threads = [threading.Thread(target=ask(brick), daemon=True) for brick in bricks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return found | dict(answers)


def landed(name: str, seconds: float) -> tuple[str, str]:
    """Land a brick in a process of its own, which is stopped after so many seconds; give what went wrong, and what there is to tell."""
    begun, command = time.monotonic(), [sys.executable, "-m", "flows.cli", "land", "--brick", name, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"did not land in {seconds:g} s", "it was stopped, and left nothing. Mend: orchestra land --brick " + name
    try:
        (step,) = json.loads(done.stdout)["lands"]
    except ValueError:
        return "did not land", done.stderr
    if step["error"]:
        return "did not answer", step["error"]
    tables: list[dict[str, Any]] = [*(step["entry"] or {"tables": {}})["tables"].values()]
    kept, refused = (sum(record[of] for record in tables) for of in ("kept", "refused"))
    told = f"{kept:,} rows kept, {refused:,} refused, in {time.monotonic() - begun:.1f} s" if tables else "nothing new"
    is_refused = step["entry"] and step["entry"]["verdict"] == "refused"
    return ("its load is refused", f"{'; '.join(step['entry']['reasons'])} ({told})") if is_refused else ("", told)


if __name__ == "__main__":
    sys.exit(main())
