"""Files on a server of FTP, in clear (`ftp://`) or over TLS that is verified (`ftps://`, explicit), in passive mode."""

from __future__ import annotations

import contextlib
import ftplib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from ingestion.connectors import Reading, SourceError
from ingestion.connectors.remote import Cut, Flow, RemoteStore
from ingestion.connectors.stores import StoreEntry
from ingestion.connectors.turns import Limits
from ingestion.connectors.web import CONNECT_SECONDS, READ_SECONDS

# A line of a listing as `ls -l` or Windows writes it: kind, size, date, name.
UNIX = re.compile(
    r"([-dlbcps])\S{9,11}\s+\d+\s+(?:\S+\s+){1,2}?(\d+)\s+"
    r"([A-Za-z]{3}\s+\d{1,2}\s+(?:\d{4}|\d{1,2}:\d{2})|\d{4}-\d{2}-\d{2}\s+\d{2}:\d{2})\s(.+)"
)
WINDOWS = re.compile(r"(\d{2}-\d{2}-(?:\d{4}|\d{2})\s+\d{1,2}:\d{2}(?:[AP]M)?)\s+(<DIR>|\d+)\s(.+)")
NOT_OFFERED = ("500", "501", "502", "504")
DENIED = re.compile("denied|permission|not allowed|forbidden|privilege", re.IGNORECASE)


