"""A lake: an object is written once and seen whole, a lock dies with its process, and DuckDB keeps to its limits."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import mimetypes
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.disk import beside, files_under, sync, write_whole, written_beside

if TYPE_CHECKING:
    import duckdb

PROJECT = Path(__file__).resolve().parent.parent

# No library of the house phones home, whatever started it.
TELEMETRY_OFF = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
os.environ.update(TELEMETRY_OFF)

VERIFIED: dict[str, str | bool | int | float | list[str]] = {"allow_unsigned_extensions": "true"}
"""How DuckDB is opened for `load_extension`, which has had the signature of what it loads checked."""
SETTLED = 24 * 3600  # seconds after which no process is about to name what it wrote


class LakeError(Exception):
    """A lake that cannot be used; the message says which, why, and the mend."""


class Busy(LakeError):
    """Another process holds the lock."""


class Stored(NamedTuple):
    """An object as it is listed: its size in bytes, and when it was written (seconds since 1970)."""

    size: int
    at: float


class Lake:
    """One lake: `root` holds objects (an absolute folder or s3://bucket/prefix), `state` is local and disposable."""

    def __init__(self, root: str | None = None, state: str | None = None) -> None:
        root = root or os.environ.get("ORCHESTRA_LAKE") or str(PROJECT / "lake")
        self.is_s3 = root.startswith("s3://")
        state = state or os.environ.get("ORCHESTRA_STATE")
        if self.is_s3 and not state:
            raise LakeError(f"the lake {root} is on S3: set ORCHESTRA_STATE to a local folder")
        if odd := next((mark for mark in "%=*?[" if mark in root), None):
            raise LakeError(f"the lake {root} holds a {odd}, which libraries read as more than a letter of a name: name it otherwise")
        self.root = root.rstrip("/") if self.is_s3 else str(Path(root).absolute())
        self.state = Path(state).absolute() if state else Path(self.root) / "state"

    def path(self, *parts: str) -> str:
        """Give the absolute address of an object of the lake."""
        return "/".join((self.root, *parts))

    def state_path(self, *parts: str) -> Path:
        """Give a path under the local state, whose folder is made where it lacks."""
        path = self.state.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # Objects -----------------------------------------------------------------------------------------------------

    def create(self, name: str, content: bytes) -> bool:
        """Write an object that must not exist yet; False when another does. What is seen is always whole.

        An object that holds this very content is ours: the answer to an earlier try was lost.
        """
        if self.is_s3:
            return self._create_on_s3(name, content)
        path = self._make_room(name)
        try:
            with written_beside(path, content) as temporary:
                os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes() == content
        sync(path.parent)
        return True

    def _create_on_s3(self, name: str, content: bytes) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        for _ in range(5):
            try:
                self.s3.put_object(**self._key(name), Body=content, IfNoneMatch="*")
                return True
            except (BotoCoreError, ClientError) as error:
                # No answer, or one of a server in trouble, says nothing of what was done.
                status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 500
                if status < 500 and status not in (409, 412):
                    raise
                if (standing := self.read(name)) is not None:
                    return standing == content
                if status >= 500:
                    raise
            # Refused, and nothing there: another writer was at it at the same instant, and failed.
        raise LakeError(f"{self.path(name)} cannot be created: the store answers that it exists, and that there is none. Mend: run again")

    def probe_create(self) -> None:
        """Raise LakeError for a store that writes over what must not exist yet (no `If-None-Match`): two writers would lose entries."""
        name = f"probe/{secrets.token_hex(8)}"
        try:
            if not self.create(name, b"one") or self.create(name, b"two"):
                raise LakeError(
                    f"{self.root}: this store ignores If-None-Match, so that two writers would write over each other's entries of the "
                    "journal. Mend: set ORCHESTRA_LAKE to a folder, or to a store that has conditional writes"
                )
        finally:
            self.delete([name])

    def replace(self, name: str, content: bytes) -> None:
        """Write an object over whatever stands there; what is seen is always whole."""
        if self.is_s3:
            kind = mimetypes.guess_type(name)[0]  # a page of the site is served as what it is
            self.s3.put_object(**self._key(name), Body=content, **({"ContentType": kind} if kind else {}))
        else:
            write_whole(self._make_room(name), content)

    def read(self, name: str) -> bytes | None:
        """Read an object; None when there is none of that name."""
        if self.is_s3:
            from botocore.exceptions import ClientError

            try:
                return self.s3.get_object(**self._key(name))["Body"].read()
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
        try:
            return Path(self.path(name)).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str, after: str = "") -> list[str]:
        """List the names of every object under a folder, relative to the lake, sorted; only those that sort after one."""
        return list(self.listing(folder, after))

    def listing(self, folder: str, after: str = "") -> dict[str, Stored]:
        """List every object under a folder by name, as `names` does."""
        found: dict[str, Stored] = {}
        if self.is_s3:
            prefix, skip = self._key(f"{folder}/" if folder else "")["Key"], len(self._key("")["Key"])
            start = {"StartAfter": self._key(after)["Key"]} if after else {}
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix, **start):
                found |= {item["Key"][skip:]: Stored(item["Size"], item["LastModified"].timestamp()) for item in page.get("Contents", ())}
            return dict(sorted(found.items()))
        for entry in files_under(self.path(folder) if folder else self.root):
            if (name := entry.path[len(self.root) + 1 :]) > after:
                with contextlib.suppress(FileNotFoundError):  # a temporary name that has gone since
                    told = entry.stat()
                    found[name] = Stored(told.st_size, told.st_mtime)
        return dict(sorted(found.items()))

    def sweep(self, folder: str, task: str, is_named: Callable[[str], bool], once: Iterable[str] = ()) -> list[str]:
        """Delete the objects under a folder that no entry names, and give their names.

        Only what surely is left behind: what the `task` of this state had begun, what an entry named `once`, what is older than
        a day. Another machine may be about to name the rest.
        """
        once, begun, settled = set(once), self.begun(task), time.time() - SETTLED
        left = [
            name
            for name, stored in self.listing(folder).items()
            if not is_named(name) and (name in once or stored.at < settled or any(mark in name for mark in begun))
        ]
        self.delete(left)
        self.end(task)
        return left

    def delete(self, names: list[str]) -> None:
        """Delete objects; those already gone are no error. Folders left empty go too."""
        for name in names:
            if self.is_s3:
                self.s3.delete_object(**self._key(name))
                continue
            path = Path(self.path(name))
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                while path.parent != Path(self.root):
                    path = path.parent
                    path.rmdir()

    def upload(self, local: Path, name: str) -> int:
        """Move a local file into the lake under a new name, and give its size; what is seen is always whole."""
        size = local.stat().st_size
        if self.is_s3:
            with local.open("rb") as file:
                self.s3.put_object(**self._key(name), Body=file)
            local.unlink()
            return size
        target = self._make_room(name)
        shutil.move(local, temporary := beside(target))  # a copy when the state is on another disk
        temporary.replace(target)
        return size

    def link(self, name: str, alias: str) -> None:
        """Make `alias` another name of an object, swapping what was there: a hard link on disk, a copy on S3."""
        if self.is_s3:
            source = {"Bucket": self._bucket, "Key": self._key(name)["Key"]}
            self.s3.copy_object(**self._key(alias), CopySource=source)
            return
        target = self._make_room(alias)
        os.link(self.path(name), temporary := beside(target))
        temporary.replace(target)
        temporary.unlink(missing_ok=True)  # a rename to another name of the same file does nothing

    @functools.cached_property
    def s3(self) -> Any:
        """The S3 client of this lake."""
        from ingestion.s3 import access

        return access().client()

    def _make_room(self, name: str) -> Path:
        """Make the folder of an object of a lake on disk; give the path of the object."""
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def _bucket(self) -> str:
        return self.root.removeprefix("s3://").partition("/")[0]

    def _key(self, name: str) -> dict[str, str]:
        prefix = self.root.removeprefix("s3://").partition("/")[2]
        return {"Bucket": self._bucket, "Key": f"{prefix}/{name}" if prefix else name}

    # Processes ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, name: str, wait: float = 0) -> Iterator[int]:
        """Hold a lock of this lake; it dies with its process. Raises Busy, naming the holder, after `wait` seconds.

        Gives the file descriptor of the lock: a child that inherits it holds the lock as long as it lives.
        """
        path = self.state_path("locks", f"{name}.lock")
        with path.open("a+") as file:
            deadline = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        file.seek(0)
                        raise Busy(f"{name} is already being run by process {file.read().strip() or '?'}") from None
                    time.sleep(0.2)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield file.fileno()

    def begin(self, task: str, mark: str) -> None:
        """Remember that a task of this state is about to write objects whose names hold `mark`, until it ends or they are swept."""
        write_whole(self.state_path("begun", task), "\n".join(sorted({*self.begun(task), mark})).encode())

    def begun(self, task: str) -> set[str]:
        """Give the marks of what a task has begun and not ended."""
        path = self.state_path("begun", task)
        return set(path.read_text(errors="replace").split()) if path.exists() else set()

    def end(self, task: str) -> None:
        """Forget what a task has begun: all of it is named, or swept."""
        self.state_path("begun", task).unlink(missing_ok=True)

    @contextlib.contextmanager
    def workspace(self, name: str, *, lasting: bool = False) -> Iterator[Path]:
        """Make an empty local folder, removed at the end; one that a kill left behind is removed at the start."""
        path = self.state_path("work", name)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            if not lasting:
                shutil.rmtree(path, ignore_errors=True)

    def connect(self, database: str = ":memory:", *, is_private: bool = False) -> duckdb.DuckDBPyConnection:
        """Open DuckDB with its limits set; `is_private` encrypts what it spills to disk."""
        import duckdb

        connection = duckdb.connect(database, config=VERIFIED)
        configure(connection, self, is_private=is_private)
        return connection


