"""Files on a server of SFTP or FTP: each is read whole or not at all, from where it was cut, and again when it changed meanwhile."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any, BinaryIO, Protocol
from urllib.parse import quote, unquote, urlsplit

from pydantic import WithJsonSchema

from ingestion.connectors import MissingFile, Reading, SourceError, Strict, UnreadableFile, Variable
from ingestion.connectors.authentication import value_of
from ingestion.connectors.stores import GLANCE, Store, StoreEntry, Taken
from ingestion.connectors.turns import Limits, turn
from ingestion.connectors.web import BACKOFF_SECONDS, TRIES, VARIABLE
from ingestion.declaration import written

HOST_KEY = r"^(SHA256:[A-Za-z0-9+/]{43}=?|(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ [A-Za-z0-9+/]+={0,3}( .*)?)$"
BLOCK = 1 << 20  # what is asked at once, and what must have come since a cut for the next one to be another fault
TOLD_HOST_KEY = "is no public key of a server: `ssh-ed25519 AAAA...` as in known_hosts, or its fingerprint `SHA256:...`"


class Login(Strict):
    """How a server of SFTP or FTP lets a brick in, by names of variables, and the key by which a server of SFTP is known."""

    user_env: Variable | None = None
    password_env: Variable | None = None
    key_env: Variable | None = None
    passphrase_env: Variable | None = None
    host_key: Annotated[str, written(HOST_KEY, TOLD_HOST_KEY), WithJsonSchema({"pattern": HOST_KEY, "type": "string"})] | None = None
    known_hosts: str | None = None


class Cut(Exception):
    """What may go well when it is tried again: no answer, an answer that ended before its end."""


class Changed(Exception):
    """A file that is no longer the one whose reading began."""


class Flow(Protocol):
    """The bytes of a file from an offset; nothing at its end. Reading raises Cut."""

    def read(self, size: int) -> bytes:
        """Give at most so many bytes."""

    def close(self) -> None:
        """Let go of it."""


class RemoteStore(Store):
    """A server that a connection leads to; what speaks its protocol is below the line of `_open`.

    `user` and `secrets` are those of the brick and of its endpoint; no message shows a secret. `tries` is how often what may pass is asked.
    """

    POLITE = Limits()

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        request = reading.request
        self.reading, self.brick, self.tries = reading, request.brick, TRIES
        options = request.brick_options
        self.login: Login = options.login or Login()
        self._limits = options.limits if "limits" in options.model_fields_set else self.POLITE
        named = {name: value_of(self.brick, name) for name in VARIABLE.findall(request.endpoint)}
        try:
            parts = urlsplit(VARIABLE.sub(lambda match: quote(named[match[1]], safe=""), request.endpoint))
            self.scheme, self.host, self.port = parts.scheme, parts.hostname or "", parts.port
        except ValueError:
            raise SourceError(f"{self.brick}: its endpoint is no URL. Mend: check the endpoint.") from None
        if not self.host or parts.query or parts.fragment:
            raise SourceError(
                f"{self.brick}: its endpoint is no {parts.scheme}://host/path. Mend: check the endpoint (# and ? as %23, %3F)."
            )
        values = {name: value_of(self.brick, variable) for name in Login.model_fields if (variable := self._variable(name))}
        self.user = values.get("user_env") or unquote(parts.username or "")
        self.password = values.get("password_env") or unquote(parts.password or "") or None
        self.key, self.passphrase = values.get("key_env"), values.get("passphrase_env")
        self._secrets = {each for each in (*named.values(), *values.values(), self.password or "") if len(each) > 2} - {self.user}
        self.path = unquote(parts.path, errors="surrogateescape")
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def _variable(self, name: str) -> str | None:
        return getattr(self.login, name) if name.endswith("_env") else None

    def told(self, text: str) -> str:
        """Give a text as it may be shown: in one line, without a secret."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return " ".join(text.split())[:300]

    def place(self, folder: str) -> str:
        """Give the address of a file or folder."""
        return self._of("/".join(filter(None, ("" if self.path == "." else self.path.strip("/"), folder))))

    def list(self, folder: str) -> Sequence[StoreEntry]:
        """List a folder."""
        own = self.own_name(folder)
        with turn(self._shown, self._limits):
            listed = self._ask(folder, lambda: self._list(self._own_path(own)))
        return [replace(entry, name=self._note_name(folder, own, entry.name)) for entry in listed]

    def glance(self, name: str) -> tuple[bytes, Any]:
        """Read what a file begins with."""

        def begin() -> bytes:
            with closing(self._open(path, 0, GLANCE)) as flow:
                return flow.read(GLANCE)

        path = self._own_path(self.own_name(name))
        with turn(self._shown, self._limits):
            found = self._ask(name, lambda: self._stat(path))
            return self._ask(name, begin), found.modified

    def read(self, file: StoreEntry, known: str | None, take: Callable[[BinaryIO], Any]) -> Taken | None:
        """Read a file that is the same before and after; of one that tells neither size nor date, its content is the signature."""
        path = self._own_path(self.own_name(file.name))
        with turn(self._shown, self._limits):
            found = file if file.signature else self._ask(file.name, lambda: self._stat(path))
            for attempt in range(self.tries):
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) if attempt else 0)
                if found.signature and found.signature == known:
                    return None
                with closing(_Steady(self, file.name, path, found)) as stream:
                    content, is_whole = None, False
                    try:
                        buffered = io.BufferedReader(stream, BLOCK)
                        content = take(buffered)
                        # To its end, else a cut would go unseen.
                        while buffered.read(BLOCK):
                            pass
                        is_whole = found.size in (-1, stream.offset)
                    except Changed:
                        pass
                after = self._ask(file.name, lambda: self._stat(path))
                if is_whole and (after.signature, after.size) == (found.signature, found.size):
                    signature = found.signature or f"sha256 {stream.digest.hexdigest()}"
                    return None if signature == known else Taken(content, signature, found.modified)
                found = after
        told = f"{self.brick}: {self.place(file.name)} changes while it is read: it is being written"
        mend = "none where it is about to end; else have the source write it under another name, and rename it once it is whole"
        raise UnreadableFile(f"{told}. Mend: {mend}.", may_pass=True)

    def _ask(self, name: str, do: Callable[[], Any]) -> Any:
        """Ask, and ask again what may pass; raises SourceError."""
        for attempt in range(self.tries):
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) if attempt else 0)
            self.reading.spend(request_count=1)
            try:
                return do()
            except Cut as error:
                cut = error
        raise self.unreadable(name, cut)

    def unreadable(self, name: str, error: Exception) -> SourceError:
        """Make the error of what the server fails to give."""
        told = f"{self.brick}: {self.place(name)} {self.told(str(error))}"
        return UnreadableFile(f"{told}. Mend: check the address, the network and the server; try later.", may_pass=True)

    def missing(self, name: str) -> SourceError:
        """Make the error of what is not there."""
        return MissingFile(f"{self.brick}: {self._of(name)} is not there. Mend: check the endpoint and the path in the brick.")

    def withheld(self, name: str, why: str) -> SourceError:
        """Make the error of what the server does not give to us."""
        return UnreadableFile(f"{self.brick}: {self._of(name)} cannot be read ({self.told(why)}). Mend: check its rights.")

    def refused(self, why: str, mend: str) -> SourceError:
        """Make the error of a server that does not let us in."""
        return SourceError(f"{self.brick}: {self._shown} {self.told(why)}. Mend: {mend}.")

    def _of(self, path: str) -> str:
        """Give the address of a path of the server as a message shows it."""
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return self.told(f"{self._shown}/{shown.lstrip('/')}".rstrip("/"))

    def _own_path(self, own: str) -> str:
        """Give the path of a file or folder on the server."""
        return re.sub("/+$", "", f"{self.path.rstrip('/')}/{own}") if own else self.path

    @abstractmethod
    def close(self) -> None:
        """Let go of the connections."""

    @abstractmethod
    def _list(self, path: str) -> Sequence[StoreEntry]:
        """List a folder, by the names that the server gives; raises Cut or SourceError."""

    @abstractmethod
    def _stat(self, path: str) -> StoreEntry:
        """Give the signature, date and size (-1 where it does not tell) of a file; raises Cut or SourceError."""

    @abstractmethod
    def _open(self, path: str, offset: int, end: int) -> Flow:
        """Begin to read a file at an offset, of which nothing is awaited from `end` on; raises Cut or SourceError."""


