"""The annex of a tender, from a brick's YAML: the French clause, and the checker that a contractor runs before delivering."""

from __future__ import annotations

import json
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands import Misuse

if TYPE_CHECKING:
    from ingestion.brick import Brick, Table
    from ingestion.column import Column

# What the engine's landing and gate import, of which pip brings the rest.
PACKAGES = (
    "cronsim", "dlt", "duckdb", "duckdb-engine", "duckdb-extension-spatial", "great-expectations", "markupsafe", "msgspec", "numpy",
    "py7zr", "pyarrow", "pydantic", "pyogrio", "python-calamine", "pyyaml", "s3fs", "simplejson", "sqlalchemy", "urllib3",
    "xlrd",
)  # fmt: skip
TYPES = {
    "string": "texte", "bigint": "nombre entier", "double": "nombre décimal", "boolean": "booléen", "date": "date",
    "timestamptz": "date et heure", "json": "JSON",
}  # fmt: skip
CADENCES = {
    "hourly": "toutes les heures",
    "daily": "tous les jours",
    "weekly": "toutes les semaines",
    "monthly": "tous les mois",
}
REFUSALS = """\
Une ligne est refusée, avec son motif, si une valeur obligatoire manque, si une valeur n'est pas du type ou de la forme annoncés, ou si elle
sort des bornes. Un fichier est refusé s'il est incomplet, illisible, ou si une colonne non facultative lui manque.

La livraison entière est refusée si un fichier qu'elle doit contenir est refusé ou absent, ou si l'un des seuils de réception suivants n'est
pas respecté :"""
CHECK = """\
Avant chaque livraison, le titulaire exécute, sans connexion, le programme de contrôle `{checker}` joint au marché, et ne livre
que ce qu'il accepte. Ce programme applique les règles mêmes de la réception : il donne le même verdict et les mêmes lignes
refusées que pour une première livraison ; les seuils qui comparent à ce qui précède ne s'appliquent qu'à la réception. Il demande
Python 3.11 et, une seule fois, l'installation suivante :"""
LEFT_OUT = ("sandbox", "bricks", "trial", "__pycache__")


def annex(name: str, /, *, folder: Path = Path()) -> None:
    """Write the clause of a tender and the checker of a brick of files.

    Args:
        name: the brick
        folder: where both are written
    """
    from flows.bricks import named
    from ingestion.brick import Brick

    brick = named(name)
    if not isinstance(brick, Brick) or brick.config.meta.connector != "files":
        raise Misuse(f"'{name}' is not delivered as files: a clause of delivery, and a checker, are of bricks whose connector is `files`")
    of_others = [column.name for table in brick.tables for column in table.columns if column.config.meta.mask == "zone"]
    if of_others or any(table.config.meta.options.get("outlines") for table in brick.tables):
        raise Misuse(
            f"'{name}' is judged with the territory's own outlines ({', '.join(of_others) or 'GeoTIFF'}), which no checker holds yet"
        )
    folder.mkdir(parents=True, exist_ok=True)
    clause, checker = folder / f"annexe_{name}.md", folder / f"controle_{name}.pyz"
    write_checker(brick, checker)
    clause.write_text(clause_of(brick, checker.name), encoding="utf-8")
    print(f"{clause}\n{checker}")


def packages() -> list[str]:
    """Give what the checker needs of PyPI, in the versions that judge here."""
    return [f"{name}=={version(name)}" for name in PACKAGES]


