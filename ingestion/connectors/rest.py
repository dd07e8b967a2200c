"""Any API that answers in JSON, NDJSON, CSV, XML or GeoJSON, told in YAML: how it pages, where its rows are, what it is asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, model_validator

from ingestion.connectors import Reading, Request, SourceError, Strict
from ingestion.connectors.answers import FAULTS_OF_OURS, NoAnswer, at, holds, members_of, records_at, value_of_json, xml_records
from ingestion.connectors.authentication import WebOptions
from ingestion.connectors.pages import Answer, Ask, Page, Pages, asked_with, fault, followed, note, read_pages, spooled, twice_in
from ingestion.connectors.since import Since, asked_since
from ingestion.connectors.turns import POLITE, Limits
from ingestion.connectors.web import DENIED, Client, client_of, instant
from ingestion.formats import parts
from ingestion.formats.deeper import with_columns
from ingestion.formats.geojson import crs_of, document_of, elsewhere, partial, read_feature
from ingestion.formats.options import TextOptions
from ingestion.formats.spool import UNDECODED, Spool
from ingestion.formats.text import row_count

# What a page of each kind needs said.
NEEDED = {
    "none": (),
    "page_number": ("parameter",),
    "offset": ("parameter",),
    "cursor": ("parameter", "path"),
    "next_link": ("path",),
    "link_header": (),
}

# Where answers say that another page follows, and what tells it without leading there.
LEADING_ON = (
    "next", "nextLink", "next_link", "next_page_url", "@odata.nextLink", "@iot.nextLink", "odata.nextLink", "links.next", "_links.next",
    "paging.next", "pagination.next", "meta.next",
)  # fmt: skip
MORE = ("exceededTransferLimit", "has_more", "hasMore")
OF_COLLECTION = ("numberMatched", "links", "properties", "exceededTransferLimit")


class BrickOptions(WebOptions):
    """What a brick of an API may say: how it is let in, and how much is asked of its host."""

    limits: Limits = POLITE


class Paging(Strict):
    """How an API pages: `parameter` takes the number of a page, or of a row (from `first` on), or the cursor that stands at `path`.

    `next_link` follows the link at `path`, `link_header` that of the header `Link`. `size_parameter` asks for `size` rows a page.
    """

    kind: Literal["none", "page_number", "offset", "cursor", "next_link", "link_header"]
    parameter: str | None = None
    path: str | None = None
    first: Annotated[int, Field(ge=0)] | None = None
    size_parameter: str | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    keep_parameters: bool = True

    @model_validator(mode="after")
    def _is_whole(self) -> Paging:
        if absent := [name for name in NEEDED[self.kind] if getattr(self, name) is None]:
            raise ValueError(f"kind {self.kind} needs {' and '.join(absent)}")
        if (self.size_parameter is None) != (self.size is None):
            raise ValueError("`size_parameter` and `size` go together: the name, and how many rows a page is to hold")
        return self


class TableOptions(TextOptions):
    """What a table of an API may say; paths of an answer are keys parted by dots, the top of it when empty.

    `records` is where the rows are (of XML, the name of their element), `total` where the answer says how many they are in all, or
    `total_header` the header that does. `columns` names what stands deeper in a record: `{station: location.name}`. With a `body` the
    request is a POST of it, and what pages and the cursor ask stands in it.
    """

    path: str = ""
    format: Literal["json", "ndjson", "csv", "xml", "geojson"] = "json"
    parameters: dict[str, str | int | float | bool | list[str]] = Field({})
    headers: dict[str, str] = Field({})
    body: dict[str, Any] | None = None
    records: str = ""
    total: str | None = None
    total_header: str | None = None
    paging: Paging = Paging(kind="none")
    since: Since | None = None
    columns: dict[str, str] = Field({})

    @model_validator(mode="after")
    def _is_consistent(self) -> TableOptions:
        if self.format == "xml" and not self.records:
            raise ValueError("format xml needs `records`, the name of the element that is a row")
        if self.format in ("ndjson", "csv", "xml") and (self.total or self.paging.path):
            raise ValueError(
                f"`total` and `paging.path` are looked for in JSON, not in {self.format}: say `total_header`, or page otherwise"
            )
        if self.columns and self.format not in ("json", "ndjson", "geojson"):
            raise ValueError("`columns` names what stands in JSON documents")
        return self


def read(request: Request) -> Reading:
    """Read a table from its cursor on; nothing when the source says that it is the same, or gives the same. Raises SourceError."""
    options: TableOptions = request.table_options
    reading = Reading(request, dict(request.position))
    client = client_of(reading)
    first, told = _first(client, options, request)
    spool = reading.held = Spool(request.spool, is_private=request.is_private)
    names: list[str] = []
    held = request.position.get("validator", {}) if request.position.get("asked") == told else {}
    accept = "application/geo+json, application/json" if options.format == "geojson" else "*/*"
    read = read_pages(
        client, first, _page_of(client, first, options, spool), lambda: _spooled(spool, options, request.table, names), held,
        {"Accept": accept, **({"Content-Type": "application/json"} if options.body is not None else {}), **options.headers},
        lambda read: _doubt(read, options, reading, spool, names),
    )  # fmt: skip
    if read is None:
        return reading
    reading.position = {name: value for name, value in reading.position.items() if name not in ("validator", "asked")}
    if read.validator:
        reading.position |= {"validator": read.validator, "asked": told}
    if options.columns:
        # Other columns of the same documents are other rows.
        read.digest.update(json.dumps(options.columns, sort_keys=True).encode())
    if not note(read, reading, "`path`, `parameters` and `records`"):
        return reading
    reading.available_at = instant(read.validator.get("If-Modified-Since"))
    form = "csv" if options.format == "csv" and names else "ndjson"
    if not names:
        names.append(f"{request.table}.ndjson")
        spool.create(names[0]).close()
    deeper = {name: tuple(path.split(".")) for name, path in options.columns.items()}
    reading.parts = [with_columns(part, deeper) for part in parts(form, names, reading, spool)]
    if reading.refused_files:
        name, why = reading.refused_files[0]
        raise SourceError(f"{request.brick}.{request.table}: {name} {why}. Mend: check `format`, and what the API answers.")
    reading.warnings += [f"{request.brick}.{request.table}: {read.doubted}. Mend: ask for rows in a lasting order"] if read.doubted else []
    return reading


def _doubt(read: Pages, options: TableOptions, reading: Reading, spool: Spool, names: list[str]) -> str | None:
    """Say that pages told by numbers hold a row twice: one that came meanwhile has moved those after it, or the source holds it twice."""
    if options.paging.kind not in ("page_number", "offset") or read.pages < 2:
        return None
    twice = twice_in(names, "csv" if options.format == "csv" else "ndjson", reading, spool)
    return f"{twice} rows came twice on pages that the source numbers: it may have changed while it was read" if twice else None


def _first(client: Client, options: TableOptions, request: Request) -> tuple[Ask, str]:
    """Give what is asked first, and a digest of it that tells no secret."""
    endpoint = urlsplit(client.endpoint)
    path = f"{endpoint.path}/{quote(options.path.lstrip('/'), safe='/:@!$&()*+,;=~')}" if options.path else endpoint.path
    paging = options.paging
    said: dict[str, Any] = dict(options.parameters)
    own: dict[str, Any] = {}
    if paging.size_parameter:
        (said if options.body is None else own)[paging.size_parameter] = paging.size
    if paging.kind in ("page_number", "offset"):
        own[str(paging.parameter)] = _first_number(paging)
    if options.since and (value := asked_since(request, options.since)) is not None:
        own[options.since.parameter] = value
    told = [client.shown(client.endpoint), options.model_dump(mode="json"), own]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    query = "&".join(filter(None, (endpoint.query, urlencode({name: _as_query(value) for name, value in said.items()}, doseq=True))))
    ask = Ask(urlunsplit(endpoint._replace(path=path or "/", query=query)))
    if options.body is not None:
        ask = replace(ask, method="POST", body=json.dumps(options.body).encode())
    return _asking(ask, own), digest


def _first_number(paging: Paging) -> int:
    return paging.first if paging.first is not None else int(paging.kind == "page_number")


def _asking(ask: Ask, own: dict[str, Any]) -> Ask:
    """Ask the same with other parameters, in the body of a POST or in the query."""
    if ask.body is not None:
        return replace(ask, body=json.dumps({**json.loads(ask.body), **own}).encode())
    return asked_with(ask, **own) if own else ask


def _as_query(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


@contextlib.contextmanager
def _spooled(spool: Spool, options: TableOptions, table: str, names: list[str]) -> Iterator[Callable[[bytes], None]]:
    """Give what writes pages to the spool: those of CSV to a file each, since each has its header, others to one."""
    names.clear()
    if options.format != "csv":
        names.append(f"{table}.ndjson")
        with spooled(spool, names[0]) as write:
            yield write
        return

    def take(content: bytes) -> None:
        if not content:
            return
        names.append(f"{table}-{len(names) + 1:05d}.csv")
        with spool.create(names[-1]) as target:
            target.write(content)

    yield take


def _page_of(client: Client, first: Ask, options: TableOptions, spool: Spool) -> Callable[[Answer, Ask, int], Page]:
    """Give what makes a page of an answer."""

    def page(answer: Answer, ask: Ask, passed: int) -> Page:
        if answer.status == 204:
            return Page(b"", 0)
        try:
            members, content, count = _content(answer, options, client.reading.request, spool)
        except NoAnswer as error:
            if error.code in DENIED:
                raise SourceError(str(fault(client, ask, error, "give a key that may read it")), error.code) from None
            is_ours = error.code in FAULTS_OF_OURS
            mend = "check `path`, `parameters`, `records` and `format`" if is_ours else "try later, or tell the producer"
            raise fault(client, ask, error, mend, may_pass=not is_ours) from None
        total = _total(client, ask, members, answer, options)
        if not passed and count and _lacks_total(members, answer, options):
            told = f"says nowhere how many rows there are in all (`{options.total or options.total_header}`)"
            raise fault(client, ask, told, "check `total`, or leave it out", may_pass=False)
        following = _following(client, first, ask, options, members, answer, passed + count, count, total)
        if following is None and _says_more(answer, members, options, passed + count) and (total is None or passed + count < total):
            told = "says that another page follows, which its `paging` does not lead to"
            raise fault(client, ask, told, "declare `paging` (next_link, link_header, page_number, offset or cursor)", may_pass=False)
        return Page(content, count, following, total)

    return page


def _content(answer: Answer, options: TableOptions, request: Request, spool: Spool) -> tuple[Any, bytes, int]:
    """Give the members of an answer in JSON, its rows as they are spooled, and their number; raises NoAnswer."""
    body = answer.body
    match options.format:
        case "json":
            members = members_of(body)
            records = records_at(members, options.records)
        case "geojson":
            members = members_of(body)
            if elsewhere(told := {"crs": value_of_json(at(members, "crs"))}, request.crs or "CRS84"):
                raise NoAnswer(
                    f"is in {crs_of(told)}, and not in {request.crs or 'longitude and latitude, nor does the table say `crs`'}", 400
                )
            features = records_at(members, options.records or "features")
            records = [document_of(read_feature(feature), frozenset()).encode() for feature in features]
        case "xml":
            members, records = {}, xml_records(body, options.records)
        case _:
            if body and not body.endswith(b"\n") and not answer.is_bounded:
                raise NoAnswer("ends in the middle of a line, and nothing says how long it is: it was cut")
            text = body.decode(options.encoding, UNDECODED)
            if text.lstrip()[:1] == "<" or (options.format == "csv" and text.lstrip()[:1] == "{"):
                raise NoAnswer(f"answers a page of HTML, XML or JSON where {options.format} is expected")
            if options.format == "csv":
                content = text.encode("utf-8", UNDECODED)
                count = _rows_of_csv(content, request, spool)
                return {}, content if count else b"", count
            members, records = {}, [line.encode("utf-8", UNDECODED) for line in text.split("\n") if line.strip()]
            if len(records) == 1:
                members_of(records[0])  # which may be an error
    return members, b"".join(record + b"\n" for record in records), len(records)


def _rows_of_csv(content: bytes, request: Request, spool: Spool) -> int:
    """Count the rows of a page of CSV as landing reads it: by its separator, its quotes and its header."""
    if not content.strip():
        return 0
    with spool.create("page.csv") as target:
        target.write(content)
    try:
        return row_count("page.csv", request, spool)
    except ValueError as error:
        raise NoAnswer(str(error).replace(". Mend: ", ": "), 400) from None


def _lacks_total(members: Any, answer: Answer, options: TableOptions) -> bool:
    """Say whether an answer does not say what the brick says that it announces; one that says null, or unknown, does."""
    if options.total_header:
        return options.total_header not in answer.headers
    return options.total is not None and not holds(members, options.total)


def _total(client: Client, ask: Ask, members: Any, answer: Answer, options: TableOptions) -> int | None:
    """Give how many rows an answer announces in all; None where it does not say, or says that it does not know."""
    told = answer.headers.get(options.total_header) if options.total_header else None
    if options.total:
        raw = at(members, options.total)
        told = value_of_json(raw) if raw is not None else None
    if told is None or told == "unknown":
        return None
    with contextlib.suppress(ValueError, TypeError):
        if not isinstance(told, bool) and int(told) == float(told):
            return int(told)
    raise fault(client, ask, NoAnswer("announces what is no number of rows", quoted=repr(told)[:60]), "check `total`", may_pass=False)


def _says_more(answer: Answer, members: Any, options: TableOptions, count: int) -> bool:
    """Say whether an answer says itself that another page follows: by its status, its header, or a member that leads on."""
    if answer.status == 206 or _linked(answer):
        return True
    if not isinstance(members, dict):
        return False
    told = {name: value_of_json(members[name]) for name in OF_COLLECTION if name in members}
    if partial(told, count) or any(value_of_json(at(members, name)) is True for name in MORE):
        return True
    ways = [value_of_json(at(members, place)) for place in LEADING_ON if place != options.paging.path]
    return any(str(each.get("href") or "" if isinstance(each, dict) else each or "").strip() for each in ways)


def _linked(answer: Answer) -> str | None:
    """Give the next link of the header `Link` (RFC 8288)."""
    import requests

    links = requests.utils.parse_header_links(answer.headers.get("Link", ""))
    return next((link["url"] for link in links if "next" in link.get("rel", "").lower().split()), None)


def _following(
    client: Client, first: Ask, ask: Ask, options: TableOptions, members: Any, answer: Answer, passed: int, count: int, total: int | None
) -> Ask | None:
    """Give what is asked after a page, None after the last: rows are counted by what came, not by what was asked."""
    paging = options.paging
    own = frozenset(filter(None, (paging.parameter, paging.size_parameter)))
    match paging.kind:
        case "page_number" | "offset":
            # A full page may be followed by another, whatever is announced.
            if not count or (total is not None and passed >= total and paging.size and count < paging.size):
                return None
            if paging.kind == "offset":
                return _asking(ask, {str(paging.parameter): passed + _first_number(paging)})
            number = _asked_value(ask, str(paging.parameter))
            return _asking(ask, {str(paging.parameter): int(number) + 1})
        case "cursor":
            token = value_of_json(at(members, str(paging.path)))
            if token in (None, "", False):
                return None
            following = _asking(ask, {str(paging.parameter): token})
            # A cursor that stays where it is tells some servers' end, once all has come.
            return None if following == ask and (not count or passed == total) else following
        case "next_link":
            link = value_of_json(at(members, str(paging.path)))
            link = link["href"] if isinstance(link, dict) and "href" in link else link
            if link in (None, "", False):
                return None
            if not isinstance(link, str):
                told = f"holds at `{paging.path}` what is no link"
                raise fault(client, ask, told, "page by `cursor`, `page_number` or `offset`, or say where the link stands", may_pass=False)
            return followed(client, first, ask, link, own, keeps=paging.keep_parameters) if link.strip() else None
        case "link_header":
            link = _linked(answer)
            return followed(client, first, ask, link, own, keeps=paging.keep_parameters) if link else None
    return None


def _asked_value(ask: Ask, name: str) -> Any:
    return json.loads(ask.body)[name] if ask.body is not None else parse_qs(urlsplit(ask.url).query)[name][0]