class _Steady(io.RawIOBase):
    """The bytes of a file, counted and hashed, taken up where they were cut as long as the file is the same; raises Changed where not."""

    def __init__(self, store: RemoteStore, name: str, path: str, found: StoreEntry) -> None:
        self._store, self._name, self._path, self._found = store, name, path, found
        self._flow: Flow | None = None
        self._cuts, self._cut_at, self.offset = 0, 0, 0
        self.digest = hashlib.sha256()
        self._is_counted = not found.signature

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer holds."""
        while True:
            try:
                chunk = self._next(len(buffer))
                break
            except Cut as error:
                self._let_go()
                self._cuts = 1 if self.offset - self._cut_at >= BLOCK else self._cuts + 1
                self._cut_at = self.offset
                if self._cuts >= self._store.tries:
                    raise self._store.unreadable(self._name, error) from error
                time.sleep(BACKOFF_SECONDS * 2 ** (self._cuts - 1))
        buffer[: len(chunk)] = chunk
        self.offset += len(chunk)
        self._store.reading.spend(len(chunk))
        if self._is_counted:
            self.digest.update(chunk)
        if 0 <= self._found.size < self.offset:
            raise Changed
        return len(chunk)

    def _next(self, size: int) -> bytes:
        if self._flow is None:
            self._store.reading.spend(request_count=1)
            if self._cuts:
                now = self._store._stat(self._path)
                if (now.signature, now.size) != (self._found.signature, self._found.size):
                    raise Changed
            # One byte more, which tells that it has grown.
            self._flow = self._store._open(self._path, self.offset, self._found.size + 1 or sys.maxsize)
        chunk = self._flow.read(size)
        if not chunk and self.offset < self._found.size:
            raise Cut(f"ended after {self.offset} bytes of {self._found.size}")
        return chunk

    def _let_go(self) -> None:
        if self._flow is not None:
            flow, self._flow = self._flow, None
            flow.close()

    def close(self) -> None:
        """Let go of the file."""
        self._let_go()
        super().close()
