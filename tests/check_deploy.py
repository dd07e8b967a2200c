"""Deployments: each cadence has one in prefect.yaml, and no template opens Prefect beyond its machine without a password."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from flows.cadence import CRONS, scheduled

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "deploy"
# As a shell, a list of JSON (`"--host", "0.0.0.0"`) or a list of names and values says it.
SAID = r"[\"']?(?:[ \t]*[:=,][ \t]*|\s+value[ \t]*:[ \t]*|[ \t]+)[\"']?"
BEYOND = re.compile(rf"(?:--host|API_HOST){SAID}(?!127\.0\.0\.1|localhost|::1)[^\s\"']+")
GUARDED = re.compile(rf"PREFECT_SERVER_API_AUTH_STRING(?:{SAID}[^\s\"']|\s+valueFrom[ \t]*:)")


def faults_of_deployments(cadences: Iterable[str]) -> list[str]:
    """Say which cadences no deployment of prefect.yaml reads."""
    told = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    read = {each.get("parameters", {}).get("cadence") for each in told["deployments"]}
    return [
        f'prefect.yaml: no deployment reads the bricks of cadence "{cadence}". Mend: add one like `daily`, with '
        f'parameters: {{cadence: "{cadence}"}} and cron: "{CRONS.get(cadence, cadence)}"'
        for cadence in sorted(set(cadences) - read)
    ]


def faults_of_template(name: str, text: str) -> list[str]:
    """Say that a template has Prefect answer beyond its machine without a password; its comments say nothing."""
    said = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = BEYOND.search(said)
    if not found or GUARDED.search(said):
        return []
    return [f"{name}: {found[0]} opens Prefect to whoever reaches it. Mend: keep to 127.0.0.1, or set PREFECT_SERVER_API_AUTH_STRING"]


def main() -> int:
    """Print what is wrong; give the exit status."""
    faults = faults_of_deployments(scheduled())
    for path in sorted(path for path in TEMPLATES.rglob("*") if path.is_file()):
        faults += faults_of_template(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    print("\n".join(faults) or "deployments: each cadence has one, and no template is open")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