class _Tls(ftplib.FTP_TLS):
    """FTP over TLS, whose transfers are of the session that was verified, as servers may ask."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[Any, int | None]:
        """Begin a transfer."""
        raw, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(raw, server_hostname=self.host, session=getattr(self.sock, "session", None)), size


class FtpStore(RemoteStore):
    """A folder of a server of FTP; each file that is read at once has a connection of its own."""

    POLITE = Limits(concurrency=2)

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        if self.login.model_fields_set & {"key_env", "passphrase_env", "host_key", "known_hosts"}:
            raise self.refused("is of FTP, which knows no key", "`login` holds `user_env` and `password_env`, or the endpoint is sftp://")
        if self.scheme == "ftp" and (self.password or reading.request.is_private):
            what = "personal data" if reading.request.is_private else "a password"
            told = f"{self.brick}: {self._shown} carries {what} in clear"
            reading.warnings.append(f"{told}. Mend: ftps:// or sftp://, where its server speaks it")
        # As RFC 1738 has it: below the folder of who is let in.
        self.path = self.path.removeprefix("/")
        self._idle: list[ftplib.FTP] = []
        self._homes = WeakKeyDictionary[ftplib.FTP, str]()
        self._features: set[str] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the connections."""
        while self._idle:
            with contextlib.suppress(OSError, ftplib.Error, EOFError):
                self._idle.pop().close()

    def _list(self, path: str) -> Sequence[StoreEntry]:
        with self._line(path) as line:
            if path:
                line.voidcmd(f"CWD {_wire(path)}")
            lines: list[str] = []
            is_exact = "MLST" in self._offered(line)
            try:
                line.retrlines("MLSD" if is_exact else "LIST", lines.append)
                listed = [self._fact(each, path) if is_exact else self._listed(each, path, line) for each in lines]
            finally:
                # Paths are from where one is let in.
                line.voidcmd(f"CWD {self._homes[line]}")
        return [entry for entry in listed if entry]

    def _stat(self, path: str) -> StoreEntry:
        with self._line(path) as line:
            if "MLST" in self._offered(line):
                told = [each for each in line.sendcmd(f"MLST {_wire(path)}").splitlines() if each.startswith(" ")]
                entry = self._fact(told[0][1:], path) if told else None
                if entry is None or entry.is_folder:
                    raise self.withheld(path, "it is no file")
                return entry
            line.voidcmd("TYPE I")
            size = self._number(line, "SIZE", path)
            stamp = self._number(line, "MDTM", path)
            return _entry(path, size, stamp)

    def _open(self, path: str, offset: int, end: int) -> Flow:
        return _Flow(self, path, offset)

    def _number(self, line: ftplib.FTP, command: str, path: str) -> str | None:
        """Give the answer to SIZE or MDTM; None where the server does not speak it."""
        try:
            return line.sendcmd(f"{command} {_wire(path)}")[3:].strip()
        except ftplib.error_perm as error:
            if str(error)[:3] in NOT_OFFERED:
                return None
            raise

    def _offered(self, line: ftplib.FTP) -> set[str]:
        """Give what the server says that it speaks beyond the oldest."""
        if self._features is None:
            try:
                told = line.sendcmd("FEAT").splitlines()[1:-1]
            except ftplib.error_perm:
                told = []
            self._features = {each.strip().partition(" ")[0].upper() for each in told}
        return self._features

    def _fact(self, line: str, path: str) -> StoreEntry | None:
        """Read a line of MLSD or MLST (RFC 3659), whose dates are in UTC; None for what is neither file nor folder."""
        facts, blank, name = line.partition(" ")
        told = {key.lower(): value for key, _, value in (each.partition("=") for each in facts.split(";"))}
        if not blank or "type" not in told:
            raise self.withheld(path, "a line of its listing is none of MLSD")
        kind = told["type"].lower()
        if kind not in ("dir", "file") and not kind.startswith("os.unix=s"):
            return None
        return _entry(_own(name), told.get("size"), told.get("modify"), is_folder=kind == "dir")

    def _listed(self, text: str, path: str, line: ftplib.FTP) -> StoreEntry | None:
        """Read a line of LIST; its dates are to the minute, in a zone that nobody knows: a file is asked for its own when it is read."""
        if not text.strip() or re.fullmatch(r"total\s+\d+", text.strip()):
            return None
        if found := UNIX.fullmatch(text):
            kind, size, _, name = found.groups()
            if kind == "l":
                name = name.partition(" -> ")[0]
                kind = self._kind_of(name, path, line)
            if kind not in ("-", "d") or name in (".", ".."):
                return None
            return StoreEntry(_own(name), kind == "d", None, None, int(size))
        if found := WINDOWS.fullmatch(text):
            _, size, name = found.groups()
            return StoreEntry(_own(name.lstrip()), size == "<DIR>", None, None, 0 if size == "<DIR>" else int(size))
        raise self.withheld(path, "a line of its listing is neither of `ls -l` nor of Windows")

    def _kind_of(self, name: str, path: str, line: ftplib.FTP) -> str:
        """Say what a link leads to: a folder (d), a file (-), or nothing."""
        for kind, command in (("d", "CWD"), ("-", "SIZE")):
            try:
                line.voidcmd("TYPE I")
                line.voidcmd(f"{command} {name}")
            except ftplib.error_perm:
                continue
            if kind == "d":
                line.voidcmd(f"CWD {self._homes[line]}")
                if path:
                    line.voidcmd(f"CWD {_wire(path)}")
            return kind
        return ""

    @contextlib.contextmanager
    def _line(self, path: str) -> Iterator[ftplib.FTP]:
        """Give a connection, kept for the next where all went well; raises Cut or SourceError."""
        line = self._taken()
        with self._in_words(path, line):
            yield line
        self._idle.append(line)

    def _taken(self) -> ftplib.FTP:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    @contextlib.contextmanager
    def _in_words(self, path: str, line: ftplib.FTP) -> Iterator[None]:
        try:
            yield
        except ftplib.error_perm as error:
            line.close()
            if str(error)[:3] == "550" and not DENIED.search(str(error)):
                raise self.missing(path) from None
            raise self.withheld(path, str(error)) from None
        except ssl.SSLCertVerificationError as error:
            line.close()
            raise self._unverified(error) from None
        except TimeoutError:
            line.close()
            raise Cut(f"has said nothing for {READ_SECONDS} s") from None
        except (ftplib.Error, OSError, EOFError) as error:
            line.close()
            raise Cut(f"was cut ({type(error).__name__}: {error})") from None
        except UnicodeError:
            line.close()
            raise
        except ValueError as error:
            line.close()
            raise self.withheld(path, f"its name cannot be asked: {error}") from None
        except BaseException:
            line.close()
            raise

    def _unverified(self, error: ssl.SSLCertVerificationError) -> SourceError:
        mend = "have it show a certificate of an authority that is known, for this name; SSL_CERT_FILE names the authorities of your own"
        return self.refused(f"shows a certificate that is not trusted ({error.verify_message})", mend)

    def _connect(self) -> ftplib.FTP:
        """Connect and log in; raises Cut, and SourceError where the server does not let us in."""
        is_tls = self.scheme == "ftps"
        line = _Tls(encoding="latin-1", context=ssl.create_default_context()) if is_tls else ftplib.FTP(encoding="latin-1")
        step = "offers no TLS (AUTH TLS)"
        try:
            line.connect(self.host, self.port or 21, timeout=CONNECT_SECONDS)
            line.timeout = READ_SECONDS
            if line.sock:
                line.sock.settimeout(READ_SECONDS)
            if isinstance(line, ftplib.FTP_TLS):
                line.auth()
            step = f"does not let {self.user or 'anonymous'} in"
            line.login(_wire(self.user), _wire(self.password or ""))
            if isinstance(line, ftplib.FTP_TLS):
                line.prot_p()
            self._homes[line] = line.pwd()
        except ftplib.error_perm as error:
            line.close()
            mend = "check the user and the password that the variables of `login` hold"
            raise self.refused(f"{step} ({error})", mend if "let" in step else "ftp://, if what it carries may be seen by all") from None
        except ssl.SSLCertVerificationError as error:
            line.close()
            raise self._unverified(error) from None
        except socket.gaierror as error:
            raise Cut(f"cannot be reached ({error.strerror})") from None
        except (ftplib.Error, OSError, EOFError) as error:
            line.close()
            raise Cut(f"cannot be reached ({type(error).__name__}: {error})") from None
        except ValueError:  # a user or password with a line break
            raise self.refused(step, "check the variables of `login`") from None
        return line


