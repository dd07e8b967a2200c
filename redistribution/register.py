"""The register of processing (GDPR, art. 30) is what the bricks declare and the journal holds, in French: nothing is typed twice."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion.brick import Brick
from ingestion.column import Column
from ingestion.disk import write_whole
from ingestion.journal import Journal
from ingestion.territory import Territory
from redistribution.mart import Mart

TEMPLATES = Path(__file__).with_name("templates")
PERIODS = {"minute": "minute", "hour": "heure", "day": "jour", "week": "semaine", "month": "mois", "year": "an"}
READERS = {
    "open": "tout public (données ouvertes)",
    "partner": "partenaires habilités",
    "internal": "agents de la collectivité",
    "restricted": "agents nommément habilités",
}
MARK = b'<meta name="generator" content="orchestra register">'  # what pages of ours hold
TO_SAY = "à compléter"
SECURITY = (
    "Les colonnes personnelles sont masquées avant d'être écrites : aucune de leurs valeurs n'entre en clair dans le lac, ni dans une "
    "ligne refusée, ni dans un journal. Les noms des fichiers lus sont remplacés par des empreintes à clé.",
    "La clé des pseudonymes vient de l'environnement, n'est écrite nulle part, et diffère par domaine : deux domaines ne se croisent pas.",
    "Chaque lecteur voit la classe d'accès qui lui est ouverte, et aucune au-dessus ; une classe relevée retire ce qui était publié.",
    "Chaque lecture, chaque refus et chaque décision d'un gestionnaire est une entrée du journal, que rien ne modifie.",
)


@dataclass(frozen=True)
class Processing:
    """What the register says of a brick: each field by its French name, a text or a list of texts; `unsaid` is what it cannot say."""

    brick: str
    title: str
    fields: dict[str, str | list[str]]
    unsaid: tuple[str, ...]


def processing_of(brick: Brick, territory: Territory, journal: Journal, marts: Sequence[Mart]) -> Processing:
    """Give what the register says of a brick with personal columns; `marts` are all that the project declares."""
    meta, unsaid = brick.meta, []

    def said(value: str | None, mend: str) -> str:
        if not value:
            unsaid.append(mend)
        return value or TO_SAY

    controller = territory.controller
    loads = journal.accepted(brick.name)
    columns = [(table.name, column) for table in brick.tables for column in table.columns]
    personal = [(table, column) for table, column in columns if column.masked_by]
    fed = [mart for mart in marts if brick.name in mart.sources]
    fields: dict[str, str | list[str]] = {
        "Référence": brick.name,
        "Responsable du traitement": said(controller.told if controller else None, "`controller` in territory.yml"),
        "Délégué à la protection des données": said(
            controller.data_protection_officer if controller else None, "`controller` in territory.yml"
        ),
        "Service gestionnaire": meta.steward,
        "Finalité": said(meta.purpose, f"`purpose` of brick {brick.name}"),
        "Politiques servies": [territory.use_cases[name].get("fr", name) for name in meta.use_cases],
        "Base légale": said(meta.legal_basis, f"`legal_basis` of brick {brick.name}"),
        "Analyse d'impact": said(meta.dpia_ref, f"`dpia_ref` of brick {brick.name}"),
        "Origine des données": meta.producer,
        "Catégories de personnes": [*meta.data_subjects] or said(None, f"`data_subjects` of brick {brick.name}"),
        "Catégories de données": [
            f"{table}.{column.name} : {_sentence(column.description)} {_kept(column, brick)}" for table, column in personal
        ],
        "Destinataires": [f"données masquées : {READERS[meta.access_class]}", *(_readers(mart) for mart in fed)],
        "Transferts hors de l'Union européenne": said(
            controller.transfers if controller else None, "`controller.transfers` in territory.yml"
        ),
        "Durée de conservation": _duration(meta.retention.count, meta.retention.period),
        "Mesures de sécurité": [*SECURITY],
        "Mise en œuvre": f"depuis le {loads[0]['read_at'][:10]}, dernière lecture le {loads[-1]['read_at'][:10]}"
        if loads
        else "aucune lecture",
        "État": {"candidate": "candidate", "tested": "à l'essai", "adopted": "adoptée", "retired": "retirée"}[meta.status],
    }
    return Processing(brick.name, meta.titles.get("fr") or meta.titles["en"], fields, tuple(dict.fromkeys(unsaid)))


def write_register(
    folder: Path, bricks: Iterable[Brick], territory: Territory, journal: Journal, marts: Sequence[Mart]
) -> tuple[list[Processing], list[Path]]:
    """Write the register into a folder: `index.html`, a page by processing, and `registre.csv`; give what it says, and the files.

    The CSV has a line a processing, separated by semicolons, as a spreadsheet of here opens it. Pages of bricks that are no
    processing any more go.
    """
    of_all = sorted(bricks, key=lambda brick: brick.name)
    told = [processing_of(brick, territory, journal, marts) for brick in of_all if brick.has_personal]
    others = [brick.meta.titles.get("fr") or brick.name for brick in of_all if not brick.has_personal]
    pages = {f"{each.brick}.html": _page("processing.html", territory, each=each) for each in told}
    pages["index.html"] = _page("register.html", territory, processings=told, others=others, as_of=journal.as_of())
    pages["registre.csv"] = _csv(told)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.html"):
        if path.name not in pages and MARK in path.read_bytes():
            path.unlink()
    for name, content in pages.items():
        write_whole(folder / name, content)
    return told, [folder / name for name in sorted(pages)]


def _kept(column: Column, brick: Brick) -> str:
    if column.meta.personal_paths:
        return f"Conservé, sauf {', '.join(column.meta.personal_paths)}."
    if column.meta.mask == "pseudonym":
        return f"Conservé : un pseudonyme (HMAC-SHA256 à clé, domaine {brick.meta.pseudonym_domain}), qui reste une donnée personnelle."
    if column.meta.mask == "zone":
        return f"Conservé : le code de la zone qui contient {' et '.join(column.meta.position or ())}, jamais la position."
    return "Rien n'en est conservé."


def _readers(mart: Mart) -> str:
    label = mart.labels.get("label", {}).get("fr") or mart.name
    lower = f", classe abaissée parce que : {mart.declassified_because}" if mart.declassified_because else ""
    return f"{label} ({mart.name}) : {READERS[mart.own_class]}{lower}"


def _duration(count: int, period: str) -> str:
    word = PERIODS[period]
    return f"{count} {word if count == 1 or word.endswith('s') else f'{word}s'} après la lecture, puis effacé (chaque semaine)"


def _sentence(text: str) -> str:
    return text if text.rstrip().endswith((".", "!", "?")) else f"{text}."


def _csv(told: Sequence[Processing]) -> bytes:
    out = io.StringIO()
    names = ["Traitement", *dict.fromkeys(name for each in told for name in each.fields)]
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(names)
    for each in told:
        writer.writerow([each.title, *(_cell(each.fields[name]) for name in names[1:])])
    return out.getvalue().encode("utf-8-sig")


def _cell(value: str | list[str]) -> str:
    text = "\n".join(value) if isinstance(value, list) else value
    # A spreadsheet runs what begins so.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _page(template: str, territory: Territory, **told: Any) -> bytes:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    context: Mapping[str, Any] = {"territory": territory.name, "to_say": TO_SAY, **told}
    return environment.get_template(template).render(context).encode()
