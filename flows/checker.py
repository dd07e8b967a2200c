"""What a contractor runs on a delivery: the engine's own landing, in a folder that goes, without lake, network or anything of HOME.

`flows.annex` packs it, as `__main__.py`, with the engine and one brick: before these are unpacked, only the standard library is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHOWN = 100  # refused rows of a table that are told, unless all are asked for as JSON


def main() -> int:
    """Judge a delivery; 0 where it is accepted without a refused row, 1 where not, 2 where it cannot be judged."""
    parser = argparse.ArgumentParser(description="Contrôle une livraison comme elle le sera à sa réception.")
    parser.add_argument("folder", type=Path, help="dossier qui contient les fichiers livrés, rangés comme le dit la clause")
    parser.add_argument("--json", action="store_true", help="résultat complet, en JSON")
    asked = parser.parse_args()
    if not asked.folder.is_dir():
        print(f"{asked.folder} n'est pas un dossier.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as work:
        with zipfile.ZipFile(sys.argv[0]) as packed:
            packed.extractall(work)
        sys.path.insert(0, work)
        told = json.loads(Path(work, "annex.json").read_text(encoding="utf-8"))
        for name in [name for name in os.environ if name.startswith("ORCHESTRA_")]:
            del os.environ[name]
        os.environ |= {
            "ORCHESTRA_LAKE": f"{work}/lake", "ORCHESTRA_STATE": f"{work}/state", "ORCHESTRA_TERRITORY": f"{work}/territory.yml",
            "ORCHESTRA_PSEUDONYM_KEY": secrets.token_hex(32), f"ORCHESTRA_ENDPOINT_{told['brick'].upper()}": str(asked.folder.resolve()),
        }  # fmt: skip
        try:
            found = judged(Path(work, "bricks", f"{told['brick']}.yml"), None if asked.json else SHOWN)
        except ModuleNotFoundError as error:
            print(f"Il manque {error.name} : python3.11 -m pip install {' '.join(told['packages'])}", file=sys.stderr)
            return 2
    print(json.dumps(found, ensure_ascii=False, indent=1) if asked.json else as_text(found))
    is_clean = found["verdict"] == "accepted" and not any(table["refused"] or table["files"] for table in found["tables"].values())
    return 0 if is_clean else 1


def judged(path: Path, limit: int | None) -> dict[str, Any]:
    """Land what was delivered by a brick's YAML, in the lake of the environment; give the verdict, and the refused rows by table."""
    from expectations.gate import judge_load
    from expectations.suite import judged_by
    from ingestion.census import read_brick
    from ingestion.connectors import SourceError
    from ingestion.journal import Journal
    from ingestion.lake import Lake
    from ingestion.landing import land_brick
    from ingestion.steward import refused_rows

    lake, brick = Lake(), read_brick(path)
    journal = Journal(lake)
    try:
        entry = land_brick(lake, journal, brick, "check", judge_load, judged_by=judged_by(f"landed/{brick.name}.yml")).entry
    except SourceError as error:
        return {"verdict": "unreadable", "reasons": [_in_clear(lake, brick)(str(error))], "tables": {}}
    if entry is None:
        return {"verdict": "unreadable", "reasons": ["the delivery holds nothing"], "tables": {}}
    clear = _in_clear(lake, brick)
    tables = {
        name: {
            "kept": record["kept"],
            "refused": record["refused"],
            "files": [[clear(file), clear(why)] for file, why in record["refused_files"]],
            "rows": [{**row, "file": clear(row["file"])} for row in rows],
        }
        for (name, record), rows in zip(entry["tables"].items(), refused_rows(lake, entry, limit or sys.maxsize).values(), strict=True)
    }
    return {"verdict": entry["verdict"], "reasons": [clear(reason) for reason in entry["reasons"]], "tables": tables}


def _in_clear(lake: Any, brick: Any) -> Callable[[str], str]:
    """Give what tells who delivers the names of the files, which a reception tells by digests where they may name persons."""
    from ingestion.brick import endpoint_of
    from ingestion.keyed import NAMES, names_by, secret_of

    if not brick.has_personal:
        return str
    called, parts = names_by(secret_of(lake, NAMES)), set[str]()
    for path in Path(endpoint_of(brick)).rglob("*"):
        parts.add(path.name)
        if zipfile.is_zipfile(path):
            with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as packed:
                parts |= {part for name in packed.namelist() for part in name.split("/")}
    names = {called(part): part for part in parts if part}
    return lambda text: re.sub("[0-9a-f]{16}", lambda found: names.get(found[0], found[0]), text)


def as_text(found: dict[str, Any]) -> str:
    """Tell a verdict to who delivers; reasons are in the words of the reception."""
    verdicts = {"accepted": "ACCEPTÉE", "refused": "REFUSÉE", "unreadable": "ILLISIBLE"}
    told = [f"Livraison {verdicts[found['verdict']]}", *(f"  motif : {reason}" for reason in found["reasons"])]
    for name, table in found["tables"].items():
        told.append(f"{name} : {table['kept']} ligne(s) acceptée(s), {table['refused']} refusée(s)")
        told += [f"  fichier {file} refusé : {why}" for file, why in table["files"]]
        told += [f"  {row['file']}, ligne {row.get('line') or row['row']} : {row['reason']}" for row in table["rows"]]
        if table["refused"] > len(table["rows"]):
            told.append(f"  … et {table['refused'] - len(table['rows'])} autres (--json les donne toutes)")
    return "\n".join(told)


if __name__ == "__main__":
    sys.exit(main())
