"""The one HTTP client of the connectors: time-outs, bounded retries, errors that name the mend and never a secret."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import os
import re
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

from ingestion.connectors import ClockError, MissingFile, Reading, SourceError, UnreadableFile

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

logger = logging.getLogger(__name__)

VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")  # in an endpoint: a part that the environment holds, and nothing shows
CONNECT_SECONDS, READ_SECONDS, CONNECTIONS = 10, 60, 8
TRIES, BACKOFF_SECONDS, LONGEST_WAIT_SECONDS = 5, 0.5, 120.0
CLOCKS_APART = timedelta(minutes=10)  # by which a source's clock may differ from this machine's
# None is no answer, 200 one that was cut.
RETRIED = (None, 200, 429, 500, 502, 503, 504)
MENDS = {
    None: "check the address, the network and the proxy",
    200: "try later, or tell the producer",
    401: "give a key that may read it",
    403: "give a key that may read it",
    404: "check the endpoint and the path in the brick",
    410: "the source has withdrawn it: check the endpoint and the path in the brick",
    429: "the source asks for fewer requests: lower the cadence or ask for a key",
}


class MeteredStream(io.RawIOBase):
    """The bytes of an answer, counted as transferred (packed, where they are), and hashed when `digest` is set."""

    digest: Any = None

    def __init__(self, response: BaseHTTPResponse, reading: Reading) -> None:
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

    `headers`, `user` (as user:password), the user info and query of the endpoint, and the variables that it names (`{API_TOKEN}`)
    are secrets: no message shows them, whatever a server repeats of what it was asked.
    """

    def __init__(self, reading: Reading, headers: Mapping[str, str], user: str = "") -> None:
        import urllib3

        # Its lines below ERROR show whole URLs, where a key may stand.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        named = {name: value_of(reading.request.brick, name) for name in VARIABLE.findall(reading.request.endpoint)}
        try:
            parts = urlsplit(VARIABLE.sub(lambda match: quote(named[match[1]], safe=""), reading.request.endpoint))
        except ValueError:
            raise SourceError(f"{reading.request.brick}: its endpoint is no URL. Mend: check the endpoint.") from None
        written, _, host = parts.netloc.rpartition("@")
        user = user or unquote(written)
        self.endpoint = urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/")))
        self.reading, self.brick = reading, reading.request.brick
        secret = {**(urllib3.make_headers(basic_auth=user) if user else {}), **headers}
        self._headers = {"User-Agent": "city-orchestra/0.1", "Accept-Encoding": "gzip", **secret}
        # The key alone too, without the word before it (`Apikey`, `Basic`).
        texts = (*secret.values(), f": {written}", f": {user}", parts.query)
        pieces = {piece for text in texts for piece in (text, text.rpartition(" ")[2], text.rpartition(":")[2])}
        values = [*named.values(), *(value for _, value in parse_qsl(parts.query))]
        pieces |= {form for value in values for form in (value, quote(value), quote(value, safe=""), quote_plus(value))}
        pieces |= {value for _, _, value in (each.partition("=") for each in parts.query.split("&"))}
        longest_first = sorted((re.escape(piece.strip()) for piece in pieces if len(piece.strip()) > 2), key=len, reverse=True)
        self._secret = re.compile("|".join(longest_first) or "(?!)")  # (?!) is found nowhere
        # Only redirects are left to urllib3: it could not take up a body that was cut.
        self._retries = urllib3.Retry(
            connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False, remove_headers_on_redirect=secret
        )
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        settings: dict[str, Any] = {"timeout": timeout, "maxsize": CONNECTIONS, "block": True, "retries": self._retries}
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
        self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)

    def shown(self, url: str) -> str:
        """Give a URL as it may be shown: neither user info nor query, and no secret part of its path."""
        parts = urlsplit(url)
        return self._secret.sub("***", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}")

    def fetch(self, url: str, sink: Callable[[Any, Any], Any], headers: Mapping[str, str] | None = None) -> Any:
        """Ask for a URL and give what `sink` makes of the stream and the headers of the answer, None when it is a 304.

        What the list RETRIED holds is tried again, at most 5 times in all, so `sink` may be called again. Raises SourceError:
        MissingFile for what is not there, UnreadableFile for what a server fails to give.
        """
        attempt = 0
        while True:
            try:
                return self._try(url, sink, headers or {})
            except SourceError as error:
                attempt += 1
                if attempt == TRIES or error.status not in RETRIED or isinstance(error, ClockError):
                    raise
                wait = min(max(BACKOFF_SECONDS * 2 ** (attempt - 1), error.wait), LONGEST_WAIT_SECONDS)
                logger.info("%s; another try in %.1f s", error, wait)
                time.sleep(wait)

    def _try(self, url: str, sink: Callable[[Any, Any], Any], headers: Mapping[str, str]) -> Any:
        import urllib3

        self.reading.spend(request_count=1)
        response, status, text, wait = None, None, "", 0.0
        try:
            response = self._pool.request("GET", url, headers={**self._headers, **headers}, preload_content=False)
            status = response.status
            if response.headers.get("X-City-Orchestra-Sandbox") == "synthetic":
                self.reading.note_sandbox(instant(response.headers.get("Date")) or datetime.now(UTC))
            elif status < 500:
                self._compare_clocks(url, response.headers)
            if status == 304 and headers:
                # So that the connection is kept.
                return response.drain_conn()
            if status == 200:
                return sink(io.BufferedReader(MeteredStream(response, self.reading), 1 << 16), response.headers)
            body = response.read(4096, decode_content=True).decode("utf-8", "replace")
            self.reading.spend(response.tell())
            # What holds rows, as a part of a file does, is not quoted.
            text = "" if status < 300 or self.reading.request.is_private else self._secret.sub("***", body)
            told = f"answered {status} {'' if '<' in text[:100] else ' '.join(text[:300].split())}".rstrip()
            with contextlib.suppress(urllib3.exceptions.InvalidHeader):
                wait = self._retries.get_retry_after(response) or 0.0
        except urllib3.exceptions.HTTPError as error:
            reason = self._secret.sub("***", str(getattr(error, "reason", None) or error)).rpartition(": ")[2]
            told = f"{'its answer was cut before its end' if status else 'cannot be reached'} ({type(error).__name__}: {reason})"
        finally:
            if response is not None:
                # What was not read to its end cannot be used again.
                response.close()
                response.release_conn()
        mend = MENDS.get(status, "the source is ill: try later, or tell the producer")
        kind = MissingFile if status in (404, 410) else UnreadableFile if status == 200 or (status or 0) >= 500 else SourceError
        raise kind(f"{self.brick}: {self.shown(url)} {told}. Mend: {mend}.", status, text, wait, may_pass=status in RETRIED)

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


def value_of(brick: str, variable: str) -> str:
    """Give the value of a variable that lets a brick in; raises SourceError when it is not set."""
    if value := os.environ.get(variable):
        return value
    raise SourceError(f"{brick}: the environment lacks {variable}. Mend: set it to what lets this brick in.")


def instant(header: str | None) -> datetime | None:
    """Read a date of an HTTP header, in UTC; None for none, or for one that is no date."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC) if header else None
    except (ValueError, TypeError):
        return None