def configure(connection: duckdb.DuckDBPyConnection, lake: Lake, *, is_private: bool = False) -> None:
    """Set the limits of a connection, and the lake's S3 access."""
    limit(connection, _spill(lake.state), is_private=is_private)
    if lake.is_s3:
        from ingestion.s3 import access

        load_extension(connection, "httpfs")
        access().configure(connection)


def connect(spill: Path, *, is_private: bool = False) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with its limits set, without a lake; it spills to a folder of the caller's."""
    import duckdb

    connection = duckdb.connect(config=VERIFIED)
    limit(connection, spill, is_private=is_private)
    return connection


def limit(connection: duckdb.DuckDBPyConnection, spill: Path, *, is_private: bool = False) -> None:
    """Set the limits of a connection (ORCHESTRA_MEMORY, ORCHESTRA_THREADS), UTC, and where it spills, encrypted if private."""
    connection.execute(f"set temp_directory = {literal(str(spill))}")
    if is_private:
        # Without it DuckDB can read what is encrypted and not write it: a landing that spills would fail.
        load_extension(connection, "httpfs")
    connection.execute(f"set temp_file_encryption = {str(is_private).lower()}")
    for name, option, usual in (("MEMORY", "memory_limit", "500MB"), ("THREADS", "threads", str(min(4, os.cpu_count() or 1)))):
        value = os.environ.get(f"ORCHESTRA_{name}", usual)
        try:
            connection.execute(f"set {option} = {literal(value)}")
        except Exception as error:
            raise LakeError(f"ORCHESTRA_{name} is {value!r}, which DuckDB does not take as its {option}: {error}") from error
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set autoinstall_known_extensions = false; set autoload_known_extensions = false")


