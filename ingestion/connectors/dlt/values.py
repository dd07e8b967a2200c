"""The values that let a brick of dlt in: filled in where it is read, and shown by no message, whatever dlt says."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, unquote, urlsplit, urlunsplit

from ingestion.connectors import Request, SourceError
from ingestion.connectors.authentication import value_of
from ingestion.connectors.web import MENDS, RETRIED, VARIABLE

ENDPOINT = "{endpoint}"


class Values:
    """The values of the variables that a brick names, and of its endpoint, which nothing shows; without a request, stand-ins."""

    def __init__(self, request: Request | None) -> None:
        self._brick = request and request.brick
        self._known: set[str] = set()
        self.endpoint, self.whole = "", ""
        self.query: dict[str, list[str]] = {}
        if not request:
            return
        named = {name: self._value(name) for name in VARIABLE.findall(request.endpoint)}
        self.whole = VARIABLE.sub(lambda match: named[match[1]], request.endpoint)
        try:
            told = urlsplit(VARIABLE.sub(lambda match: quote(named[match[1]], safe=""), request.endpoint))
        except ValueError:
            raise SourceError(f"{request.brick}: its endpoint is no URL. Mend: check the endpoint.") from None
        user = told.netloc.rpartition("@")[0]
        self.query = parse_qs(told.query, keep_blank_values=True)
        self._known |= {*(value for each in self.query.values() for value in each), user, *map(unquote, user.split(":"))}
        self.endpoint = urlunsplit(told._replace(query="", path=f"{told.path.rstrip('/')}/"))

    def _value(self, variable: str) -> str:
        value = value_of(self._brick, variable) if self._brick else variable
        self._known.add(value if self._brick else "")
        return value

    def fill(self, told: Any, *, is_written: bool = False) -> Any:
        """Give what a brick says with its variables filled in; `is_written` where dlt writes values into it, by braces."""
        if isinstance(told, dict):
            return {key: self.fill(value, is_written=is_written) for key, value in told.items()}
        if isinstance(told, list | tuple):
            return [self.fill(each, is_written=is_written) for each in told]
        if not isinstance(told, str):
            return told
        if ENDPOINT in told and not is_written and self._brick:
            told = told.replace(ENDPOINT, self.whole)

        def value(match: re.Match[str]) -> str:
            own = self._value(match[1])
            return own.replace("{", "{{").replace("}", "}}") if is_written else own

        return VARIABLE.sub(value, told)

    def hide(self, text: str) -> str:
        """Give a text without any of the values, as they are or as a URL writes them."""
        forms = {form for value in self._known for form in (value, quote(value), quote(value, safe=""), quote_plus(value))}
        longest_first = sorted((re.escape(form) for form in forms if len(form.strip()) > 2), key=len, reverse=True)
        return re.sub("|".join(longest_first) or "(?!)", "***", text)

    @contextlib.contextmanager
    def hidden_in_logs(self, *, is_private: bool) -> Iterator[None]:
        """Keep the values out of what dlt logs meanwhile, and all that it says of a private brick."""

        def is_shown(record: logging.LogRecord) -> bool:
            record.msg, record.args = self.hide(record.getMessage()), ()
            return not is_private

        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its lines below show whole URLs
        logger = logging.getLogger("dlt")
        logger.addFilter(is_shown)
        try:
            yield
        finally:
            logger.removeFilter(is_shown)


def fault_of(error: BaseException, name: str, values: Values, mend: str, *, is_private: bool) -> SourceError:
    """Say what went wrong without what dlt says around it, any secret, or what a private source holds."""
    import requests

    chain = _chain(error)
    if own := next((each for each in chain if isinstance(each, SourceError)), None):
        own.__cause__ = own.__context__ = None
        own.args = (values.hide(str(own)),)
        return own
    of_http = next((each for each in chain if isinstance(each, requests.RequestException)), None)
    answer = getattr(of_http, "response", None)
    if isinstance(of_http, requests.TooManyRedirects):
        return SourceError(f"{name}: the source is redirected without end. Mend: check the endpoint, the path and the key.")
    if of_http is not None and answer is not None:
        from ingestion.connectors.dlt.pages import shown

        text = "" if is_private or "<" in answer.text[:100] else values.hide(" ".join(answer.text[:300].split()))
        told = f"{name}: {shown(answer.url, values.hide)} answered {answer.status_code} {text}".rstrip()
        mend = MENDS.get(answer.status_code, "the source is ill: try later, or tell the producer")
        return SourceError(f"{told}. Mend: {mend}.", answer.status_code, text, may_pass=answer.status_code in RETRIED)
    if isinstance(of_http, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        told = f"{name}: an answer was cut before its end, or is corrupt ({type(of_http).__name__})"
        return SourceError(f"{told}. Mend: {MENDS[200]}.", may_pass=True)
    if isinstance(of_http, requests.ConnectionError | requests.Timeout):
        return SourceError(f"{name}: the source cannot be reached ({type(of_http).__name__}). Mend: {MENDS[None]}.", may_pass=True)
    told = type(chain[-1]).__name__ if is_private else said(error, values)
    return SourceError(f"{name}: {told}. Mend: {mend}.")


def said(error: BaseException, values: Values) -> str:
    """Say an error in its own words: the first that dlt did not make around another, else the last that it did."""
    chain = _chain(error)
    first = next((each for each in chain if not type(each).__module__.startswith("dlt.")), chain[-1])
    told = " ".join(values.hide(str(first)).split())[:400].rstrip(".")
    return told if type(first) is ValueError else f"{type(first).__name__}: {told}"


def _chain(error: BaseException) -> list[BaseException]:
    """Give an error and those that it was made of."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain
