"""Pages of a source, one after the other, until its rows are those that it announced: exact, or a clear fault."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from ingestion.connectors import Reading, SourceError, UnreadableFile
from ingestion.connectors.answers import NoAnswer
from ingestion.connectors.web import Client, instant
from ingestion.formats import parts
from ingestion.formats.spool import Spool

logger = logging.getLogger(__name__)

# How often a source whose pages do not hold together is read from its first page on, and the seconds between.
READINGS, PAUSE_SECONDS = 3, 1.0
# A page is held in memory; so many that are empty, though another follows, are no source that goes on.
PAGE_BYTES, EMPTY_PAGES = 256 << 20, 3
# What a source says of a page beyond its last: all that it announced has come then.
BEYOND = (400, 404, 416, 422)
JUST_NOW, TOLD_CHARACTERS = timedelta(seconds=2), 300
# What of a URL is left as a server writes it, though RFC 3986 would have it written otherwise (a space, an accent).
AS_WRITTEN = "%:/?#[]@!$&'()*+,;=-._~"


@dataclass(frozen=True)
class Ask:
    """What is asked of a source: a URL, and a body for a POST."""

    url: str
    method: str = "GET"
    body: bytes | None = None


class Answer(NamedTuple):
    """What a source answers: its bytes unpacked, its headers, and its status (206: there is more)."""

    body: bytes
    headers: Any
    status: int

    @property
    def is_bounded(self) -> bool:
        """Whether its server has said where it ends, so that a cut would have been seen."""
        return any(self.headers.get(name) for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding"))


class Page(NamedTuple):
    """What a page holds: its rows as they are to be spooled, how many, what is asked next, how many the source announces in all."""

    content: bytes
    row_count: int
    following: Ask | None = None
    total: int | None = None


@dataclass
class Pages:
    """What was read: how many rows of how many pages, how many were announced, a digest of it all.

    `validator` is what tells the version of a lone page, `doubted` what may come of a change while it was read.
    """

    rows: int = 0
    pages: int = 0
    announced: int | None = None
    digest: Any = field(default_factory=hashlib.sha256)
    validator: dict[str, str] = field(default_factory=dict)
    doubted: str | None = None


class Unsteady(SourceError):
    """Pages that do not hold together: the source changed while it was read, or does not do what it says."""


def read_pages(
    client: Client,
    first: Ask,
    page_of: Callable[[Answer, Ask, int], Page],
    spool: Callable[[], AbstractContextManager[Callable[[bytes], None]]],
    validator: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    doubt: Callable[[Pages], str | None] = lambda _: None,
) -> Pages | None:
    """Read all pages of a source into a spool, and say what they were; None when it says that nothing changed.

    `page_of` makes a page of an answer, of what was asked and of the number of rows that came before; it raises `fault` for what is
    none. `spool` gives, as a context, what takes the content of each page; it is called again when the source is read again from its
    first page on, which is when pages do not hold together: at most READINGS times. `validator` is that of the last reading's lone
    page. `doubt` says what of a whole reading may come of a change meanwhile: it is read again then, until it gives the same twice, and
    what is left of the doubt is in `doubted`. Raises SourceError: what was spooled is worthless then.
    """
    before: Pages | None = None
    for reading in range(1, READINGS + 1):
        try:
            with spool() as take:
                read = _read_once(client, first, page_of, take, validator or {}, headers or {})
            if read is None or (told := doubt(read)) is None:
                return read
            read.doubted = told
            if reading == READINGS or (before and before.digest.digest() == read.digest.digest()):
                return read
            before = read
        except Unsteady as error:
            if reading == READINGS:
                raise
            told = str(error)
        logger.info("%s; read again from its first page on", told)
        time.sleep(PAUSE_SECONDS * reading)
    raise AssertionError  # the last reading has given, or raised


def _read_once(
    client: Client,
    first: Ask,
    page_of: Callable[[Answer, Ask, int], Page],
    take: Callable[[bytes], None],
    validator: Mapping[str, str],
    headers: Mapping[str, str],
) -> Pages | None:
    read, asked, digests, empty = Pages(), {first}, set[bytes](), 0
    enough = client.reading.request.sample_rows
    ask: Ask | None = first
    while ask:
        try:
            answered = _ask(client, ask, page_of, read, {**headers, **(validator if ask is first else {})})
        except SourceError as error:
            if read.announced == read.rows and read.pages and error.status in BEYOND:
                break
            raise
        if answered is None:
            return None
        page, read.validator = answered if not read.pages else (answered[0], {})
        if page.total is not None and read.announced not in (None, page.total):
            raise unsteady(client, ask, f"announced {read.announced} rows, then {page.total}: it changed while it was read")
        read.announced = page.total if page.total is not None else read.announced
        digest = hashlib.sha256(page.content).digest()[:16]
        if page.row_count and digest in digests:
            raise unsteady(client, ask, "gives one page twice")
        digests.add(digest)
        empty = 0 if page.row_count else empty + 1
        if page.following and empty > EMPTY_PAGES:
            raise unsteady(client, ask, f"gives {empty} empty pages, and says that there is more")
        read.digest.update(page.content)
        take(page.content)
        read.rows, read.pages, ask = read.rows + page.row_count, read.pages + 1, page.following
        if enough and read.rows >= enough:
            return read
        if ask in asked:
            raise unsteady(client, ask or first, "is said to follow itself")
        if ask:
            asked.add(ask)
    if read.announced not in (None, read.rows):
        mend = "tell the producer, or leave `total` out where it counts something else"
        raise unsteady(client, first, f"announces {read.announced} rows and gives {read.rows}", mend)
    return read


def _ask(
    client: Client, ask: Ask, page_of: Callable[[Answer, Ask, int], Page], read: Pages, headers: Mapping[str, str]
) -> tuple[Page, dict[str, str]] | None:
    """Ask for a page, again where it is none yet and may be one; give it with what tells its version, None when it is unchanged."""

    def sink(stream: io.BufferedReader, answered: Any) -> tuple[Page, dict[str, str]]:
        body = stream.read(PAGE_BYTES + 1)
        if len(body) > PAGE_BYTES:
            raise SourceError(f"{where(client, ask)} answers more than {PAGE_BYTES >> 20} MB at once. Mend: ask for smaller pages.")
        status = getattr(stream.raw, "status", 200)
        tag, modified = answered.get("ETag"), answered.get("Last-Modified")
        if not tag and (at := instant(modified)) and (now := instant(answered.get("Date"))) and now - at < JUST_NOW:
            modified = None  # what changes in the same second has the same date (RFC 9110, 8.8.2.2)
        tells = {"If-None-Match": tag, "If-Modified-Since": modified}
        return page_of(Answer(body, answered, status), ask, read.rows), {name: value for name, value in tells.items() if value}

    given: tuple[Page, dict[str, str]] | None = client.fetch(ask.url, sink, headers, ask.method, ask.body, (200, 204, 206))
    return given


def note(pages: Pages, reading: Reading, mend: str) -> bool:
    """Note in a reading's position what was read, and say whether it is to land: it is when it differs from the last one.

    Nothing is no news, but of a table that is read whole: that its source has emptied is what the photo shows. A first reading of
    nothing is warned of, with `mend`.
    """
    request, digest = reading.request, pages.digest.hexdigest()[:16]
    reading.position = {**reading.position, "digest": digest}
    table = f"{request.brick}.{request.table}"
    if not pages.rows and not request.position:
        reading.warnings.append(f"{table}: the source holds no record. Mend: none where there is nothing yet, else check {mend}")
    if digest == request.position.get("digest") or not (pages.rows or (request.whole and request.position)):
        return False
    if not pages.rows:
        told = "the source holds no record any more: once this load is accepted, the table shows none"
        reading.warnings.append(f"{table}: {told}. Mend: check {mend}; accept the load if it is so")
    if pages.announced is not None:
        reading.announced, reading.count_method = pages.announced, "announced"
    return True


@contextlib.contextmanager
def spooled(spool: Spool, name: str) -> Iterator[Callable[[bytes], None]]:
    """Give what writes the contents of pages to one file of a spool, made anew."""
    with spool.create(name) as target:

        def take(content: bytes) -> None:
            target.write(content)

        yield take


def twice_in(names: list[str], form: str, reading: Reading, spool: Spool) -> int:
    """Count the rows of spooled pages that came before, whatever page they stand on."""
    rows = "*columns(* exclude (_file))" if form == "csv" else "_doc"
    asked = f"select count(*) - count(distinct hash({rows})) from ({{}})"
    ask = reading.request.connection.execute
    return sum(ask(asked.format(part.relation)).fetchall()[0][0] for part in parts(form, names, reading, spool))


def where(client: Client, ask: Ask) -> str:
    """Name the table and the address of what is asked, for a message."""
    return f"{client.brick}.{client.reading.request.table}: {client.shown(ask.url)}"


def fault(
    client: Client, ask: Ask, told: str | NoAnswer, mend: str = "try later, or tell the producer", *, may_pass: bool = True
) -> SourceError:
    """Give what to raise for an answer that is no page: asked again when it may pass."""
    is_private = client.reading.request.is_private
    words = client.told(told.told if is_private and isinstance(told, NoAnswer) else str(told))
    words = words if len(words) <= TOLD_CHARACTERS else f"{words[:TOLD_CHARACTERS]}..."
    return UnreadableFile(f"{where(client, ask)} {words}. Mend: {mend}.", 200, may_pass=may_pass)


def unsteady(client: Client, ask: Ask, told: str, mend: str = "try later, when it does not change, or tell the producer") -> Unsteady:
    """Give what to raise for pages that do not hold together."""
    return Unsteady(f"{where(client, ask)} {told}. Mend: {mend}.")


def followed(client: Client, first: Ask, ask: Ask, link: str, own: frozenset[str] = frozenset(), *, keeps: bool = True) -> Ask:
    """Give what a link to the next page asks for: at the host and, when it `keeps`, with the parameters that were first asked.

    A server behind a proxy writes the address that it knows itself by: its path is asked at the endpoint's host. What the link leaves
    out of what was first asked (a filter, a format) is put back, but for `own`, the parameters that a page has of its own. Raises
    SourceError for a link that leads elsewhere.
    """
    base, target = urlsplit(first.url), urlsplit(quote(urljoin(ask.url, link.strip()), safe=AS_WRITTEN))
    root = urlsplit(client.endpoint).path.rstrip("/")
    if (target.scheme, target.netloc) != (base.scheme, base.netloc) and target.path != base.path and not target.path.startswith(f"{root}/"):
        told = f"is followed by a page of another host or path ({client.shown(urlunsplit(target._replace(query='')))})"
        raise SourceError(f"{where(client, ask)} {told}. Mend: check the endpoint; no key is sent elsewhere.")
    held = {name for name, _ in parse_qsl(target.query, keep_blank_values=True)}
    dropped = [(n, v) for n, v in parse_qsl(base.query, keep_blank_values=True) if keeps and n not in held and n not in own]
    query = "&".join(filter(None, (target.query.lstrip("&"), urlencode(dropped))))
    return replace(ask, url=urlunsplit(target._replace(scheme=base.scheme, netloc=base.netloc, query=query, fragment="")))


def asked_with(ask: Ask, **parameters: Any) -> Ask:
    """Give what is asked with other values of some parameters of its query."""
    parts = urlsplit(ask.url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in parameters]
    return replace(ask, url=urlunsplit(parts._replace(query=urlencode([*query, *parameters.items()]))))