@functools.cache
def _spill(state: Path) -> Path:
    """Make a folder for this process to spill to disk in, and remove those that killed processes left behind."""
    root = state / "spill"
    root.mkdir(parents=True, exist_ok=True)
    for folder in root.iterdir():
        with contextlib.suppress(OSError), (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    own = Path(tempfile.mkdtemp(dir=root))
    fcntl.flock(os.open(own / "lock", os.O_CREAT), fcntl.LOCK_EX)  # never closed: held as long as the process lives
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension from its wheel; never from the network."""
    connection.execute(f"load {literal(str(_extension(name)))}")


@functools.cache
def _extension(name: str) -> Path:
    """Find the file of an extension in its wheel, and have DuckDB check its signature: a third of a second each time, so once a process."""
    import importlib.util

    import duckdb

    found = importlib.util.find_spec(f"duckdb_extension_{name}")
    if found is None or found.origin is None:
        raise LakeError(f"DuckDB's extension {name} is not installed: pip install duckdb-extension-{name}=={duckdb.__version__}")
    file = next(Path(found.origin).parent.glob(f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"))
    with duckdb.connect() as strict:
        strict.execute(f"load {literal(str(file))}")
    return file


def quoted(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote an SQL text; it would end at a NUL."""
    quoted_text = "'" + value.replace("'", "''") + "'"
    return "(" + quoted_text.replace("\0", "' || chr(0) || '") + ")" if "\0" in value else quoted_text


def listed(values: Iterable[str]) -> str:
    """Write a list of texts in SQL."""
    return "[" + ", ".join(literal(value) for value in values) + "]"
