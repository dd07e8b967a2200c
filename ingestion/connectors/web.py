"""The one HTTP client of the connectors: time-outs, bounded retries, errors that name the mend and never a secret."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from ingestion.connectors import Reading, SourceError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

T = TypeVar("T")

logger = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS = 10, 60
TRIES, BACKOFF_SECONDS, LONGEST_WAIT_SECONDS = 5, 0.5, 120.0
# No status is no whole answer.
RETRIED = (None, 429, 500, 502, 503, 504)
MENDS = {
    401: "give a key that may read it",
    403: "give a key that may read it",
    404: "check the endpoint and the path in the brick",
    410: "the source has withdrawn it: check the endpoint and the path in the brick",
    429: "the source asks for fewer requests: lower the cadence or ask for a key",
}


class HttpError(SourceError):
    """An answer that is no content; `status` is None when there was no whole answer, `text` is what the source said.

    `is_cut` when an answer had begun, `wait` the seconds that the source asks to wait.
    """

    def __init__(self, message: str, status: int | None = None, text: str = "", *, is_cut: bool = False, wait: float = 0) -> None:
        super().__init__(message)
        self.status, self.text, self.is_cut, self.wait = status, text, is_cut, wait


class MeteredStream(io.RawIOBase):
    """Bytes on their way, counted as transferred, and hashed when `digest` is given."""

    def __init__(self, source: Any, reading: Reading, digest: Any = None) -> None:
        self._source, self._reading, self.digest, self._told = source, reading, digest, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer holds."""
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        # What an answer has brought over the wire may be packed.
        is_answer = hasattr(self._source, "decode_content")
        transferred = self._source.tell() if is_answer else self._told + len(chunk)
        self._reading.spend(transferred - self._told)
        self._told = transferred
        if self.digest:
            self.digest.update(chunk)
        return len(chunk)


class Client:
    """Asks one source over HTTP, with kept connections, and counts what it costs in a reading.

    `headers`, `user` (as user:password) and the user info and query of the endpoint are secrets: no message shows them.
    """

    def __init__(self, reading: Reading, headers: Mapping[str, str], user: str = "", connections: int = 8) -> None:
        import urllib3

        # Its DEBUG and INFO lines show whole URLs, where a key may stand.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        parts = urlsplit(reading.request.endpoint)
        written, _, host = parts.netloc.rpartition("@")
        user = user or unquote(written)
        self.endpoint = urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/")))
        self.reading, self.brick = reading, reading.request.brick
        basic = urllib3.make_headers(basic_auth=user) if user else {}
        secrets = (*headers.values(), *basic.values(), f": {written}", f": {user}", parts.query)
        # The key alone too, without the word before it (`Apikey`, `Basic`).
        parts_of = {part for text in secrets for part in (text, text.rpartition(" ")[2], text.rpartition(":")[2])}
        self._secrets = sorted((part.strip() for part in parts_of if len(part.strip()) > 2), key=len, reverse=True)
        self._headers = {"User-Agent": "city-orchestra/0.1", "Accept-Encoding": "gzip", **basic, **headers}
        # Only redirects are left to urllib3: it could not take up a body that was cut.
        self._retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False)
        self._retries.remove_headers_on_redirect = frozenset(name.lower() for name in (*basic, *headers))
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        settings: dict[str, Any] = {"timeout": timeout, "maxsize": connections, "block": True, "retries": self._retries}
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
        self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)

    def fetch(self, url: str, sink: Callable[[BaseHTTPResponse], T], headers: Mapping[str, str] | None = None) -> T:
        """Ask for a URL and give what `sink` makes of the answer (200 or 304), read to its end or not.

        Another status of the list RETRIED, a lost connection and a cut body are tried again, at most 5 times in all, so
        `sink` may be called again. Raises HttpError.
        """
        attempt = 1
        while True:
            try:
                return self._try(url, sink, headers or {})
            except HttpError as error:
                if attempt == TRIES or error.status not in RETRIED:
                    raise
                wait = min(max(BACKOFF_SECONDS * 2 ** (attempt - 1), error.wait), LONGEST_WAIT_SECONDS)
                attempt += 1
                logger.info("%s; try %d of %d in %.1f s", error, attempt, TRIES, wait)
                time.sleep(wait)

    def _try(self, url: str, sink: Callable[[BaseHTTPResponse], T], headers: Mapping[str, str]) -> T:
        import urllib3

        self.reading.spend(request_count=1)
        response = None
        try:
            response = self._pool.request("GET", url, headers={**self._headers, **headers}, preload_content=False)
            if response.headers.get("X-City-Orchestra-Sandbox") == "synthetic":
                self.reading.note_sandbox(instant(response.headers.get("Date")) or datetime.now(UTC))
            if response.status in (200, 304):
                return sink(response)
            text = self._safe(response.read(4096, decode_content=True).decode("utf-8", "replace"))
            wait = 0.0
            with contextlib.suppress(urllib3.exceptions.InvalidHeader):
                wait = self._retries.get_retry_after(response) or 0.0
        except urllib3.exceptions.HTTPError as error:
            is_cut = response is not None
            told = "its answer was cut before its end" if is_cut else "cannot be reached"
            reason = self._safe(str(getattr(error, "reason", None) or error)).rpartition(": ")[2]
            mend = "try later, or tell the producer" if is_cut else "check the address, the network and the proxy"
            message = f"{self.brick}: {shown(url)} {told} ({type(error).__name__}: {reason}). Mend: {mend}."
            raise HttpError(message, is_cut=is_cut) from error
        finally:
            if response is not None:
                # What was not read to its end cannot be used again.
                response.close()
                response.release_conn()
        told = "" if "<" in text[:100] else " ".join(text[:300].split())
        mend = MENDS.get(response.status, "the source is ill: try later, or tell the producer")
        message = f"{self.brick}: {shown(url)} answered {response.status} {told}".rstrip()
        raise HttpError(f"{message}. Mend: {mend}.", response.status, text, wait=wait)

    def _safe(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def shown(url: str) -> str:
    """Give a URL as it may be shown: neither user info nor query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"


def instant(header: str | None) -> datetime | None:
    """Read a date of an HTTP header, in UTC; None for none, or for one that is no date."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC) if header else None
    except (ValueError, TypeError):
        return None
