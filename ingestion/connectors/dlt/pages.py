"""What dlt's `rest_api` is answered, held to what it may be: an answer that was cut, is no JSON or tells an error is no page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

from dlt.common import jsonpath
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.requests.retry import DEFAULT_RETRY_EXCEPTIONS
from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator
from requests import PreparedRequest, Request, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from ingestion.connectors import ClockError, Reading, SourceError, web
from ingestion.connectors.turns import Limits

# Pages without a row in a row: beyond, a server says for ever that there are more.
MOST_EMPTY_PAGES = 100
# What an object that tells an error rather than rows says, in small letters.
ERRORS = ("error", "errors", "exception", "exceptions", "fault", "faultstring")


def session_of(reading: Reading, urls: Iterable[str], hide: Callable[[str], str], params: Any) -> Session:
    """Give a session of dlt that tries again what our client does, asks the hosts of some URLs alone, and counts in a reading."""
    client = Client(
        request_timeout=(web.CONNECT_SECONDS, web.READ_SECONDS),
        raise_for_status=False,
        exceptions=(*DEFAULT_RETRY_EXCEPTIONS, ContentDecodingError),
        request_max_attempts=web.TRIES,
        request_backoff_factor=web.BACKOFF_SECONDS,
        request_max_retry_delay=web.LONGEST_WAIT_SECONDS,
    )
    session = client.session
    session.headers["User-Agent"] = "city-orchestra/0.1"
    session.params = params
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(reading, {_host(url) for url in urls}, hide))
    return session


class _Adapter(HTTPAdapter):
    """Asks over HTTP, counts what it costs, and reads each answer to its end before anyone else does."""

    def __init__(self, reading: Reading, hosts: set[Any], hide: Callable[[str], str]) -> None:
        super().__init__(pool_maxsize=Limits().concurrency)
        self._reading, self._hosts, self._hide = reading, hosts, hide
        self._name = f"{reading.request.brick}.{reading.request.table}"

    def send(self, request: PreparedRequest, *arguments: Any, **settings: Any) -> Response:
        """Send a request; raises SourceError for another host and a wrong clock, what is tried again for an answer that was cut."""
        url = shown(str(request.url), self._hide)
        if _host(str(request.url)) not in self._hosts:
            told = f"{self._name}: the source leads to {url}, on another host than the endpoint's, which keys are not for"
            raise SourceError(f"{told}. Mend: make that host the endpoint, or tell the producer.")
        self._reading.spend(request_count=1)
        response: Response = super().send(request, *arguments, **settings)
        try:
            content = response.content
        finally:
            self._reading.spend(response.raw.tell())
        if clock := web.sandbox_clock(response.headers):
            self._reading.note_sandbox(clock)
        elif moment := web.instant(response.headers.get("Date")):
            # A cache tells how long ago it asked.
            age = response.headers.get("Age", "")
            if abs((datetime.now(UTC) - moment).total_seconds() - (int(age) if age.isdecimal() else 0)) > web.CLOCKS_APART.total_seconds():
                clocks = f"says that it is {moment:%Y-%m-%d %H:%M:%S} UTC, and this machine does not"
                raise ClockError(f"{self._name}: {url} {clocks}: nothing is landed by a wrong clock. Mend: set the clock that is wrong.")
        if 200 <= response.status_code < 300:
            self._read_json(response, content, url)
        return response

    def _read_json(self, response: Response, content: bytes, url: str) -> None:
        """Read an answer once, numbers as they are written; what begins as JSON and does not end as such was cut."""
        try:
            answer = _parsed(response, content)
        except ValueError as error:
            if content.lstrip()[:1] in (b"{", b"["):
                raise ChunkedEncodingError("its answer was cut before its end, or is no JSON") from error
            # Only what asks for JSON minds.
            told = f"{self._name}: {url} did not answer with JSON, but with {_kind(content)}"
            fault = SourceError(f"{told}. Mend: check the endpoint, the path and the key, or try later.")

            def fail(**_: Any) -> Any:
                raise fault

            vars(response)["json"] = fail
        else:
            vars(response)["json"] = lambda **_: answer


class Pager(BasePaginator):
    """A paginator of dlt whose pages are looked at: rows are those that are announced, none comes twice, and none tells an error."""

    def __init__(self, inner: BasePaginator | None, selector: str | None, name: str, columns: Iterable[str]) -> None:
        super().__init__()
        self._inner, self._selector, self._name, self._columns = inner, selector, name, tuple(columns)
        self._is_found = inner is not None  # else it is made of the first answer, each time
        self._begin()

    def _begin(self) -> None:
        self._asked: set[tuple[Any, ...]] = set()
        self._last: list[Any] = []
        self._rows, self._empty, self._is_short = 0, 0, False

    def init_request(self, request: Request) -> None:
        """Begin."""
        self._begin()
        if not self._is_found:
            self._inner = None
        if self._inner:
            self._inner.init_request(request)

    @property
    def has_next_page(self) -> bool:
        """Whether there is more."""
        return self._inner is not None and self._inner.has_next_page

    def update_request(self, request: Request) -> None:
        """Write what is asked for next."""
        if self._inner:
            self._inner.update_request(request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Look at a page; raises SourceError for one that is none."""
        answer, page = response.json(), list(data or ())
        self._check_answer(answer, page)
        asked = (response.request.method, response.request.url, response.request.body)
        if asked in self._asked or (page and page == self._last):
            raise self._fault("the source gives the same page twice", "check `paginator`, or tell the producer")
        self._asked.add(asked)
        if page and self._is_short:
            told = "a page has fewer rows than were asked for, and the next one has some: the server's limit is lower than `limit`"
            raise self._fault(f"{told}, and rows between them would be lost", "lower `limit` of the paginator")
        self._last, self._rows, self._empty = page, self._rows + len(page), 0 if page else self._empty + 1
        if self._empty > MOST_EMPTY_PAGES:
            raise self._fault(f"{self._empty} pages in a row hold no row, and each says that there are more", "check `paginator`")
        if self._inner is None:
            self._inner, _ = PaginatorFactory().create_paginator(response)
            if self._inner is None:
                raise self._fault("nothing tells how its pages follow each other", "say `paginator`")
        self._inner.update_state(response, page)
        if isinstance(self._inner, OffsetPaginator):
            self._is_short = len(page) < self._inner.limit
            self._check_total(self._inner, answer)

    def _check_total(self, paginator: OffsetPaginator, answer: Any) -> None:
        """Fail where pages are at their end and hold other rows than those that were announced."""
        announced = jsonpath.find_values(paginator.total_path, answer) if paginator.total_path else []
        if self.has_next_page or not announced or paginator.maximum_value is not None:
            return
        if int(announced[0]) != self._rows + paginator.initial_value:
            told = f"the source announces {int(announced[0])} rows, and its pages held {self._rows + paginator.initial_value}"
            raise self._fault(told, "lower `limit` of the paginator, or try later where rows came meanwhile")

    def _check_answer(self, answer: Any, page: list[Any]) -> None:
        """Fail where an answer under 200 tells an error, or holds nothing where its rows should be."""
        if not isinstance(answer, dict):
            return
        is_row = len(page) == 1 and page[0] is answer
        has_columns = any(name in answer for name in self._columns)
        told = _error_of(answer, (self._selector or "").partition(".")[0])
        if told and not (is_row and has_columns):
            raise self._fault(f"the source answers 200 with an error ({told})", "check what is asked, or try later")
        if is_row and self._columns and not has_columns:
            raise self._fault("the source answers with one object, that has none of the declared columns", "check `data_selector`")
        if not page and self._selector and "*" not in self._selector and not jsonpath.find_values(self._selector, answer):
            raise self._fault(f"the answer holds nothing at {self._selector}", "check `data_selector`")

    def _fault(self, told: str, mend: str) -> SourceError:
        return SourceError(f"{self._name}: {told}. Mend: {mend}.")


