"""RDF (RDF/XML, Turtle, JSON-LD) that was read from a page, and the datasets of DCAT that it tells of; nothing is fetched for it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ingestion.connectors.answers import NoAnswer, members_of
from ingestion.connectors.catalog import Offer, Resource, read_by, whole_number, written
from ingestion.connectors.contexts import KNOWN

if TYPE_CHECKING:
    from rdflib import Graph

DCAT, DCT, HYDRA = "http://www.w3.org/ns/dcat#", "http://purl.org/dc/terms/", "http://www.w3.org/ns/hydra/core#"
FOAF, RDFS, SKOS = "http://xmlns.com/foaf/0.1/", "http://www.w3.org/2000/01/rdf-schema#", "http://www.w3.org/2004/02/skos/core#"
RDF, VCARD, SPDX = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/2006/vcard/ns#", "http://spdx.org/rdf/terms#"
SCHEMA, LOCN, ADMS = "http://schema.org/", "http://www.w3.org/ns/locn#", "http://www.w3.org/ns/adms#"
# What a thing is called, the first of them that it has.
NAMES = (
    f"{FOAF}name",
    f"{SKOS}prefLabel",
    f"{RDFS}label",
    f"{DCT}title",
    f"{VCARD}fn",
    f"{VCARD}organization-name",
    f"{SCHEMA}name",
    f"{RDF}value",
)
PERSONS = (f"{FOAF}Person", f"{VCARD}Individual", f"{SCHEMA}Person")
DATASETS = (f"{DCAT}Dataset", f"{DCAT}DatasetSeries")
# A document is held in memory as triples, some twenty times what it is written in.
LONGEST = 32 << 20
ENTITIES = re.compile(rb"<!ENTITY\s+(?:%\s*)?[\w.:-]+\s+(?:SYSTEM|PUBLIC|\"[^\"]*[&%]|'[^']*[&%])")


def form_of(body: bytes) -> str:
    """Give the form of a document by its beginning: `json-ld`, `xml` or `turtle`; raises NoAnswer for a page of HTML."""
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if re.match(rb"(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html)\b", start):
        raise NoAnswer("answers a page of HTML where RDF is expected")
    if start.startswith(b"{") or re.match(rb"\[\s*[{\]]", start):
        return "json-ld"
    return "xml" if re.match(rb"<[?!a-z]", start) and not re.match(rb"<[a-z][a-z0-9+.-]*:[^\s>]*>\s", start) else "turtle"


def graph_of(body: bytes, form: str, base: str) -> Graph:
    """Parse a document, whole; raises NoAnswer, in words, for one that is not what it should be anywhere in it."""
    import rdflib

    if len(body) > LONGEST:
        raise NoAnswer(f"answers more than {LONGEST >> 20} MB of RDF at once: ask for its pages", 400)
    if form == "xml" and re.search(rb"<(?:\w+:)?MD_Metadata\b", body[:4096]) and b"RDF" not in body[:4096]:
        raise NoAnswer("is a record of ISO 19139, and no RDF: connector `csw` reads those of a server", 400)
    if form == "xml" and ENTITIES.search(body):
        raise NoAnswer("holds entities that are made of others, or of other files, which are not read", 400)
    if form == "json-ld":
        body = _with_contexts(body)
    logging.getLogger("rdflib").setLevel(logging.CRITICAL)  # a literal that is none is one still
    rdflib.NORMALIZE_LITERALS = False  # what is written stays: 01 is no 1
    graph = rdflib.Dataset(default_union=True)  # what stands in a named graph counts as well
    try:
        graph.parse(data=body, format=form, publicID=base or "urn:x:")
    except Exception as error:  # what a parser meets, whatever its kind
        told = " ".join(str(error).split())
        place = re.search(r"at line (\d+) of", told) or re.search(r"unknown:(\d+):\d+|^.*:(\d+):\d+: ", told)
        line = next(filter(None, place.groups()), None) if place else None
        raise NoAnswer(
            f"answers what is no whole document of {form}" + (f", as of line {line}" if line else ""), quoted=told[:200]
        ) from None
    return graph


def _with_contexts(body: bytes) -> bytes:
    """Put the contexts that are known by heart in the place of their addresses; raises NoAnswer for another: none is fetched."""
    members_of(body)  # which may say that it is an error, or be cut

    def known(context: Any) -> Any:
        if isinstance(context, list):
            return [known(each) for each in context]
        if isinstance(context, dict):
            if "@import" in context:
                known(str(context["@import"]))
            return {name: (opened(value) if isinstance(value, dict) else value) for name, value in context.items() if name != "@import"}
        if not isinstance(context, str):
            return context
        if (own := KNOWN.get(re.sub(r"^https?://(?:www\.)?|/$", "", context))) is None:
            told = f"is to be read by a context of the network ({context[:100]}), which is not fetched"
            raise NoAnswer(f"{told}: its words mean nothing without it", 400)
        return own

    def opened(value: Any) -> Any:
        if isinstance(value, list):
            return [opened(each) for each in value]
        if isinstance(value, dict):
            return {name: known(each) if name == "@context" else opened(each) for name, each in value.items()}
        return value

    try:
        return json.dumps(opened(json.loads(body.removeprefix(b"\xef\xbb\xbf"), parse_float=str))).encode()
    except (ValueError, RecursionError) as error:
        if isinstance(error, NoAnswer):
            raise
        raise NoAnswer(f"answers what is no JSON ({error})") from None


def offers_in(graph: Graph, language: str = "fr", *, services: bool = False) -> list[Offer]:
    """Give the datasets that a graph tells of, and its services too; always in the same order. Raises NoAnswer where it is no catalogue."""
    from rdflib import URIRef

    kinds = (*DATASETS, *((f"{DCAT}DataService",) if services else ()))
    found = {subject: kind for kind in kinds for subject in graph.subjects(URIRef(f"{RDF}type"), URIRef(kind))}
    # What a catalogue calls its dataset is one, if it says so itself or not.
    found |= {
        each: DATASETS[0] for each in graph.objects(None, URIRef(f"{DCAT}dataset")) if each not in found and (each, None, None) in graph
    }
    if not found and not any((None, URIRef(f"{RDF}type"), URIRef(kind)) in graph for kind in (f"{DCAT}Catalog", f"{HYDRA}PagedCollection")):
        raise NoAnswer("holds neither a dcat:Catalog nor a dcat:Dataset", 400)
    told = [_Node(graph, subject, language).offer(kind.rpartition("#")[2]) for subject, kind in found.items()]
    return sorted(told, key=lambda each: (each.id, written([each])))


def undescribed(graph: Graph) -> list[str]:
    """Give the datasets that a catalogue names, and of which its document tells nothing."""
    from rdflib import URIRef

    return sorted(str(each) for each in set(graph.objects(None, URIRef(f"{DCAT}dataset"))) if (each, None, None) not in graph)


def followed_by(graph: Graph) -> tuple[list[str], set[int]]:
    """Give the addresses of the pages that follow, by Hydra, and the numbers of items that are announced."""
    from rdflib import URIRef

    links = {str(link).strip() for name in ("next", "nextPage") for link in graph.objects(None, URIRef(HYDRA + name))}
    totals = {whole_number(str(each)) for each in graph.objects(None, URIRef(f"{HYDRA}totalItems"))}
    return sorted(links), {each for each in totals if each is not None}


class _Node:
    """A subject of a graph, by what it says."""

    def __init__(self, graph: Graph, subject: Any, language: str) -> None:
        self.graph, self.subject, self.language = graph, subject, language

    def all(self, *names: str) -> list[Any]:
        """Give the objects of the first property that has some, in one order."""
        from rdflib import URIRef

        for name in names:
            if found := set(self.graph.objects(self.subject, URIRef(name))):
                return sorted(found, key=lambda each: (str(type(each)), str(each)))
        return []

    def nodes(self, *names: str) -> list[_Node]:
        return [_Node(self.graph, each, self.language) for each in self.all(*names)]

    def is_a(self, *kinds: str) -> bool:
        return any(str(each) in kinds for each in self.all(f"{RDF}type"))

    def text(self, *names: str) -> str | None:
        """Give a literal in the language that is asked for, else in none, in English, in any."""
        by_language = self.texts(*names)
        order = (self.language, "", "en", *sorted(by_language))
        return next((by_language[each] for each in order if each in by_language), None)

    def texts(self, *names: str) -> dict[str, str]:
        """Give literals by their language, of several in one the first."""
        from rdflib import BNode

        told: dict[str, str] = {}
        for each in self.all(*names):
            if not isinstance(each, BNode) and (value := str(each).strip()):
                told.setdefault(str(getattr(each, "language", None) or "").lower(), value)
        return told

    def label(self) -> str | None:
        """Give what a thing is called: itself where it is a text, its name where the graph tells it, else its address."""
        from rdflib import BNode, Literal

        if isinstance(self.subject, Literal):
            return str(self.subject).strip() or None
        return self.text(*NAMES) or (None if isinstance(self.subject, BNode) else str(self.subject))

    def address(self) -> str | None:
        """Give the address of a thing, or what it is called where it has none."""
        from rdflib import BNode

        return self.label() if isinstance(self.subject, BNode) else str(self.subject).strip() or None

    def labels(self, *names: str) -> tuple[str, ...]:
        """Give what things are called, in one order: what has no name of its own is told by a parser in any."""
        return tuple(sorted({name for each in self.nodes(*names) if (name := each.label())}))

    def one(self, *names: str) -> str | None:
        return min(filter(None, (each.address() for each in self.nodes(*names))), default=None)

    def offer(self, kind: str) -> Offer:
        """Give what a dataset tells of itself."""
        from rdflib import URIRef

        resources = tuple(sorted((each for node in self.nodes(f"{DCAT}distribution") for each in node.resources()), key=_in_order))
        licences = {each.licence for each in resources}
        own = self.one(f"{DCT}license")
        organisations = [[each.label() for each in self.nodes(DCT + name) if not each.is_a(*PERSONS)] for name in ("publisher", "creator")]
        producers = [name for names in organisations for name in sorted(filter(None, names))]
        records = [_Node(self.graph, each, self.language) for each in self.graph.subjects(URIRef(f"{FOAF}primaryTopic"), self.subject)]
        titles = {name: value for name, value in sorted(self.texts(f"{DCT}title").items()) if name}
        offer = Offer(
            id="", title=self.text(f"{DCT}title"), titles=titles if len(titles) > 1 else {}, kind=kind,
            description=self.text(f"{DCT}description"),
            licence=own or (next(iter(licences)) if len(licences) == 1 else None),
            constraints=tuple(dict.fromkeys((*self.labels(f"{DCT}rights"), *self.labels(f"{DCT}accessRights")))),
            producer=next(iter(producers), None), created=self.text(f"{DCT}created"),
            issued=self.text(f"{DCT}issued"),
            modified=_last(self.all(f"{DCT}modified")),
            record_modified=_last(each for record in records for each in record.all(f"{DCT}modified")),
            frequency=self.one(f"{DCT}accrualPeriodicity"), keywords=self.labels(f"{DCAT}keyword"), themes=self.labels(f"{DCAT}theme"),
            spatial=self.labels(f"{DCT}spatial"), bbox=self.bbox(), landing_page=self.one(f"{DCAT}landingPage", f"{FOAF}page"),
            resources=resources if kind != "DataService" else tuple(self.service()),
        )  # fmt: skip
        identifier = str(self.subject) if isinstance(self.subject, URIRef) else self.text(f"{DCT}identifier")
        return replace(offer, id=identifier or f"urn:sha256:{hashlib.sha256(written([offer])).hexdigest()}")

    def resources(self) -> list[Resource]:
        """Give a distribution as resources: one for each address at which it is had."""
        from rdflib import URIRef

        services = self.nodes(f"{DCAT}accessService")
        urls = [str(each).strip() for each in self.all(f"{DCAT}downloadURL", f"{DCAT}accessURL")]
        urls = urls or [str(url) for service in services for url in service.all(f"{DCAT}endpointURL")]
        media = re.sub(r"^https?://www\.iana\.org/assignments/media-types/", "", self.one(f"{DCAT}mediaType") or "") or None
        form = next(iter(self.labels(f"{DCT}format")), None)
        conforms = sorted(each for node in (self, *services) for each in node.labels(f"{DCT}conformsTo"))
        checksum = min(filter(None, (node.checksum() for node in self.nodes(f"{SPDX}checksum"))), default=None)
        told = []
        for url in urls or ("",):
            protocol, options = read_by(url, form, media, *conforms)
            told.append(
                Resource(
                    url=url or None, id=str(self.subject) if isinstance(self.subject, URIRef) else None,
                    title=self.text(f"{DCT}title"), description=self.text(f"{DCT}description"), kind=next(iter(conforms), None),
                    format=form,
                    media_type=media, byte_size=whole_number(self.text(f"{DCAT}byteSize")), checksum=checksum,
                    issued=self.text(f"{DCT}issued"), modified=_last(self.all(f"{DCT}modified")), licence=self.one(f"{DCT}license"),
                    protocol=protocol, options=options,
                )
            )  # fmt: skip
        return told

    def service(self) -> list[Resource]:
        """Give a service as what it is asked at."""
        conforms = self.labels(f"{DCT}conformsTo")
        urls = [str(each) for each in self.all(f"{DCAT}endpointURL")]
        return [Resource(url=url, kind=next(iter(conforms), None), protocol=read_by(url, *conforms)[0]) for url in urls]

    def checksum(self) -> str | None:
        algorithm = re.sub(r"^(?:.*[#/])?(?:checksumalgorithm_)?", "", (self.one(f"{SPDX}algorithm") or "").lower())
        value = self.text(f"{SPDX}checksumValue")
        return ":".join(filter(None, (algorithm, value))) if value else None

    def bbox(self) -> tuple[float, float, float, float] | None:
        """Give the box of what a dataset covers, written as WKT or GeoJSON in longitude and latitude; None for anything else."""
        written_ = [str(each) for place in self.nodes(f"{DCT}spatial") for each in place.all(f"{DCAT}bbox", f"{LOCN}geometry")]
        return min(filter(None, map(_box, written_)), default=None)


def _box(text: str) -> tuple[float, float, float, float] | None:
    crs = re.match(r"\s*<([^>]*)>", text)
    if crs and not crs[1].upper().endswith("CRS84"):
        return None
    text = text[crs.end() :] if crs else text
    number = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    if re.match(r"\s*(?:MULTI)?POLYGON\s*\(", text, re.IGNORECASE):
        found = re.findall(rf"({number})\s+({number})", text)
    elif text.lstrip().startswith("{"):
        found = re.findall(rf"\[\s*({number})\s*,\s*({number})", text)
    else:
        return None
    points = [(float(x), float(y)) for x, y in found]
    if not points or any(abs(x) > 180 or abs(y) > 90 for x, y in points):
        return None
    return min(x for x, _ in points), min(y for _, y in points), max(x for x, _ in points), max(y for _, y in points)


def _last(dates: Iterable[Any]) -> str | None:
    return max(filter(None, (str(each).strip() for each in dates)), default=None)


def _in_order(resource: Resource) -> tuple[str, bytes]:
    return resource.url or "", written([Offer(id="", resources=(resource,))])
