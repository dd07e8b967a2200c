"""What a page says to machines: JSON-LD in the words of schema.org, and of DCAT where schema.org has none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from redistribution.site.cards import Card
from redistribution.site.words import Language

if TYPE_CHECKING:
    from redistribution.site.figures import Figures

CONTEXT = {"@vocab": "https://schema.org/", "dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/"}
AUTHORITY = "http://publications.europa.eu/resource/authority"
RIGHTS = {"open": "PUBLIC", "partner": "RESTRICTED", "internal": "NON_PUBLIC", "restricted": "NON_PUBLIC"}
LANGUAGES = {"fr": "FRA", "en": "ENG"}
THEMES = {"energy": "ENER", "resources": "ENVI", "health": "HEAL", "climate": "ENVI"}
LICENCES = {
    "etalab-2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/", "odbl-1.0": "https://opendatacommons.org/licenses/odbl/1-0/",
}  # fmt: skip
TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True)
class Place:
    """Where a page stands: of which site, and what all pages of it say."""

    territory: str
    access_class: str
    languages: tuple[str, ...]
    use_cases: Mapping[str, Mapping[str, str]]  # their titles, by language
    is_synthetic: bool
    zones: str | None = field(default=None, repr=False)  # where they stand says nothing of what they are
    zones_digest: str = ""
    are_zones_made_up: bool = False


@dataclass(frozen=True)
class Standing:
    """What is published of a mart, and what is said of it."""

    card: Card
    record: Mapping[str, Any]
    seq: int
    at: str
    run_id: str
    digest: str
    is_late: bool
    withheld: tuple[str, str] | None  # since when, and why
    refused: Mapping[str, tuple[int, int]]  # by brick: rows set aside, and rows of its sources
    receipt: str | None = None


@dataclass(frozen=True)
class Download:
    """A file that a page offers."""

    href: str
    label: str
    size: int

    @property
    def name(self) -> str:
        """The name under which a reader keeps it; its folder, of a mart of several files, is a part of it."""
        return self.href.removeprefix("data/").replace("/", "-")


def dataset(language: Language, place: Place, standing: Standing, figures: Figures, downloads: Sequence[Download]) -> Markup:
    """Describe a mart as a dataset: what it is, who may see it, when it was published, what it measures, its files."""
    card = standing.card
    told = _of_card(language, place, standing)
    told |= {
        "@context": CONTEXT,
        "includedInDataCatalog": {"@type": "DataCatalog", "url": "index.html", "name": place.territory},
        "variableMeasured": [_variable(language, card, name) for name, column in card.columns.items() if column.nature],
        "distribution": [
            {
                "@type": ["DataDownload", "dcat:Distribution"], "contentUrl": f"../{each.href}", "name": each.label,
                "encodingFormat": TYPES[each.href.rpartition(".")[2]], "contentSize": f"{each.size} B",
            }
            for each in downloads
        ],
        "isBasedOn": [
            {"@type": "Dataset", "name": language.pick(each.title), "creator": _body(each.producer), "license": each.licence}
            for each in card.origins
        ],
    }  # fmt: skip
    if figures.until is not None:
        first, last = figures.since, figures.until
        told["temporalCoverage"] = f"{first}/{last}" if isinstance(last, int) else f"{str(first)[:7]}/{str(last)[:7]}"
    if theme := THEMES.get(card.use_case):
        told["dcat:theme"] = {"@id": f"{AUTHORITY}/data-theme/{theme}"}
    return _written(told)


def catalogue(language: Language, place: Place, standings: Sequence[Standing], *, is_root: bool) -> Markup:
    """Describe the site as a catalogue of its marts."""
    here = f"{language.code}/" if is_root else ""
    told = {
        "@context": CONTEXT, "@type": ["DataCatalog", "dcat:Catalog"], "name": language("site_title"),
        "description": _synthetic(language, place, language("site_lede")), "inLanguage": language.code,
        "publisher": _body(place.territory), "spatialCoverage": {"@type": "Place", "name": place.territory},
        "dataset": [_of_card(language, place, each) | {"url": f"{here}{each.card.name}.html"} for each in standings],
    }  # fmt: skip
    return _written(told)


def _of_card(language: Language, place: Place, standing: Standing) -> dict[str, Any]:
    card = standing.card
    told: dict[str, Any] = {
        "@type": ["Dataset", "dcat:Dataset"], "identifier": card.name, "name": language.pick(card.label),
        "description": _synthetic(language, place, language.pick(card.description)), "inLanguage": language.code,
        "dct:language": {"@id": f"{AUTHORITY}/language/{LANGUAGES.get(language.code, 'MUL')}"},
        "publisher": _body(place.territory),
        "spatialCoverage": {"@type": "Place", "name": place.territory}, "dateModified": standing.at, "version": str(standing.seq),
        "isAccessibleForFree": card.is_open, "dct:accessRights": {"@id": f"{AUTHORITY}/access-right/{RIGHTS[card.access_class]}"},
    }  # fmt: skip
    # Made of sources of several licences, a mart has none of them.
    licences = {LICENCES.get(origin.licence, origin.licence) for origin in card.origins}
    return told | ({"license": licences.pop()} if len(licences) == 1 and card.is_open else {})


def _variable(language: Language, card: Card, name: str) -> dict[str, Any]:
    column = card.columns[name]
    told = {"@type": "PropertyValue", "propertyID": name, "name": language.pick(column.label)}
    if column.unit and not card.tells_unit(column.unit):
        told["unitText"] = language.pick(card.units.get(column.unit, {"en": column.unit}))
    return told


def _body(name: str) -> dict[str, str]:
    return {"@type": "Organization", "name": name}


def _synthetic(language: Language, place: Place, text: str) -> str:
    return f"{text} {language('synthetic')}" if place.is_synthetic else text


def _written(told: Mapping[str, Any]) -> Markup:
    """Write JSON that no HTML ends or opens."""
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(f'<script type="application/ld+json">{text}</script>')
