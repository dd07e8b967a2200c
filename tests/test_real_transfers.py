"""Files on OpenSSH's sshd and on vsftpd, Debian's, which the tests install: part of `make conformance`."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import House, column, table

from ingestion.connectors import SourceError
from tests.fixtures.installed import debian, free_port

pytestmark = pytest.mark.conformance
COLUMNS = [column("id"), column("v")]
OLD = 1_700_000_000


@contextmanager
def serving(command: list[str], port: int) -> Iterator[None]:
    """Run a server as long as the context lasts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Give the endpoint of a server of OpenSSH, without its path, and its key; DEPOT_KEY lets in."""
    program, port = debian("sshd", "openssh-server"), free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\nStrictModes no\n"
        f"PidFile {tmp_path}/pid\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    monkeypatch.setenv("DEPOT_KEY", str(tmp_path / "user"))
    with serving([str(program), "-D", "-f", str(tmp_path / "sshd_config")], port):
        yield f"sftp://{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1:{port}", " ".join((tmp_path / "host.pub").read_text().split()[:2])


@pytest.fixture
def vsftpd(tmp_path: Path, house: House) -> Iterator[str]:
    """Give the endpoint of a vsftpd that serves the drops to all."""
    program, port, ports = debian("vsftpd", "vsftpd"), free_port(), free_port()
    for folder in (house.drops, *list(house.drops.parents)[:-2]):
        folder.chmod(0o755)
    (tmp_path / "empty").mkdir()
    (tmp_path / "vsftpd.conf").write_text(
        f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\n"
        f"anon_root={house.drops}\nlocal_enable=NO\npasv_min_port={ports}\npasv_max_port={ports + 20}\nseccomp_sandbox=NO\n"
        f"secure_chroot_dir={tmp_path}/empty\n"
    )
    with serving([str(program), str(tmp_path / "vsftpd.conf")], port):
        yield f"ftp://127.0.0.1:{port}"


def lay(house: House) -> None:
    """Lay files whose names are as names can be, of long ago."""
    for n, name in enumerate(
        (b"2025/a b.csv", "2025/été.csv".encode(), b"2025/\xe9.csv", b"2025/-l.csv", b"2025/ c[1].csv", b"apart/d.csv")
    ):
        path = Path(os.fsdecode(os.fsencode(house.drops) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"id;v\n%d;1\n" % n)
        os.utime(path, (OLD, OLD))
    (house.drops / "2025" / "link.csv").symlink_to("../apart/d.csv")
    (house.drops / "2025" / "to_nothing.csv").symlink_to("nowhere")
    (house.drops / "2025" / "to_itself.csv").symlink_to("to_itself.csv")
    (house.drops / "linked").symlink_to("2025")


def brick(house: House, endpoint: str, path: str, **login: Any) -> Any:
    tables = [table("items", COLUMNS, ["id"], {"format": "csv", "path": path})]
    return house.brick("shop", tables, endpoint, **({"options": {"login": login}} if login else {}))


@pytest.mark.parametrize("path", ["%Y/*.csv", "link*/*.csv"])
def test_a_folder_of_sshd(house: House, sshd: tuple[str, str], path: str) -> None:
    lay(house)
    shop = brick(house, sshd[0] + str(house.drops), path, key_env="DEPOT_KEY", host_key=sshd[1])
    entry = house.land(shop)
    assert entry
    assert entry["tables"]["items"]["kept"] == 6
    assert house.land(shop) is None
    with pytest.raises(SourceError, match=r"other\.csv is not there"):
        house.land(brick(house, sshd[0] + str(house.drops), "other.csv", key_env="DEPOT_KEY", host_key=sshd[1]))


def test_a_big_file_of_sshd_is_read_at_speed(house: House, sshd: tuple[str, str]) -> None:
    content = b"id;v\n" + b"".join(b"%d;%d\n" % (n, n * 7919) for n in range(8_000_000))
    house.drop("big.csv", content)
    began = time.perf_counter()
    entry = house.land(brick(house, sshd[0] + str(house.drops), "big.csv", key_env="DEPOT_KEY", host_key=sshd[1]))
    print(f"{len(content) / 1e6:.0f} MB landed in {time.perf_counter() - began:.1f} s")
    assert entry
    assert entry["tables"]["items"]["kept"] == 8_000_000


@pytest.mark.parametrize("path", ["%Y/*.csv", "link*/*.csv"])
def test_a_folder_of_vsftpd(house: House, vsftpd: str, path: str) -> None:
    """It speaks no MLSD: its listings are of `ls -l`, and each file is asked for its date."""
    lay(house)
    shop = brick(house, vsftpd, path)
    entry = house.land(shop)
    assert entry
    assert entry["tables"]["items"]["kept"] == 6
    assert house.land(shop) is None
    with pytest.raises(SourceError, match=r"other\.csv is not there"):
        house.land(brick(house, vsftpd, "other.csv"))
