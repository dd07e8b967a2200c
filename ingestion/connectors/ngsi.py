"""Entities of a broker of context, NGSI-LD or NGSIv2: what each attribute is worth, and since when, page after page."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, model_validator

from ingestion.connectors import Reading, Request, Strict
from ingestion.connectors.answers import FAULTS_OF_OURS, NoAnswer, members_of
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.pages import Answer, Ask, Page, Pages, asked_with, fault, note, read_pages, spooled, unsteady
from ingestion.connectors.since import Since, asked_since, moment_of
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import Client, client_of
from ingestion.formats import parts
from ingestion.formats.ngsi import Form, Version, document_of
from ingestion.formats.spool import Spool

COUNTS = {"ld": "NGSILD-Results-Count", "v2": "Fiware-Total-Count"}
TENANTS = {"ld": "NGSILD-Tenant", "v2": "Fiware-Service"}
# The broker's own instants, which it tells when it is asked to.
OWN = {"ld": ("createdAt", "modifiedAt"), "v2": ("dateCreated", "dateModified")}

OF_BRICK = "check `version`, `form` and the endpoint (https://host/ngsi-ld/v1, https://host/v2)"


class BrickOptions(WebOptions):
    """What a brick of a broker may say: its version, its tenant, how it is let in, and how much is asked of its host."""

    version: Version = "ld"
    tenant: str | None = None
    service_path: str | None = None
    limits: Limits = POLITE

    @model_validator(mode="after")
    def _is_of_its_version(self) -> BrickOptions:
        if self.service_path is not None and self.version == "ld":
            raise ValueError("`service_path` is of `version: v2`")
        return self


class TableOptions(Strict):
    """What a table may say: the type of its entities, which of them and which attributes, and the form in which they are asked for.

    `context` is the URL of the `@context` by which names are short, of NGSI-LD.
    """

    type: str | None = None
    q: str | None = None
    attrs: list[str] = Field([])
    form: Form = "normalized"
    context: str | None = None
    parameters: dict[str, str | int | float] = Field({})
    limit: int = Field(100, ge=1, le=1000)
    since: Since | None = None


def check(brick_options: BrickOptions, options: TableOptions, _: str) -> str | None:
    """Say what is wrong with the options of a table as far as it can be known without asking its source; None for nothing."""
    if brick_options.version == "v2" and (options.context or options.form == "concise"):
        return "`context` and `form: concise` are of NGSI-LD"
    return None


def read(request: Request) -> Reading:
    """Read the entities that are asked for, from the cursor on; raises SourceError."""
    options: TableOptions = request.table_options
    brick: BrickOptions = request.brick_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    headers = {"Accept": "application/json"}
    headers |= {TENANTS[brick.version]: brick.tenant} if brick.tenant else {}
    headers |= {"Fiware-ServicePath": brick.service_path} if brick.service_path else {}
    if options.context:
        headers["Link"] = f'<{options.context}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
    first = _first(client, options, request)
    spool, name = Spool(request.spool, is_private=request.is_private), f"{request.table}.ndjson"
    reading.held = spool
    read = read_pages(
        client, first, lambda answer, ask, passed: _page(client, options, brick.version, answer, ask, passed), lambda: spooled(spool, name),
        headers=headers, doubt=lambda read: _hold_apart(client, first, read, reading, spool, name),
    )  # fmt: skip
    assert read is not None  # nothing conditional was asked
    if note(read, reading, "`type` and `q`"):
        reading.parts = parts("ndjson", [name], reading, spool)
    return reading


def _first(client: Client, options: TableOptions, request: Request) -> Ask:
    """Give what is asked first."""
    version = request.brick_options.version
    own = [name for name in OWN[version] if any(name == each.rpartition(".")[2] for each in (*request.columns, *request.formerly))]
    said: list[str] = [options.form] if options.form != "normalized" else []
    attrs = list(options.attrs)
    if version == "ld":
        said += ["sysAttrs"] if own else []
    else:
        said.append("count")
        attrs = [*own, *(attrs or ["*"])] if own else attrs
    clauses = [each for each in (options.q, _since(request, options)) if each]
    asked: dict[str, Any] = {
        "type": options.type, "q": ";".join(clauses), "attrs": ",".join(attrs), "options": ",".join(said),
        "count": "true" if version == "ld" else None, "limit": options.limit, "offset": 0,
    }  # fmt: skip
    place = urlsplit(client.endpoint)
    query = urlencode({name: told for name, told in {**options.parameters, **asked}.items() if told not in (None, "")}, quote_via=quote)
    return Ask(urlunsplit(place._replace(path=f"{place.path}/entities", query="&".join(filter(None, (place.query, query))))))


def _since(request: Request, options: TableOptions) -> str | None:
    """Give the clause of `q` that asks for entities from the cursor on."""
    since = options.since
    value = asked_since(request, since) if since else None
    if since is None or value is None or "template" in since.model_fields_set:
        return value
    is_bare = True
    try:
        float(value)
    except ValueError:
        is_bare = _is_moment(value)
    mark = '"' if request.brick_options.version == "ld" else "'"
    return f"{since.parameter}>={value if is_bare else f'{mark}{value}{mark}'}"


def _is_moment(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(moment_of(text))
    return False


def _page(client: Client, options: TableOptions, version: Version, answer: Answer, ask: Ask, passed: int) -> Page:
    """Make a page of an answer; raises SourceError for one that is none."""
    try:
        entities = members_of(answer.body)
        documents = [document_of(entity, version, options.form) for entity in entities] if isinstance(entities, list) else []
    except NoAnswer as error:
        is_ours = error.code in FAULTS_OF_OURS
        raise fault(client, ask, error, OF_BRICK if is_ours else "try later, or tell the producer", may_pass=not is_ours) from None
    if not isinstance(entities, list):
        told_of = NoAnswer("answers an object, and no list of entities", quoted=", ".join(sorted(entities))[:60])
        raise fault(client, ask, told_of, OF_BRICK, may_pass=False)
    told = answer.headers.get(COUNTS[version])
    if told is None or not told.strip().isdigit():
        words = f"says nowhere how many entities there are ({COUNTS[version]})"
        raise fault(client, ask, words, "check `version`, and that the broker counts", may_pass=False)
    total, count = int(told), len(documents)
    # A full page may be followed by another, whatever is announced.
    following = asked_with(ask, offset=passed + count) if count and (passed + count < total or count >= options.limit) else None
    return Page(b"".join(document + b"\n" for document in documents), count, following, total)


def _hold_apart(client: Client, first: Ask, read: Pages, reading: Reading, spool: Spool, name: str) -> None:
    """Raise SourceError where an entity came twice: entities moved from page to page, and another one is missed."""
    if read.pages < 2:
        return
    (part,) = parts("ndjson", [name], reading, spool)
    asked = f"select count(*) - count(distinct (_doc->>'$.id', _doc->>'$.type')) from ({part.relation})"
    if twice := reading.request.connection.execute(asked).fetchall()[0][0]:
        raise unsteady(client, first, f"gives {twice} entities twice over its pages: others are missed")
