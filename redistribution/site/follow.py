"""The site follows the journal: it stores what it reached beside its pages, catches up, and can be thrown away."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ingestion.brick import Brick
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, Stored
from ingestion.published import WHOLE, standing
from ingestion.territory import Territory
from redistribution.mart import CLASSES, seen_by
from redistribution.site import Site, receipt
from redistribution.site.cards import Card, origin_of, read_cards
from redistribution.site.figures import Figures, Marts
from redistribution.site.linked import Download, Place, Standing
from redistribution.site.mark import MARK, read_mark, sha_of
from redistribution.site.pages import Pages
from redistribution.site.words import Language
from redistribution.withheld import still_withheld, withheld_since

log = logging.getLogger("orchestra")

MOST_CSV_ROWS = 200_000
WAIT = 600  # seconds that a run waits for another that writes the same site


def follow_site(
    lake: Lake,
    journal: Journal,
    access_class: str,
    manifest: dict[str, Any],
    bricks: Mapping[str, Brick],
    territory: Territory,
    tell: Callable[[str], None] = lambda name: None,
    *,
    is_thorough: bool = False,
) -> Site:
    """Bring the site of a class to the journal: take away what it may not show any more, then write the pages that differ.

    `is_thorough` reads each page again, and writes those that are not what they were. Raises LakeError when a mart's question
    cannot be answered, or the territory speaks a language that the site has no words in.
    """
    if access_class not in CLASSES:
        raise LakeError(f"'{access_class}' is no access class: {', '.join(CLASSES)}")
    with lake.lock("site", wait=WAIT):
        return _Following(lake, journal, access_class, manifest, bricks, territory, tell).follow(is_thorough=is_thorough)


class _Following:
    """One catching up of one site."""

    def __init__(
        self,
        lake: Lake,
        journal: Journal,
        access_class: str,
        manifest: dict[str, Any],
        bricks: Mapping[str, Brick],
        territory: Territory,
        tell: Callable[[str], None],
    ) -> None:
        self.tell = tell
        self.lake, self.journal, self.access_class, self.manifest, self.bricks = lake, journal, access_class, manifest, bricks
        self.folder = f"site/{access_class}"
        zones = Path(territory.zones) if territory.zones else self._draw_zones() if journal.is_synthetic else None
        of_zones = sha_of(zones.read_bytes()) if zones and zones.exists() else ""
        place_of_zones = str(zones) if zones else None
        are_made_up = bool(of_zones) and not territory.zones
        own = (territory.languages, territory.use_cases)
        self.place = Place(territory.name, access_class, *own, journal.is_synthetic, place_of_zones, of_zones, are_made_up)
        self.mark = read_mark(lake, journal, self.folder)
        self.site = Site(access_class, lake.path(self.folder, "index.html"))
        self.new: dict[str, tuple[str, str]] = {}
        self.known: dict[str, tuple[str, str]] = {}
        self.digests: dict[str, str | None] = {}
        self.sizes: dict[str, int] = {}

    def follow(self, *, is_thorough: bool) -> Site:
        """Catch up."""
        # On a real clock, what was on time yesterday may be late today.
        today = None if self.journal.is_synthetic else str(dt.datetime.now(dt.UTC).date())
        bricks = [repr(self.bricks[name]) for name in sorted(self.bricks)]
        made_with = _summed([code_digest(), repr(self.place), bricks, self._meta(), today])
        existing = {name.removeprefix(f"{self.folder}/"): stored for name, stored in self.lake.listing(self.folder).items()}
        self.sizes = {name: stored.size for name, stored in existing.items()}
        is_reached = (self.mark.seq, self.mark.digest, self.mark.made_with) == (self.journal.seq, self.journal.digests[-1], made_with)
        lost = self._lost(existing, is_thorough=is_thorough)
        if is_reached and not lost and existing.keys() - {MARK} == self.mark.files.keys():
            return self.site
        self.known = {name: told for name, told in self.mark.files.items() if name not in lost}
        cards = read_cards(self.manifest, self.bricks)
        shown = self._shown(cards)
        self._take_away(existing, shown)
        marts = Marts(self.lake, {name: list(each.record["files"].values()) for name, each in shown.items()})
        try:
            self._write(shown, cards, marts)
        finally:
            marts.close()
        told = {"seq": self.journal.seq, "digest": self.journal.digests[-1], "made_with": made_with, "files": self.new}
        if self.site.failures:
            told["made_with"] = ""  # tried again, and told again, until it is mended
        self._delete(sorted(existing.keys() - self.new.keys() - {MARK} - set(self.site.taken_away)))
        self.lake.replace(f"{self.folder}/{MARK}", json.dumps(told).encode())
        return self.site

    def _draw_zones(self) -> Path:
        """Draw the zones of a synthetic lake whose territory names none; give their file."""
        from ingestion.sandbox.zones import zones

        path = self.lake.state_path("zones.geojson")
        path.write_text(zones(), encoding="utf-8")
        return path

    def _meta(self) -> list[Any]:
        """Give what of the manifest a page shows: labels, grain and meta of the marts."""
        nodes = [node for node in self.manifest["nodes"].values() if node["resource_type"] == "model" and node["fqn"][1] == "marts"]
        told = [[n["name"], n["description"], n["config"]["meta"], n["config"].get("partition"), n["columns"]] for n in nodes]
        return sorted(told, key=lambda each: str(each[0]))

    def _lost(self, existing: Mapping[str, Stored], *, is_thorough: bool) -> set[str]:
        """Name the files that are gone, or are not what was written."""
        gone = self.mark.files.keys() - existing.keys()
        if not is_thorough:
            return set(gone)
        pages = {name: sha for name, (_, sha) in self.mark.files.items() if sha and name not in gone}
        return gone | {name for name, sha in pages.items() if sha_of(self.lake.read(f"{self.folder}/{name}") or b"") != sha}

    def _shown(self, cards: Mapping[str, Card]) -> dict[str, Standing]:
        """Give the published marts that the class sees, by name: those whose files stand, and that are no more closed today."""
        held, withheld = set(self.lake.listing("marts")), still_withheld(self.journal)
        since, visible = withheld_since(self.journal), seen_by(self.access_class)
        found = {}
        for name, (entry, record) in standing(self.journal.of("publication")).items():
            card = cards.get(name)
            if not card or record["class"] not in visible or card.access_class not in visible or not set(record["files"].values()) <= held:
                continue
            found[name] = Standing(
                card=card, record=self.journal.whole_mart(record), seq=entry["seq"], at=entry["at"], run_id=entry["run_id"],
                digest=self.journal.digests[entry["seq"]], is_late=self._is_late(card),
                withheld=(since[name], _reasons(withheld[name])) if name in withheld else None,
                refused=self._refused(card, entry["seq"]),
            )  # fmt: skip
        return dict(sorted(found.items()))

    def _is_late(self, card: Card) -> bool:
        """Say whether a source of a mart was last read longer ago than the mart's freshness allows, or its own where that is slower.

        A yearly referential makes no monthly mart late.
        """
        days = card.meta.get("freshness")
        if not isinstance(days, int | float):
            return False
        now = self.journal.as_of() if self.journal.is_synthetic else dt.datetime.now(dt.UTC).isoformat()
        for origin in card.origins:
            read = max((load["read_at"] for load in self.journal.accepted(origin.name)), default=None)
            own = self.bricks[origin.name].config.freshness.error_after.days
            if now and read and dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(read) > dt.timedelta(days=max(days, own)):
                return True
        return False

    def _refused(self, card: Card, seq: int) -> dict[str, tuple[int, int]]:
        """Count, by brick, the rows set aside and all the rows of the loads that the publication could see."""
        found = {}
        for origin in card.origins:
            records = [r for load in self.journal.accepted(origin.name) if load["seq"] <= seq for r in load["tables"].values()]
            found[origin.name] = (sum(r["refused"] for r in records), sum(r["refused"] + r["kept"] for r in records))
        return found

    def _take_away(self, existing: Mapping[str, Stored], shown: Mapping[str, Standing]) -> None:
        """Delete first what is of no mart that is shown, and the pages that would still speak of it."""
        of_site = {"index", "bricks", "runs"}
        gone = [name for name in sorted(existing) if name != MARK and mart_of(name) not in shown.keys() | of_site]
        if gone:
            gone += [name for name in sorted(existing) if mart_of(name) == "index"]
        self._delete(gone)

    def _delete(self, names: list[str]) -> None:
        self.lake.delete([f"{self.folder}/{name}" for name in names])
        self.site.taken_away += names
        for name in names:
            self.known.pop(name, None)

    def _write(self, shown: dict[str, Standing], cards: Mapping[str, Card], marts: Marts) -> None:
        pages = Pages(self.place)
        read: dict[str, Figures] = {}

        def figures(name: str) -> Figures:
            if name not in read:
                read[name] = marts.read(shown[name].card)
            return read[name]

        made_of: dict[str, str] = {}
        for name, told in list(shown.items()):
            before = set(self.new)
            try:
                made_of[name] = self._write_mart(pages, told, shown, marts, figures)
            except OSError:
                raise
            except Exception as error:  # one mart never stops the others; its pages go, rather than say what is no more
                log.debug("site of class %s, mart %s", self.access_class, name, exc_info=True)
                why = f"{type(error).__name__}: {error}".splitlines()[0]
                self.site.failures.append(f"site of class {self.access_class}: no page of mart {name}: {why}")
                self._delete([file for file in self.new if file not in before])
                self.new = {file: of for file, of in self.new.items() if file in before}
                del shown[name]
        self._of_site(pages, shown, cards, made_of, figures)

    def _write_mart(
        self, pages: Pages, told: Standing, shown: Mapping[str, Standing], marts: Marts, figures: Callable[[str], Figures]
    ) -> str:
        """Write the downloads, the receipt and the pages of a mart, those that differ; give what they are made of, summed up."""
        name, downloads = told.card.name, self._downloads(told, marts)
        each = dataclasses.replace(told, receipt=self._receipt(told))
        made_of = _summed([code_digest(), repr(self.place), repr(each), _read_by(each.card, shown)])
        for code, language in pages.languages.items():

            def page(language: Language = language) -> bytes:
                return pages.mart(language, each, figures(name), downloads)

            self._page(f"{code}/{name}.html", made_of, page)
        return made_of

    def _of_site(
        self,
        pages: Pages,
        shown: Mapping[str, Standing],
        cards: Mapping[str, Card],
        made_of: Mapping[str, str],
        figures: Callable[[str], Figures],
    ) -> None:
        """Write the home, the census and the loads."""
        since, visible = withheld_since(self.journal), seen_by(self.access_class)
        withheld = [
            (name, since[name], _reasons(record))
            for name, record in sorted(still_withheld(self.journal).items())
            if record["class"] in visible and (name not in cards or cards[name].access_class in visible)
        ]
        not_here = [card for card in cards.values() if card.access_class not in visible]
        told = {name for name, *_ in withheld} | standing(self.journal.of("publication")).keys()
        awaited = [card for name, card in cards.items() if card.access_class in visible and name not in told]
        loads = list(self.journal.loads().values())
        last = {name: max((load["read_at"] for load in self.journal.accepted(name)), default=None) for name in self.bricks}
        origins = [(origin_of(brick), last[name]) for name, brick in sorted(self.bricks.items()) if brick.meta.status != "retired"]
        titles = {name: origin_of(brick).title for name, brick in self.bricks.items()}
        not_yet = [(card, [origin for origin in card.origins if last.get(origin.name) is None]) for card in awaited]
        home = _summed([code_digest(), repr(self.place), made_of, repr(withheld), repr(not_here), repr(not_yet)])
        census = _summed([code_digest(), repr(self.place), repr(origins)])
        publications = [entry for entry in self.journal.of("publication") if "build" in entry]
        runs = _summed([code_digest(), repr(self.place), [each["seq"] for each in [*loads, *publications]], repr(titles)])
        for code, language in pages.languages.items():

            def at(*, is_root: bool, language: Language = language) -> bytes:
                told = [(each, figures(name)) for name, each in shown.items()]
                why = [(cards.get(name, name), at, reasons) for name, at, reasons in withheld]
                return pages.home(language, told, why, not_here, not_yet, is_root=is_root)

            if code == self.place.languages[0]:
                self._page("index.html", home, functools.partial(at, is_root=True))
            self._page(f"{code}/index.html", home, functools.partial(at, is_root=False))
            self._page(f"{code}/bricks.html", census, functools.partial(pages.bricks, language, origins))
            self._page(f"{code}/runs.html", runs, functools.partial(pages.runs, language, loads, titles, publications))

    def _page(self, name: str, made_of: str, render: Callable[[], bytes]) -> None:
        if self.known.get(name, ("", ""))[0] == made_of:
            self.new[name] = self.known[name]
            return
        self.tell(name)
        content = render()
        self.lake.replace(f"{self.folder}/{name}", content)
        self.new[name] = (made_of, sha_of(content))
        self.site.written.append(name)

    def _receipt(self, each: Standing) -> str | None:
        """Write the receipt of a mart; the one of a mart that is withheld since, or was not built again, stays as it is."""
        name = each.card.name
        href = f"receipts/{name}.json"
        known = self.known.get(href, ("", ""))
        made_of = _summed([code_digest(), receipt.made_of(self.journal, self.manifest, name, each.record)])
        if each.withheld and known[0]:
            made_of = known[0]
        if known[0] != made_of:
            if known[0]:
                self.digests |= json.loads(self.lake.read(f"{self.folder}/{href}") or b"{}").get("files", {})
            told = receipt.receipt_of(self.lake, self.journal, self.manifest, self.bricks, name, each.record, self.digests)
            if told is None:
                return None
            content = json.dumps(told, ensure_ascii=False).encode()
            self.lake.replace(f"{self.folder}/{href}", content)
            known = (made_of, sha_of(content))
            self.site.written.append(href)
        self.new[href] = known
        return href

    def _downloads(self, each: Standing, marts: Marts) -> list[Download]:
        """Lay beside the pages the files of a mart as they were published, and a CSV where it has not too many rows."""
        found, name = [], each.card.name
        for unit, file in sorted(each.record["files"].items()):
            href = f"data/{name}{'' if unit == WHOLE else f'/{unit}'}.parquet"
            if self.known.get(href, ("", ""))[0] != file:
                self.lake.link(file, f"{self.folder}/{href}")
                self.site.written.append(href)
            self.new[href] = (file, "")
            label = "Parquet" if unit == WHOLE else f"Parquet, {unit}"
            found.append(Download(href, label, each.record.get("sizes", {}).get(unit) or self.sizes.get(href, 0)))
        if each.record["row_count"] <= MOST_CSV_ROWS:
            href, made_of = f"data/{name}.csv", _summed([code_digest(), each.record["digests"], list(each.card.columns), each.card.grain])
            if self.known.get(href, ("", ""))[0] != made_of:
                with self.lake.workspace("site") as work:
                    marts.write_csv(each.card, str(work / "mart.csv"))
                    self.sizes[href] = self.lake.upload(work / "mart.csv", f"{self.folder}/{href}")
                self.site.written.append(href)
            self.new[href] = (made_of, "")
            found.insert(0, Download(href, "CSV", self.sizes[href]))
        return found


def _reasons(record: Mapping[str, Any]) -> str:
    """Give the first line of each reason: what follows in a library's message is for who mends it."""
    return "; ".join(reason.splitlines()[0] for reason in record["reasons"] if reason)


def _read_by(card: Card, shown: Mapping[str, Standing]) -> list[Any]:
    """Give the files of the other marts that the questions of a mart read."""
    asked = " ".join(str(question.get("sql", "")) for question in card.meta.get("questions") or ())
    return [each.record["files"] for name, each in shown.items() if re.search(rf"\b{name}\b", asked)]


def mart_of(name: str) -> str:
    """Name the mart that a file of a site is of; index, bricks or runs for the pages of the site itself."""
    parts = name.split("/")
    return parts[1].partition(".")[0] if len(parts) > 1 else name.partition(".")[0]


@functools.cache
def code_digest() -> str:
    """Sum up the code of the site, its words and its templates: another one makes every page again."""
    files = sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".yml", ".html", ".css", ".js"))
    return _summed([[path.name, sha_of(path.read_bytes())] for path in files])


def _summed(told: Any) -> str:
    return sha_of(json.dumps(told, sort_keys=True, default=str).encode())