class _Flow:
    """A file that is read from an offset; its end is only what the server says to be one."""

    def __init__(self, store: FtpStore, path: str, offset: int) -> None:
        self._store, self._path, self._is_over = store, path, False
        self._line = store._taken()
        skipped = 0
        with store._in_words(path, self._line):
            self._line.voidcmd("TYPE I")
            if offset:
                try:
                    self._line.sendcmd(f"REST {offset}")
                except ftplib.error_perm:
                    skipped = offset
            self._data = self._line.transfercmd(f"RETR {_wire(path)}")
        while skipped:
            passed = len(self.read(min(skipped, 1 << 16)))
            if not passed:
                raise Cut("is shorter than it was")
            skipped -= passed

    def read(self, size: int) -> bytes:
        """Give at most so many bytes."""
        if self._is_over:
            return b""
        with self._store._in_words(self._path, self._line):
            chunk: bytes = self._data.recv(min(size, 1 << 18))
            if not chunk:
                self._data.close()
                self._line.voidresp()  # it says 226 once all was sent
                self._is_over = True
                self._store._idle.append(self._line)
            return chunk

    def close(self) -> None:
        """Let go of the file; a transfer that is under way ends with its connection."""
        if not self._is_over:
            self._is_over = True
            with contextlib.suppress(OSError):
                self._data.close()
            self._line.close()


def _wire(path: str) -> str:
    """Write a name as ftplib sends it: the bytes that the server gave."""
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


def _own(name: str) -> str:
    """Read a name as ftplib gives it, of which a byte may be no UTF-8."""
    return name.encode("latin-1").decode("utf-8", "surrogateescape")


def _entry(name: str, size: str | None, stamp: str | None, *, is_folder: bool = False) -> StoreEntry:
    """Give a file or folder by its size and by its date in UTC, of which the fraction, that not all answers hold, is left out."""
    modified = None
    with contextlib.suppress(ValueError):
        modified = datetime.strptime((stamp or "")[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    is_sized = bool(size) and str(size).isdigit()
    signature = f"{size} {modified:%Y%m%d%H%M%S}" if modified and is_sized else None
    return StoreEntry(name, is_folder, signature, modified, int(size) if size and is_sized else -1)
