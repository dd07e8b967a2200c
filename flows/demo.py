"""The whole chain over the sandbox, in a lake of its own: what `make demo` runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def main() -> int:
    """Serve the sandbox, run the chain, print what it did and what to type next; give the run's exit status."""
    lake = Path(sys.argv[1]).absolute()
    until = os.environ.get("UNTIL", "2025-12-31")
    if os.environ.get("ORCHESTRA_LAKE", "").startswith("s3://"):
        place = os.environ["ORCHESTRA_LAKE"]
        os.environ.setdefault("ORCHESTRA_STATE", str(lake / "state"))
    else:
        place = os.environ["ORCHESTRA_LAKE"] = str(lake)
    with sandbox(until, lake / "planted.json") as url:
        print(f"A synthetic territory, until {until}, is served on {url}; the lake is {place}.\n", flush=True)
        os.environ["ORCHESTRA_ENDPOINT"] = url + "/{brick}"
        from flows.cli import main as orchestra

        status = orchestra(["run"])
    is_s3 = place.startswith("s3://")
    shown = f"{place} ORCHESTRA_STATE={os.environ['ORCHESTRA_STATE']}" if is_s3 else os.path.relpath(place)
    tomorrow = dt.date.fromisoformat(until) + dt.timedelta(days=1)
    orchestra_ = os.path.relpath(Path(sys.executable).parent / "orchestra")
    print(
        f"""
Everything above is synthetic. Next:
  export ORCHESTRA_LAKE={shown}
  {orchestra_} status                  what the lake holds
  {orchestra_} loads list              every load; `loads show <id>` tells its refused rows
  UNTIL={tomorrow} make demo                 one more day in the territory
  make up                                    the same with schedules and the Prefect UI"""
    )
    return status


@contextlib.contextmanager
def sandbox(until: str, key_file: Path, scale: float = 1.0) -> Iterator[str]:
    """Serve the sandbox in a process of its own, on a free port of 127.0.0.1; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key_file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "flows.cli", "sandbox", "serve", "--port", str(port), "--until", until, "--scale", str(scale)]
    process = subprocess.Popen([*command, "--key-file", str(key_file)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None:
                raise SystemExit(f"the sandbox ended with status {process.returncode}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
