"""The one HTTP client of the connectors: time-outs, bounded retries, errors that name the mend and never a secret."""

from __future__ import annotations

import io
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from ingestion.connectors import SourceError

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

T = TypeVar("T")

logger = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS = 10, 60
TRIES, BACKOFF_SECONDS, LONGEST_WAIT_SECONDS = 5, 0.5, 120.0
RETRIED = (429, 500, 502, 503, 504)
MENDS = {
    401: "give a key that may read it",
    403: "give a key that may read it",
    404: "check the endpoint and the path in the brick",
    410: "the source has withdrawn it: check the endpoint and the path in the brick",
    429: "the source asks for fewer requests: lower the cadence or ask for a key",
}


class HttpError(SourceError):
    """An answer that is no content; `status` is None when there was no whole answer, `text` is what the source said."""

    def __init__(self, message: str, status: int | None = None, text: str = "", *, is_cut: bool = False) -> None:
        super().__init__(message)
        self.status, self.text, self.is_cut = status, text, is_cut


class Meter:
    """What a reading cost, counted from several threads: bytes as transferred, and requests."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self.byte_count = self.request_count = self._told = 0
        self._progress, self._lock = progress, threading.Lock()

    def add(self, byte_count: int = 0, request_count: int = 0) -> None:
        """Add to the counts, and tell the progress (bytes so far) once a mebibyte."""
        with self._lock:
            self.byte_count += byte_count
            self.request_count += request_count
            if self.byte_count - self._told >= 1 << 20:
                self._told = self.byte_count
                self._progress(self.byte_count)


class MeteredStream(io.RawIOBase):
    """Bytes on their way, counted as transferred, and hashed when `digest` is given."""

    def __init__(self, source: Any, meter: Meter, digest: Any = None) -> None:
        self._source, self._meter, self.digest, self._told = source, meter, digest, 0
        self._wire = source.tell if hasattr(source, "decode_content") else None
        self._size = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer holds."""
        chunk = self._source.read(len(buffer))
        size = len(chunk)
        buffer[:size] = chunk
        self._size += size
        transferred = self._wire() if self._wire else self._size
        self._meter.add(transferred - self._told)
        self._told = transferred
        if self.digest:
            self.digest.update(chunk)
        return size


class Client:
    """Asks one source of one brick over HTTP, with kept connections.

    `headers`, `user` (as user:password) and the user info and query of the endpoint are secrets: no message shows them.
    """

    def __init__(self, brick: str, endpoint: str, meter: Meter, headers: Mapping[str, str], user: str = "", connections: int = 8) -> None:
        import urllib3

        # Its DEBUG and INFO lines show whole URLs, where a key may stand.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        parts = urlsplit(endpoint)
        written, _, host = parts.netloc.rpartition("@")
        user = user or unquote(written)
        self.endpoint = urlunsplit(parts._replace(netloc=host, path=parts.path.rstrip("/")))
        self.brick, self.meter = brick, meter
        self.sandbox_at: datetime | None = None
        basic = urllib3.make_headers(basic_auth=user) if user else {}
        secrets = (*headers.values(), *basic.values(), f": {written}", f": {user}", parts.query)
        # The key alone too, without the word before it (`Apikey`, `Basic`).
        parts_of = {part for text in secrets for part in (text, text.rpartition(" ")[2], text.rpartition(":")[2])}
        self._secrets = sorted((part.strip() for part in parts_of if len(part.strip()) > 2), key=len, reverse=True)
        self._headers = {"User-Agent": "city-orchestra/0.1", "Accept-Encoding": "gzip", **basic, **headers}
        # Only redirects are left to urllib3: it could not take up a body that was cut.
        retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False)
        retries.remove_headers_on_redirect = frozenset(name.lower() for name in (*basic, *headers))
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        settings: dict[str, Any] = {"timeout": timeout, "maxsize": connections, "block": True, "retries": retries}
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
        self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)

    def fetch(self, url: str, sink: Callable[[BaseHTTPResponse], T], headers: Mapping[str, str] | None = None) -> T:
        """Ask for a URL and give what `sink` makes of the answer (200 or 304), which it reads to its end or closes.

        Another status of the list RETRIED, a lost connection and a cut body are tried again, at most 5 times in all, so
        `sink` may be called again. Raises HttpError.
        """
        wait = 0.0
        for attempt in range(1, TRIES + 1):
            error, asked_wait = self._try(url, sink, headers or {})
            if not isinstance(error, HttpError):
                return error
            if attempt == TRIES or (error.status is not None and error.status not in RETRIED):
                raise error
            wait = min(max(BACKOFF_SECONDS * 2 ** (attempt - 1), asked_wait), LONGEST_WAIT_SECONDS)
            logger.info("%s; try %d of %d in %.1f s", error, attempt + 1, TRIES, wait)
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _try(self, url: str, sink: Callable[[BaseHTTPResponse], T], headers: Mapping[str, str]) -> tuple[T | HttpError, float]:
        """Try once; give what `sink` made or the error, and the seconds that the source asks to wait."""
        import urllib3

        self.meter.add(request_count=1)
        is_begun = False
        try:
            response = self._pool.request("GET", url, headers={**self._headers, **headers}, preload_content=False)
            is_begun = True
            try:
                self._note_sandbox(response.headers)
                if response.status in (200, 304):
                    return sink(response), 0.0
                text = response.read(4096, decode_content=True).decode("utf-8", "replace")
                response.close()
                return self._refusal(url, response.status, text), _seconds(response.headers.get("Retry-After"))
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # An OSError of the sink itself (a full disk) is no fault of the source.
            if isinstance(error, OSError) and not isinstance(error, urllib3.exceptions.HTTPError):
                raise
            told = "its answer was cut before its end" if is_begun else "cannot be reached"
            reason = self._safe(str(getattr(error, "reason", None) or error)).rpartition(": ")[2]
            mend = "try later, or tell the producer" if is_begun else "check the address, the network and the proxy"
            message = f"{self.brick}: {shown(url)} {told} ({type(error).__name__}: {reason}). Mend: {mend}."
            return HttpError(message, is_cut=is_begun), 0.0

    def _refusal(self, url: str, status: int, text: str) -> HttpError:
        text = self._safe(text)
        told = "" if "<" in text[:100] else " ".join(text[:300].split())
        mend = MENDS.get(status, "the source is ill: try later, or tell the producer")
        return HttpError(f"{self.brick}: {shown(url)} answered {status} {told}".rstrip() + f". Mend: {mend}.", status, text)

    def _note_sandbox(self, headers: Mapping[str, str]) -> None:
        if self.sandbox_at is None and headers.get("X-City-Orchestra-Sandbox") == "synthetic":
            self.sandbox_at = instant(headers.get("Date")) or datetime.now(UTC)

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


def _seconds(retry_after: str | None) -> float:
    """Read Retry-After, a number of seconds or a date."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after)
    moment = instant(retry_after)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0) if moment else 0.0
