"""What `orchestra up` keeps running: the Prefect server with its UI, every schedule served, the sandbox when no brick is plugged in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ingestion.brick import read_territory
from ingestion.lake import PROJECT, Lake, LakeError

PORT = 4200


def serve() -> None:
    """Start the Prefect server on 127.0.0.1 and serve every schedule until Ctrl-C, which stops all of it.

    Without any ORCHESTRA_ENDPOINT in the environment, the sandbox is served too, over the lake of the demo.
    """
    from flows.demo import sandbox

    with contextlib.ExitStack() as stack:
        if not any(name.startswith("ORCHESTRA_ENDPOINT") for name in os.environ):
            folder = PROJECT / "lake" / "demo"
            url = stack.enter_context(sandbox(os.environ.get("UNTIL", "2025-12-31"), folder / "planted.json"))
            os.environ["ORCHESTRA_ENDPOINT"] = url + "/{brick}"
            os.environ.setdefault("ORCHESTRA_LAKE", str(folder))
            print(f"No ORCHESTRA_ENDPOINT is set: a synthetic territory is served on {url}, its lake is {os.environ['ORCHESTRA_LAKE']}.")
        api = stack.enter_context(_server(Lake()))
        from flows.schedule import serve_deployments  # Prefect reads its settings when it is imported

        print(f"{read_territory().name}: Prefect UI on {api.removesuffix('/api')}; Ctrl-C stops all of it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve_deployments()


@contextlib.contextmanager
def _server(lake: Lake) -> Iterator[str]:
    """Run a Prefect server of this lake's own; give the address of its API."""
    port = int(os.environ.get("ORCHESTRA_PREFECT_PORT", PORT))
    api = f"http://127.0.0.1:{port}/api"
    home = lake.state_path("prefect", "x").parent
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    os.environ.update(settings)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = lake.state_path("logs", "prefect-server.log")
    with Path(log).open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait_for(f"{api}/health", process, log)
            yield api
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            raise LakeError(f"the Prefect server ended with status {process.returncode}: see {log}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise LakeError(f"the Prefect server did not answer on {url}: see {log}")
