"""The pages as HTML, in one language: each is whole in itself (no request, no style or script but its own), and of a bounded size."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from redistribution.site import linked
from redistribution.site.cards import Card, Origin
from redistribution.site.figures import Figures
from redistribution.site.linked import Download, Place, Standing
from redistribution.site.mart_page import mart_page, mart_summary, questions_of
from redistribution.site.upkeep import builds_table, census_table, loads_table
from redistribution.site.values import meta_text
from redistribution.site.words import Language

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")
MOST_BYTES = 150_000  # of a page, downloads apart
ROWS_BYTES = 70_000  # of its longest table


class Pages:
    """Renders the pages of a site."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.languages = {code: Language(code) for code in place.languages}

    def render(self, name: str, language: Language, file: str, *, is_root: bool = False, **told: Any) -> bytes:
        """Render a template as a page of a language; the one at the root says the same as the home of the first language."""
        others = [other for other in self.languages.values() if other is not language]
        text = (
            _environment()
            .get_template(f"{name}.html")
            .render(
                l=language, file=file, others=others, languages=list(self.languages), territory=self.place.territory,
                access_class=self.place.access_class, is_synthetic=self.place.is_synthetic, root="" if is_root else "../",
                here=f"{language.code}/" if is_root else "", **_shared(), **told,
            )
        )  # fmt: skip
        return _with_words(language, text).encode()

    def mart(self, language: Language, standing: Standing, figures: Figures, downloads: Sequence[Download]) -> bytes:
        """Render the page of a mart; rows are left out until it is no larger than a page may be."""
        budget = ROWS_BYTES
        while True:
            content = self.render(
                "mart", language, f"{standing.card.name}.html", **mart_page(language, standing, figures, downloads, budget, self.place)
            )
            if len(content) <= MOST_BYTES or budget < 1000:
                return content
            budget = budget * 2 // 3

    def home(
        self,
        language: Language,
        shown: Sequence[tuple[Standing, Figures]],
        withheld: Sequence[tuple[Card | str, str, str]],
        not_here: Sequence[Card],
        not_yet: Sequence[tuple[Card, Sequence[Origin]]],
        *,
        is_root: bool = False,
    ) -> bytes:
        """Render the home: the policies that have a mart, their questions and figures, what is withheld, what is not shown.

        `not_yet` are the marts without rows so far, each with its sources that were never read.
        """
        policies: dict[str, dict[str, Any]] = {}
        for standing, figures in shown:
            card = standing.card
            label = self.place.use_cases.get(card.use_case) or {language.code: language("other_policy")}
            policy = policies.setdefault(card.use_case, {"name": card.use_case, "label": label, "cards": [], "questions": []})
            policy["cards"].append(mart_summary(language, standing, figures))
            policy["questions"] += questions_of(language, card, figures)
        told = [
            {
                "label": card.label if isinstance(card, Card) else {"en": card},
                "why": language("withheld_on", language.date(since), why),
            }
            for card, since, why in withheld
        ]
        absent = [
            {
                "label": card.label,
                "access_class": card.access_class,
                "why": meta_text(language, card, "reasons_not_open") or language("no_reason"),
            }
            for card in not_here
        ]
        awaited = []
        for card, unread in not_yet:
            titles = ", ".join(language.pick(origin.title) for origin in unread)
            awaited.append({"label": card.label, "why": language("not_read_yet", titles) if unread else language("no_row_yet")})
        return self.render(
            "home", language, "index.html", is_root=is_root, policies=list(policies.values()), withheld=told, not_here=absent,
            not_yet=awaited, linked=linked.catalogue(language, self.place, [standing for standing, _ in shown], is_root=is_root),
        )  # fmt: skip

    def bricks(self, language: Language, origins: Sequence[tuple[Origin, str | None]]) -> bytes:
        """Render the census; `origins` come with when they were last read."""
        return self.render("bricks", language, "bricks.html", **census_table(language, self.place, origins))

    def runs(
        self,
        language: Language,
        loads: Sequence[Mapping[str, Any]],
        titles: Mapping[str, Mapping[str, str]],
        publications: Sequence[Mapping[str, Any]],
    ) -> bytes:
        """Render the last loads and what they cost, and the builds that `publications` tell."""
        builds = builds_table(language, sorted(publications, key=lambda entry: -entry["seq"]))
        return self.render("runs", language, "runs.html", **loads_table(language, self.place, loads, titles), builds=builds)


def _with_words(language: Language, text: str) -> str:
    """Explain the words of the trade that a page uses, at its end; a link beside its title leads there."""
    said = re.sub(r"<(style|script)\b.*?</\1>|<code>.*?</code>|<[^>]*>", " ", text, flags=re.DOTALL)
    found = [
        (word.partition("|")[0], told)
        for word, told in language.words["glossary"].items()
        if re.search(rf"\b({word.replace(' / ', '|')})(?!h)", said)
    ]
    parts: Any = _environment().get_template("parts.html").module
    link, words = (parts.words_link(language), parts.words(language, found)) if found else ("", "")
    return text.replace("<!--words-link-->", str(link), 1).replace("<!--words-->", str(words), 1)


@functools.cache
def _shared() -> dict[str, Any]:
    css, js = ((TEMPLATES / name).read_text(encoding="utf-8").strip() for name in ("style.css", "page.js"))
    return {"css": Markup(css), "js": Markup(js), "css_hash": _hash(css), "js_hash": _hash(js)}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