def write_checker(brick: Brick, path: Path) -> None:
    """Pack the engine's landing and gate with one brick; neither its endpoint nor how it is let in, nor the sandbox, is in it."""
    import yaml

    from expectations.suite import place
    from ingestion.census import folder_of_bricks
    from ingestion.lake import PROJECT

    [source] = folder_of_bricks().glob(f"{brick.name}.y*ml")
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    meta = document["sources"][0]["config"]["meta"]
    meta |= {"endpoint": None, "endpoint_reason": "Delivered by a contractor."}
    meta.pop("options", None)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(Path(__file__).with_name("checker.py"), "__main__.py")
        packed.writestr("annex.json", json.dumps({"brick": brick.name, "packages": packages()}))
        packed.writestr(f"bricks/{brick.name}.yml", yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
        packed.write(os.environ.get("ORCHESTRA_TERRITORY", PROJECT / "territory.yml"), "territory.yml")
        for room in ("ingestion", "expectations"):
            for module in sorted((PROJECT / room).rglob("*.py")):
                inside = module.relative_to(PROJECT)
                if not set(inside.parts) & set(LEFT_OUT):
                    packed.write(module, inside.as_posix())
        if (suite := place(f"landed/{brick.name}.yml")).exists():
            packed.write(suite, f"expectations/landed/{brick.name}.yml")


def clause_of(brick: Brick, checker: str) -> str:
    """Write the clause, in French."""
    meta = brick.config.meta
    personal = [f"`{table.name}.{column.name}`" for table in brick.tables for column in table.columns if column.config.meta.personal]
    cadence = CADENCES.get(str(meta.cadence), f"selon l'expression cron `{meta.cadence}`")
    held = (
        f"La livraison contient des données à caractère personnel ({', '.join(personal)}). Le titulaire les transmet par un canal chiffré, "
        f"aux seules fins suivantes : {meta.purpose} (base légale : {meta.legal_basis}). Aucune autre colonne n'en contient."
        if personal
        else "La livraison ne contient aucune donnée à caractère personnel."
    )
    lines = [
        f"# Livraison des données « {meta.titles['fr']} »",
        "",
        "## 1. Objet",
        f"Le titulaire livre les données décrites ci-dessous (producteur : {meta.producer}) {cadence}, sous la licence `{meta.licence}`.",
        "",
        *(line for number, table in enumerate(brick.tables, 2) for line in _table_of(number, table)),
        f"## {len(brick.tables) + 2}. Données à caractère personnel",
        held,
        "",
        f"## {len(brick.tables) + 3}. Contrôle et refus",
        REFUSALS,
        "",
        _thresholds(brick),
        "",
        CHECK.format(checker=checker),
        "",
        "```sh",
        f"python3.11 -m pip install {' '.join(packages())}",
        f"python3.11 {checker} DOSSIER_DE_LA_LIVRAISON",
        "```",
        "",
    ]
    return "\n".join(lines).replace(" :", "\u00a0:").replace(" ;", "\u00a0;").replace("« ", "«\u00a0").replace(" »", "\u00a0»")


def _thresholds(brick: Brick) -> str:
    """Tell the thresholds of the landed gate, and what the brick's own file of expectations adds."""
    from expectations.suite import LANDED, place

    limits: dict[str, Any] = dict(LANDED)
    least, most = limits["volume"]
    told = [
        f"au plus {limits['refused_share']:.0%} de lignes refusées",
        f"au moins {limits['key_share']:.0%} de clés distinctes parmi les lignes",
        f"au plus {limits['future_share']:.0%} de lignes datées après la réception",
        f"au plus {limits['garbled_share']:.0%} de lignes dont un texte est dans un autre encodage que celui annoncé",
        f"un nombre de lignes compris entre {least:g} et {most:g} fois celui des livraisons précédentes".replace(".", ","),
        f"au moins {limits['coverage']:.0%} des valeurs de la première colonne de la clé présentes auparavant",
    ]
    lines = [f"- {each} ;".replace("%", "\u00a0%") for each in told]
    lines[-1] = lines[-1].removesuffix(" ;") + "."
    own = place(f"landed/{brick.name}.yml")
    if own.exists():
        lines += ["", "Les seuils et les règles suivants, propres à ces données, s'y ajoutent ou les remplacent :", ""]
        said = [line for line in own.read_text(encoding="utf-8").strip().splitlines() if not line.startswith("# yaml-language-server")]
        lines += ["```yaml", *said, "```"]
    return "\n".join(lines)


def _table_of(number: int, table: Table) -> list[str]:
    meta = table.config.meta
    options: dict[str, Any] = dict(meta.options)
    kinds = {
        "encoding": "encodage", "separator": "séparateur", "quote": "guillemet", "decimal": "séparateur décimal",
        "thousands": "séparateur de milliers", "null_values": "valeurs manquantes", "header": "ligne d'en-tête", "skip": "lignes à sauter",
    }  # fmt: skip
    told = {"encoding": "UTF-8"} | {name: options[name] for name in kinds if name in options}
    delivers = "la totalité des données" if meta.delivers == "whole" else "les lignes nouvelles ou modifiées"
    return [
        f"## {number}. Table `{table.name}`",
        f"- Fichiers : `{options['path']}`, au format {str(options['format']).upper()}.",
        *(f"- {kinds[name].capitalize()} : `{value}`." for name, value in told.items()),
        f"- Chaque livraison contient {delivers}.",
        f"- Clé, qui désigne une ligne et une seule : {', '.join(f'`{name}`' for name in meta.key)}.",
        f"- Heures sans fuseau : `{meta.time_zone}`." + (f" Coordonnées : `{meta.crs}`." if meta.crs else ""),
        "",
        "| colonne | type | règles | description |",
        "|---|---|---|---|",
        *(_column_of(column, column.name in meta.key) for column in table.columns),
        "",
    ]


def _column_of(column: Column, is_key: bool) -> str:
    meta = column.config.meta
    low, high = meta.between or (None, None)
    rules = [
        "obligatoire" if meta.required or is_key else "",
        "colonne facultative" if meta.optional else "",
        f"format `{meta.format}`" if meta.format else "",
        f"au moins {low}" if low is not None else "",
        f"au plus {high}" if high is not None else "",
        f"forme `{meta.pattern}`" if meta.pattern else "",
        f"unité : {meta.unit}" if meta.unit else "",
        "donnée à caractère personnel" if meta.personal else "",
    ]
    written = ", ".join(filter(None, rules)).replace("|", r"\|")
    described = column.description.replace("|", r"\|")
    return f"| `{column.name}` | {TYPES[column.data_type]} | {written} | {described} |"
