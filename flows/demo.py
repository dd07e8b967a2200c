"""The whole chain over the sandbox, in a lake of its own: what `make demo` runs."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

from flows.cli import main as orchestra
from flows.servers import UNTIL, free_port, plug_in, receive_all, sandbox


def main() -> int:
    """Serve the sandbox, run the chain, print what it did and what to type next; give the run's exit status."""
    folder = Path(sys.argv[1]).absolute()
    for name in [name for name in os.environ if name.startswith("ORCHESTRA_ENDPOINT")]:
        del os.environ[name]  # what a real lake reads
    until = os.environ.get("UNTIL", UNTIL)
    place = shown = os.environ.get("ORCHESTRA_LAKE", "")
    if place.startswith("s3://"):
        shown += f" ORCHESTRA_STATE={os.environ.setdefault('ORCHESTRA_STATE', str(folder / 'state'))}"
    else:
        os.environ.pop("ORCHESTRA_STATE", None)
        place = os.environ["ORCHESTRA_LAKE"] = str(folder)
        shown = os.path.relpath(place)
    os.environ["ORCHESTRA_LISTEN"] = f"127.0.0.1:{free_port()}"  # beside what a real lake receives
    with sandbox(until, folder / "planted.json") as url:
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


if __name__ == "__main__":
    sys.exit(main())