def _error_of(answer: dict[str, Any], rows: str) -> str:
    """Name what says in an object, beside its rows, that it is an error; no value, which may be of persons or repeat a key."""
    folded = {str(name).lower(): (name, value) for name, value in answer.items() if name != rows}
    if found := next((folded[name] for name in ERRORS if name in folded and folded[name][1]), None):
        return f"`{found[0]}`"
    for name in ("success", "ok"):
        if name in folded and folded[name][1] is False:
            return f"`{folded[name][0]}: false`"
    return ""


def _parsed(response: Response, content: bytes) -> Any:
    """Read JSON as its bytes are written, by the charset that is told where they are no UTF; raises ValueError."""
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        _, told, charset = response.headers.get("Content-Type", "").lower().partition("charset=")
        if not told:
            raise
        try:
            text = content.decode(charset.partition(";")[0].strip("\"' "))
        except LookupError as error:
            raise ValueError(str(error)) from error
    return json.loads(text.lstrip("\ufeff"), parse_float=Decimal, parse_constant=str)


def _kind(content: bytes) -> str:
    return "nothing" if not content.strip() else "a page of HTML or XML" if content.lstrip()[:1] == b"<" else "something else"


def shown(url: str, hide: Callable[[str], str]) -> str:
    """Give a URL as it may be shown: neither user info nor query, and no secret part of its path."""
    parts = urlsplit(url)
    return hide(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}")


def _host(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url)
    return parts.hostname, None if parts.port in (80, 443) else parts.port
