"""Objects are whole or not there, locks name their holder, DuckDB has limits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from ingestion import lake as module
from ingestion.lake import Busy, Lake, LakeError, _extension, listed, literal, load_extension, quoted


def test_an_object_is_created_once_by_one_of_many(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    won: list[int] = []
    ready = threading.Barrier(8)

    def create(number: int) -> None:
        ready.wait()
        if lake.create("journal/x", str(number).encode() * 1000):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(won) == 1
    assert lake.read("journal/x") == str(won[0]).encode() * 1000
    assert lake.names("journal") == ["journal/x"], "a temporary file remains"


def test_objects_come_and_go(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert lake.read("a/b") is None and lake.names("a") == []
    lake.replace("a/b", b"1")
    lake.replace("a/b", b"2")
    lake.link("a/b", "files/open/b")
    lake.link("a/b", "files/open/b")
    (tmp_path / "local").write_bytes(b"3")
    lake.upload(tmp_path / "local", "a/c/d")
    assert (lake.read("a/b"), lake.read("files/open/b"), lake.read("a/c/d")) == (b"2", b"2", b"3")
    assert lake.names("a") == ["a/b", "a/c/d"]
    lake.delete(["a/b", "a/c/d", "a/gone"])
    assert not (tmp_path / "lake" / "a").exists() and (tmp_path / "lake").exists()
    assert lake.read("files/open/b") == b"2", "a stable name went with what it named"


def test_an_upload_across_disks_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, replace = Lake(str(tmp_path / "lake")), module.os.replace
    local = tmp_path / "local"
    local.write_bytes(b"3")

    def across(source: Path, target: Path) -> None:
        if source == local:
            raise OSError("Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(module.os, "replace", across)
    lake.upload(local, "a")
    assert lake.read("a") == b"3" and not local.exists() and lake.names("") == ["a"]


def test_a_lock_is_held_by_one_and_names_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with lake.lock("build"), pytest.raises(Busy, match=f"build is already being run by process {module.os.getpid()}"), lake.lock("build"):
        pass
    with lake.lock("build"):
        pass


def test_who_waits_for_a_lock_gets_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    held = threading.Event()

    def hold() -> None:
        with lake.lock("build"):
            held.set()
            threading.Event().wait(0.5)

    threading.Thread(target=hold).start()
    held.wait()
    with lake.lock("build", wait=10):
        pass


def test_a_workspace_is_empty_and_goes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    left = lake.state_path("work", "landing-x", "killed")
    left.write_bytes(b"what a kill left")
    with lake.workspace("landing-x") as work:
        assert list(work.iterdir()) == []
    assert not work.exists()
    with lake.workspace("dbt", lasting=True) as work:
        pass
    assert work.exists()


def test_duckdb_has_limits_and_never_goes_to_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA_MEMORY", "123MiB")
    monkeypatch.setenv("ORCHESTRA_THREADS", "1")
    lake = Lake(str(tmp_path))
    for is_private in (False, True):
        connection = lake.connect(is_private=is_private)
        names = ("memory_limit", "threads", "TimeZone", "autoinstall_known_extensions", "autoload_known_extensions")
        names += ("temp_file_encryption", "temp_directory")
        values = [connection.execute(f"select current_setting('{name}')").fetchall()[0][0] for name in names]
        assert values[:-1] == ["123.0 MiB", 1, "UTC", False, False, is_private]
        assert Path(values[-1]).parent == tmp_path / "state" / "spill"
        connection.close()


def test_an_extension_that_is_not_installed_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"extension nothing is not installed: pip install duckdb-extension-nothing=="):
        load_extension(Lake(str(tmp_path)).connect(), "nothing")


def test_the_signature_of_an_extension_is_checked_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.process_time()
    with duckdb.connect() as strict:
        strict.execute(f"load '{_extension('ducklake')}'")
    (first, again), lake = (time.process_time() - begun, time.process_time()), Lake(str(tmp_path / "lake"))
    for _ in range(4):
        with lake.connect() as connection:
            load_extension(connection, "ducklake")
    assert time.process_time() - again < first, "of which each open would take as long"
    # The last bytes of the file are its signature.
    content = bytearray(_extension("ducklake").read_bytes())
    content[-1] ^= 1
    file = tmp_path / "duckdb_extension_forged" / "extensions" / f"v{duckdb.__version__}" / "forged.duckdb_extension"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    (tmp_path / "duckdb_extension_forged" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with lake.connect() as connection, pytest.raises(duckdb.Error, match="signature"):
        load_extension(connection, "forged")


def test_a_lake_on_s3_wants_a_local_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRA_STATE", raising=False)
    with pytest.raises(LakeError, match="is on S3: set ORCHESTRA_STATE"):
        Lake("s3://bucket/lake")
    lake = Lake("s3://bucket/lake/", "/tmp/state")
    assert lake.path("journal", "1.json") == "s3://bucket/lake/journal/1.json"


def test_a_percent_sign_in_the_path_of_a_lake_is_refused() -> None:
    with pytest.raises(LakeError, match=r"the lake /tmp/100%25 holds a %.*name it otherwise"):
        Lake("/tmp/100%25")


def test_names_and_texts_are_quoted() -> None:
    assert (quoted('a"b'), literal("l'eau"), listed(["a", "l'eau"])) == ('"a""b"', "'l''eau'", "['a', 'l''eau']")


SPILLING = """
import os, signal, sys
from ingestion.lake import Lake
connection = Lake(sys.argv[1]).connect()
spill = connection.execute("select current_setting('temp_directory')").fetchall()[0][0]
open(spill + "/duckdb_temp_storage.tmp", "w").close()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
print(spill, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_spilt_is_swept_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SPILLING, str(tmp_path)]
    living = subprocess.Popen([*command, "living"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert living.stdout
    kept = Path(living.stdout.readline().strip())
    assert subprocess.run([*command, "killed"], check=False).returncode == -signal.SIGKILL
    assert len(list(kept.parent.iterdir())) == 2
    Lake(str(tmp_path)).connect().close()
    assert (kept / "duckdb_temp_storage.tmp").exists()
    assert len(list(kept.parent.iterdir())) == 2, "that of the living process and our own"
    living.communicate("")
    assert not kept.exists()
