"""The one HTTP client of the connectors: time-outs, bounded retries, errors that name the mend and never a secret."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import re
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode, urljoin, urlsplit, urlunsplit

from ingestion.connectors import ClockError, MissingFile, Reading, SourceError, UnreadableFile
from ingestion.connectors.authentication import Auth, Pass, value_of
from ingestion.connectors.turns import Limits, rest, turn

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

logger = logging.getLogger(__name__)

VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")  # in an endpoint: a part that the environment holds, and nothing shows
CONNECT_SECONDS, READ_SECONDS, TRIAL_SECONDS = 10, 60, 5
TRIES, BACKOFF_SECONDS, LONGEST_WAIT_SECONDS = 5, 0.5, 120.0
CLOCKS_APART = timedelta(minutes=10)  # by which a source's clock may differ from this machine's
# None is no answer.
RETRIED = (None, 429, 500, 502, 503, 504)
# What a server says of a token that it no longer takes (498 and 499 are ArcGIS's).
DENIED = (401, 403, 498, 499)
MENDS: dict[int | None, str] = {
    None: "check the address, the network and the proxy",
    200: "try later, or tell the producer",
    400: "check what the brick asks of it: its options",
    401: "give a key that may read it",
    403: "give a key that may read it",
    404: "check the endpoint and the path in the brick",
    **dict.fromkeys((301, 302, 303, 307, 308), "it has moved: write its new address in the brick"),
    410: "the source has withdrawn it: check the endpoint and the path in the brick",
    422: "check what the brick asks of it: its options",
    429: "the source asks for fewer requests: lower the cadence or ask for a key",
}


class MeteredStream(io.RawIOBase):
    """The bytes of an answer, counted as transferred (packed, where they are), and hashed when `digest` is set; `status` is its own."""

    digest: Any = None

    def __init__(self, response: BaseHTTPResponse, reading: Reading) -> None:
        self.status = response.status
        self._response, self._reading, self._counted = response, reading, 0
        self._source: Any = response
        if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip"):
            # urllib3 would take a packed answer that was cut for a whole one.
            response.decode_content = False
            self._source = gzip.GzipFile(fileobj=cast("Any", response), mode="rb")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer holds."""
        from urllib3.exceptions import DecodeError

        try:
            chunk = self._source.read(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DecodeError(str(error)) from error
        finally:
            transferred = self._response.tell()
            self._reading.spend(transferred - self._counted)
            self._counted = transferred
        buffer[: len(chunk)] = chunk
        if self.digest:
            self.digest.update(chunk)
        return len(chunk)


class Client:
    """Asks one source over HTTP, with kept connections, and counts what it costs in a reading.

    `headers`, what `auth` says, the user info and query of the endpoint, and the variables that it names (`{API_TOKEN}`) are
    secrets: no message shows them, whatever a server repeats of what it was asked. `limits` bounds what is asked of a host, `tries`
    how often.
    """

    def __init__(self, reading: Reading, headers: Mapping[str, str], auth: Auth | None = None, limits: Limits | None = None) -> None:
        import urllib3

        # Its lines below ERROR show whole URLs, where a key may stand.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self.reading, self.brick, self._limits = reading, reading.request.brick, limits or Limits()
        self._pieces, self._secret = set[str](), re.compile("(?!)")  # (?!) is found nowhere
        named = {name: value_of(self.brick, name) for name in VARIABLE.findall(reading.request.endpoint)}
        try:
            parts = urlsplit(VARIABLE.sub(lambda match: quote(named[match[1]], safe=""), reading.request.endpoint))
        except ValueError:
            raise SourceError(f"{self.brick}: its endpoint is no URL. Mend: check the endpoint.") from None
        written, _, host = parts.netloc.rpartition("@")
        self.endpoint = urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/")))
        own = {**(urllib3.make_headers(basic_auth=unquote(written)) if written and not auth else {}), **headers}
        values = [*named.values(), *(value for _, value in parse_qsl(parts.query))]
        self.hide(*own.values(), f": {written}", parts.query, *values, *(each.partition("=")[2] for each in parts.query.split("&")))
        self._headers = {"User-Agent": "city-orchestra/0.1", "Accept-Encoding": "gzip", **own}
        self._pass = Pass(self.brick, auth)
        self.hide(*self._pass.secrets)
        self.has_secrets = bool(own or auth or named or parts.query)
        secret = {*own, *self._pass.headers, *(("Authorization",) if auth else ())}
        # Only redirects are left to urllib3: it could not take up a body that was cut.
        self._retries = urllib3.Retry(
            connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False, remove_headers_on_redirect=secret
        )
        is_trial = reading.request.sample_rows is not None
        self.tries = 1 if is_trial else TRIES
        timeout = urllib3.Timeout(connect=TRIAL_SECONDS if is_trial else CONNECT_SECONDS, read=TRIAL_SECONDS if is_trial else READ_SECONDS)
        settings: dict[str, Any] = {"timeout": timeout, "maxsize": self._limits.concurrency, "block": True, "retries": self._retries}
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
        self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)

    def hide(self, *texts: str) -> None:
        """Have no message show these texts, nor what follows a word in them (`Apikey`, `Basic`), however a URL writes it."""
        parts = {piece.strip() for text in texts for piece in (text, text.rpartition(" ")[2], text.rpartition(":")[2])}
        forms = {form for each in parts for form in (each, quote(each), quote(each, safe=""), quote_plus(each)) if len(each) > 2}
        if forms <= self._pieces:
            return
        self._pieces |= forms
        longest_first = sorted(map(re.escape, self._pieces), key=len, reverse=True)
        self._secret = re.compile("|".join(longest_first) or "(?!)")

    def told(self, text: str) -> str:
        """Give a text as it may be shown: without a secret."""
        return self._secret.sub("***", text)

    def shown(self, url: str) -> str:
        """Give a URL as it may be shown: neither user info nor query, and no secret part of its path."""
        parts = urlsplit(url)
        return self.told(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}")

    def fetch(
        self,
        url: str,
        sink: Callable[[Any, Any], Any],
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
        statuses: tuple[int, ...] = (200,),
    ) -> Any:
        """Ask for a URL and give what `sink` makes of the stream and the headers of the answer, None when it is a 304.

        What was cut, or has a status of the list RETRIED, is tried again, at most 5 times in all, so `sink` may be called again; it
        may itself raise a SourceError that `may_pass` for an answer that is not what it should be. A token that is refused is asked
        for again, once. `statuses` are those of a good answer. Raises SourceError: MissingFile for what is not there, UnreadableFile
        for what a server fails to give.
        """
        attempt, was_renewed = 0, False
        while True:
            token = ""
            try:
                self.hide(self._pass.open(self._ask_for_pass))
                with turn(urlsplit(url).netloc, self._limits):
                    token, carried, query = self._pass.carried()
                    return self._try(_with_query(url, query), sink, {**carried, **(headers or {})}, method, body, statuses)
            except SourceError as error:
                if error.status in DENIED and not was_renewed and (was_renewed := self._pass.give_up(token)):
                    continue
                attempt += 1
                if attempt >= self.tries or not error.may_pass:
                    raise
                wait = min(max(BACKOFF_SECONDS * 2 ** (attempt - 1), error.wait), LONGEST_WAIT_SECONDS)
                if error.wait:
                    rest(urlsplit(url).netloc, wait)
                logger.info("%s; another try in %.1f s", error, wait)
                time.sleep(wait)

    def _ask_for_pass(self, url: str, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Ask, without a pass, for one: at a URL, or at one from the endpoint."""
        own = urlsplit(self.endpoint)
        asked = urljoin(urlunsplit(own._replace(path=f"{own.path}/", query="")), url)
        with turn(urlsplit(asked).netloc, self._limits):
            answer: bytes = self._try(asked, lambda stream, _: stream.read(1 << 20), headers, method, body, (200, 201))
        return answer

    def _try(
        self,
        url: str,
        sink: Callable[[Any, Any], Any],
        headers: Mapping[str, str],
        method: str,
        body: bytes | None,
        statuses: tuple[int, ...],
    ) -> Any:
        import urllib3

        self.reading.spend(request_count=1)
        response, status, text, wait, is_good = None, None, "", 0.0, False
        try:
            told_to = {**self._headers, **headers}
            # What a body holds (a password, a search) is sent where the brick says, and nowhere else.
            response = self._pool.request(method, url, body=body, headers=told_to, preload_content=False, redirect=method == "GET")
            status = response.status
            if clock := sandbox_clock(response.headers):
                self.reading.note_sandbox(clock)
            elif status < 500:
                self._compare_clocks(url, response.headers)
            if status == 304 and headers.keys() & {"If-None-Match", "If-Modified-Since"}:
                # So that the connection is kept.
                return response.drain_conn()
            if is_good := status in statuses:
                return sink(io.BufferedReader(MeteredStream(response, self.reading), 1 << 16), response.headers)
            begun = response.read(4096, decode_content=True).decode("utf-8", "replace")
            self.reading.spend(response.tell())
            # What holds rows, as a part of a file does, is not quoted.
            text = "" if status < 300 or self.reading.request.is_private else self.told(begun)
            told = f"answered {status} {'' if '<' in text[:100] else ' '.join(text[:300].split())}".rstrip()
            with contextlib.suppress(urllib3.exceptions.InvalidHeader):
                wait = self._retries.get_retry_after(response) or 0.0
        except urllib3.exceptions.HTTPError as error:
            reason = self.told(str(getattr(error, "reason", None) or error)).rpartition(": ")[2]
            told = f"{'its answer was cut before its end' if status else 'cannot be reached'} ({type(error).__name__}: {reason})"
        finally:
            if response is not None:
                # What was not read to its end cannot be used again.
                response.close()
                response.release_conn()
        mend = MENDS.get(200 if is_good else status, "the source is ill: try later, or tell the producer")
        kind = MissingFile if status in (404, 410) else UnreadableFile if is_good or (status or 0) >= 500 else SourceError
        raise kind(f"{self.brick}: {self.shown(url)} {told}. Mend: {mend}.", status, text, wait, may_pass=is_good or status in RETRIED)

    def _compare_clocks(self, url: str, headers: Mapping[str, str]) -> None:
        """Raise ClockError when this machine's clock is far from the answer's: what is read would stand before or after its time."""
        told, age = instant(headers.get("Date")), headers.get("Age", "")
        now = datetime.now(UTC)
        if told is None:
            return
        # A cache tells when it asked for its answer, and how long ago (RFC 9111).
        told += timedelta(seconds=int(age) if re.fullmatch("[0-9]{1,9}", age) else 0)
        if abs(now - told) > CLOCKS_APART:
            raise ClockError(
                f"{self.brick}: {self.shown(url)} says that it is {told:%Y-%m-%d %H:%M:%S} UTC, and this machine {now:%Y-%m-%d %H:%M:%S} "
                "UTC: nothing is landed by a wrong clock. Mend: set this machine's clock (timedatectl set-ntp true); if it is right, tell "
                "the producer that its server's is wrong."
            )


def client_of(reading: Reading, headers: Mapping[str, str] | None = None) -> Client:
    """Give the client of a brick whose options are `WebOptions`; raises SourceError for a variable that is not set."""
    brick, options = reading.request.brick, reading.request.brick_options
    own = {name: value_of(brick, variable) for name, variable in options.headers_env.items()}
    return Client(reading, {**(headers or {}), **own}, options.auth, options.limits)


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """Give a URL with what is added to its query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(query)))))) if query else url


def sandbox_clock(headers: Mapping[str, str]) -> datetime | None:
    """Give the clock of the sandbox that sent something, by the headers that it sends it with; None where no sandbox did."""
    is_sandbox = headers.get("X-City-Orchestra-Sandbox") == "synthetic"
    return (instant(headers.get("Date")) or datetime.now(UTC)) if is_sandbox else None


def instant(header: str | None) -> datetime | None:
    """Read a date of an HTTP header, in UTC; None for none, or for one that is no date."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC) if header else None
    except (ValueError, TypeError):
        return None
