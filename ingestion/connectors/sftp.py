"""Files on a server of SFTP, whose key is known beforehand: asyncssh on one thread of its own, spoken to from the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from ingestion.connectors import Reading, SourceError
from ingestion.connectors.remote import Cut, Flow, RemoteStore
from ingestion.connectors.stores import StoreEntry
from ingestion.connectors.turns import Limits
from ingestion.connectors.web import CONNECT_SECONDS, READ_SECONDS

SYMLINK, UNKNOWN = 3, 5  # of SFTP's own types
_loops: dict[int, asyncio.AbstractEventLoop] = {}
_making = threading.Lock()


class SftpStore(RemoteStore):
    """A folder of a server of SFTP: one connection, over which several files are read at once."""

    POLITE = Limits(concurrency=4)

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        logging.getLogger("asyncssh").setLevel(logging.ERROR)
        # As curl has it: below the folder of who is let in.
        self.path = (
            (self.path.removeprefix("/~").lstrip("/") or ".") if self.path.startswith("/~/") or self.path == "/~" else self.path or "."
        )
        self._connecting = threading.Lock()
        self._held: tuple[Any, Any] | None = None

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go(self._held)

    def _list(self, path: str) -> Sequence[StoreEntry]:
        async def listed(client: Any) -> list[StoreEntry]:
            entries = []
            async for each in client.scandir(_wire(path)):
                name, attributes = each.filename, each.attrs
                if name in (b".", b".."):
                    continue
                if attributes.type in (SYMLINK, UNKNOWN) or attributes.permissions is None:
                    try:
                        attributes = await client.stat(_wire(path) + b"/" + name)
                    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPPermissionDenied, asyncssh.SFTPLinkLoop):
                        continue  # a link to nothing, or a file that went away meanwhile
                    except asyncssh.SFTPFailure:
                        continue  # a link to itself, of a server of version 3
                if entry := _entry(os.fsdecode(name), attributes):
                    entries.append(entry)
            return entries

        import asyncssh

        given: list[StoreEntry] = self._do(path, listed)
        return given

    def _stat(self, path: str) -> StoreEntry:
        entry = _entry(path, self._do(path, lambda client: client.stat(_wire(path))))
        if entry is None or entry.is_folder:
            raise self.withheld(path, "it is no file")
        return entry

    def _open(self, path: str, offset: int, end: int) -> Flow:
        return _Flow(self, path, offset, end)

    def _do(self, path: str, ask: Any) -> Any:
        """Ask the server about a path; raises Cut or SourceError."""
        held = self._connected()
        with self._in_words(path, held):
            return _run(ask(held[1]), READ_SECONDS)

    @contextlib.contextmanager
    def _in_words(self, path: str, held: tuple[Any, Any]) -> Iterator[None]:
        import asyncssh

        try:
            yield
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory):
            raise self.missing(path) from None
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPBadMessage) as error:
            self._let_go(held)
            raise Cut(f"was cut ({error.reason})") from None
        except asyncssh.SFTPError as error:
            raise self.withheld(path, error.reason or type(error).__name__) from None
        except TimeoutError:
            self._let_go(held)
            raise Cut(f"has said nothing for {READ_SECONDS} s") from None
        except (asyncssh.Error, OSError, ValueError, asyncio.CancelledError) as error:
            self._let_go(held)
            raise Cut(f"was cut ({type(error).__name__}: {error})") from None

    def _let_go(self, held: tuple[Any, Any] | None) -> None:
        """End a connection, on which others may read too: they make another one."""
        with self._connecting:
            if held is not None and self._held is held:
                self._held = None
        if held is not None:
            _loop().call_soon_threadsafe(held[0].abort)

    def _connected(self) -> tuple[Any, Any]:
        """Give the connection and what speaks SFTP on it, made where there is none."""
        with self._connecting:
            if self._held is None or self._held[0].is_closed():
                self._held = self._connect()
            return self._held

    def _connect(self) -> tuple[Any, Any]:
        """Connect; raises Cut, and SourceError where the server is another one or does not let us in."""
        import asyncssh

        met, keys, mend = list[str](), self._keys(), "check the user, and the password or the key that the variables of `login` hold"
        trusted, fingerprint = self._trusted()

        class Client(asyncssh.SSHClient):  # type: ignore[name-defined]
            def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
                met.append(key.get_fingerprint())
                return met[-1].rstrip("=") == fingerprint

        async def opened() -> tuple[Any, Any]:
            connection = await asyncssh.connect(
                self.host, self.port or 22, client_factory=Client, known_hosts=trusted, config=None, agent_path=None, username=self.user,
                client_keys=keys, password=self.password, login_timeout=CONNECT_SECONDS, connect_timeout=CONNECT_SECONDS,
                keepalive_interval=15, gss_host=None, host_based_auth=False,
            )  # fmt: skip
            try:
                return connection, await connection.start_sftp_client(path_encoding=None)
            except BaseException:
                connection.abort()
                raise

        if not self.user:
            raise self.refused("needs a user", "`login.user_env` in the brick names the variable that holds it") from None
        try:
            return _run(opened(), 3 * CONNECT_SECONDS)
        except asyncssh.PermissionDenied:
            raise self.refused(f"does not let {self.user} in", mend) from None
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            told = f"shows the key {met[-1]}, which is not the one that is known" if met else f"shows no key that is known ({error.reason})"
            how = (
                f"`ssh-keyscan -p {self.port or 22} {self.host}` shows its keys; `login.host_key` holds the one that its producer confirms"
            )
            raise self.refused(told, f"{how}. Where it was known, somebody may stand between: ask first") from None
        except asyncssh.ChannelOpenError as error:
            raise self.refused(f"offers no SFTP ({error.reason})", "check the endpoint") from None
        except asyncssh.SFTPError as error:
            raise Cut(f"does not begin SFTP ({error.reason})") from None
        except TimeoutError:
            raise Cut(f"has not answered within {CONNECT_SECONDS} s") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            raise Cut(f"cannot be reached ({type(error).__name__}: {error})") from None

    def _keys(self) -> list[Any] | None:
        """Give the private key that lets us in, of a variable that holds it or its path; None where none is told."""
        import asyncssh

        if self.key is None:
            return None
        try:
            text = self.key if "PRIVATE KEY" in self.key else Path(self.key).expanduser().read_text(encoding="utf-8")
            return [asyncssh.import_private_key(text.replace("\\n", "\n").strip() + "\n", self.passphrase)]
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            told = f"{self.brick}: {self.login.key_env} holds neither a private key nor the path of one that can be read ({why})"
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            kind = "is wrong, or is lacking" if "pass" in str(error).lower() else "cannot be read"
            what = "the passphrase of its private key" if "pass" in str(error).lower() else "its private key"
            told = f"{self.brick}: {self.login.key_env}: {what} {kind}"
        raise SourceError(f"{told}. Mend: set it to an OpenSSH or PEM private key, and `login.passphrase_env` where it has one.") from None

    def _trusted(self) -> tuple[Any, str]:
        """Give the keys that the server may show, as asyncssh takes them, and the fingerprint of the one where only that is told."""
        import asyncssh

        none: tuple[list[Any], list[Any], list[Any]] = [], [], []
        told, file = self.login.host_key, Path(self.login.known_hosts or "~/.ssh/known_hosts").expanduser()
        if told and told.startswith("SHA256:"):
            return none, told.rstrip("=")
        try:
            if told:
                return ([asyncssh.import_public_key(told)], [], []), ""
            if self.login.known_hosts or file.is_file():
                return asyncssh.read_known_hosts(str(file)), ""
        except (OSError, ValueError, asyncssh.KeyImportError) as error:
            why = f"({getattr(error, 'strerror', None) or error})"
            what = "`login.host_key`" if told else f"{file}"
            raise SourceError(f"{self.brick}: {what} cannot be read {why}. Mend: check `login` in the brick.") from None
        return none, ""


class _Flow:
    """A file that is read from an offset; the next block is on its way while one is used."""

    def __init__(self, store: SftpStore, path: str, offset: int, end: int) -> None:
        self._store, self._path, self._offset, self._end = store, path, offset, end
        self._held = store._connected()
        with store._in_words(path, self._held):
            self._file = _run(self._held[1].open(_wire(path), "rb", encoding=None), READ_SECONDS)
        self._next: Any = None

    def read(self, size: int) -> bytes:
        """Give at most so many bytes."""
        with self._store._in_words(self._path, self._held):
            if self._offset >= self._end:
                return b""
            if self._next is None:
                self._next = self._asked(size)
            chunk: bytes = self._next.result(READ_SECONDS)
            self._offset += len(chunk)
            self._next = self._asked(size) if chunk and self._offset < self._end else None
            return chunk

    def _asked(self, size: int) -> Any:
        return asyncio.run_coroutine_threadsafe(self._file.read(min(size, self._end - self._offset), self._offset), _loop())

    def close(self) -> None:
        """Let go of the file."""
        if self._next is not None:
            self._next.cancel()
        with contextlib.suppress(Exception):
            _run(self._file.close(), 5)


def _wire(path: str) -> bytes:
    return os.fsencode(path)


def _entry(name: str, attributes: Any) -> StoreEntry | None:
    """Give a file or folder by its attributes; None for what is neither. The date of version 3 is in whole seconds."""
    mode = attributes.permissions or 0
    if not (S_ISDIR(mode) or S_ISREG(mode) or not mode):
        return None
    size, seconds = attributes.size, attributes.mtime
    signature = None if size is None or seconds is None else f"{size} {seconds}"
    modified = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return StoreEntry(name, S_ISDIR(mode), signature, modified, -1 if size is None else size)


def _loop() -> asyncio.AbstractEventLoop:
    """Give the loop of this process, which turns on a thread of its own."""
    with _making:
        if os.getpid() not in _loops:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="sftp", daemon=True).start()
        return _loops[os.getpid()]


def _run(awaited: Awaitable[Any], seconds: float) -> Any:
    """Have what is awaited run on the loop; raises TimeoutError."""

    async def given() -> Any:
        return await awaited

    future = asyncio.run_coroutine_threadsafe(given(), _loop())
    try:
        return future.result(seconds)
    except TimeoutError:
        future.cancel()
        raise
