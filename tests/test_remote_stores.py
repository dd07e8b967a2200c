"""Files on servers of SFTP and FTP: asyncssh's and pyftpdlib's own servers (real protocols, on threads of the tests), their faults made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import trustme
from conftest import House, accept, column, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.connectors import SourceError, ftp, remote, sftp
from ingestion.connectors.remote import Login
from ingestion.landing import land_brick
from tests.fixtures.transfers import PASSWORD, USER, Served, ftp_server, sftp_server

KINDS = ("sftp", "ftp", "ftps")
COLUMNS = [column("id"), column("v")]
OLD = 1_700_000_000


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(ftp, "READ_SECONDS", 5)  # a server that was cut may say nothing any more
    monkeypatch.setenv("DEPOT_USER", USER)
    monkeypatch.setenv("DEPOT_PASSWORD", PASSWORD)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def serve(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """Give what starts a server of a kind on the drops of the house."""
    with ExitStack() as stack:

        def start(kind: str, **told: Any) -> Served:
            if kind == "sftp":
                return stack.enter_context(sftp_server(house.drops, **told))
            authority = None
            if kind == "ftps":
                authority = trustme.CA()
                authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
                monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            return stack.enter_context(ftp_server(house.drops, authority, **told))

        yield start


def login(served: Served, **told: Any) -> dict[str, Any]:
    """Give the options of a brick that may read a server."""
    known = {"host_key": served.host_key} if served.scheme == "sftp" else {}
    return {"login": {"user_env": "DEPOT_USER", "password_env": "DEPOT_PASSWORD", **known, **told}}


def shop(house: House, served: Served, path: str = "*.csv", **meta: Any) -> Any:
    tables = [table("items", COLUMNS, ["id"], {"format": "csv", "path": path})]
    return house.brick("shop", tables, served.url, **{"options": login(served), **meta})


def drop(house: House, name: str, count: int = 3, start: int = 0) -> Path:
    """Lay a CSV of so many rows, written long ago."""
    path = house.drop(name, "id;v\n" + "".join(f"{n};{n * 7919 % 10007}\n" for n in range(start, start + count)))
    os.utime(path, (OLD, OLD))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_read_once_and_then_what_is_new(house: House, serve: Callable[..., Served], kind: str) -> None:
    served = serve(kind)
    drop(house, "2025/été 1.csv", 2)
    drop(house, "2025/b.csv", 2, 10)
    drop(house, "2024/b.csv", 2, 20)
    drop(house, "apart/c.txt", 1, 30)
    (house.drops / "2025" / "link.csv").symlink_to("../apart/c.txt")
    (house.drops / "2025" / "to_nothing.csv").symlink_to("nowhere")
    (house.drops / "2025" / "folder.csv").mkdir()
    # pyftpdlib takes no name that is no UTF-8.
    odd = b"\xe9.csv" if kind == "sftp" else "é.csv".encode()
    Path(os.fsdecode(os.fsencode(house.drops) + b"/2025/" + odd)).write_bytes(b"id;v\n40;1\n")
    brick = shop(house, served, "%Y/*.csv")
    entry = house.land(brick)
    assert entry
    assert sorted(int(row[0]) for row in house.rows(brick, "items", "id")) == [0, 1, 10, 11, 20, 21, 30, 40]
    assert (rf"2025/{odd.decode('utf-8', 'backslashreplace')}",) in house.rows(brick, "items", "distinct _file")
    assert entry["bytes_read"] >= served.bytes_sent > 0
    sent = served.bytes_sent
    assert house.land(brick) is None
    assert served.bytes_sent == sent
    drop(house, "2025/d.csv", 1, 50)
    entry = house.land(brick)
    assert entry
    assert entry["tables"]["items"]["kept"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_named_is_asked_for_by_its_name(house: House, serve: Callable[..., Served], kind: str) -> None:
    served = serve(kind)
    drop(house, "a b/items.csv")
    brick = shop(house, served, "a b/items.csv")
    assert house.land(brick)
    sent = served.bytes_sent
    assert house.land(brick) is None
    assert served.bytes_sent == sent
    with pytest.raises(SourceError, match=r"shop\.items: .*a b/other\.csv is not there; .*holds items\.csv\. Mend: check the endpoint"):
        house.land(shop(house, served, "a b/other.csv"))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_at_any_byte_is_taken_up_and_no_prefix_lands(
    house: House, serve: Callable[..., Served], kind: str, data: st.DataObject
) -> None:
    count = 30_000
    path = house.drops / "items.csv"
    if not path.exists():
        drop(house, "items.csv", count)
        house.served = serve(kind)  # type: ignore[attr-defined]
    served, size = house.served, path.stat().st_size  # type: ignore[attr-defined]
    served.cut_at = data.draw(st.integers(0, size - 1))
    served.cuts = data.draw(st.sampled_from([1, 2, 4, 99]))
    served.how = "abort" if kind == "sftp" else data.draw(st.sampled_from(["abort", "short", "polite"]))
    name = f"shop{time.monotonic_ns()}"
    tables = [table("items", COLUMNS, ["id"], {"format": "csv", "path": "items.csv"})]
    brick = house.brick(name, tables, served.url, options=login(served))
    if served.cuts == 99:
        with pytest.raises(SourceError, match=rf"{name}: .*/items\.csv .*Mend: ") as told:
            house.land(brick)
        assert PASSWORD not in str(told.value)
    else:
        entry = house.land(brick)
        assert entry
        assert entry["tables"]["items"]["kept"] == count


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_that_is_cut_is_asked_again(house: House, serve: Callable[..., Served], kind: str) -> None:
    served = serve(kind)
    for n in range(20):
        drop(house, f"{n}.csv", 1, n)
    served.cut_listings = 2
    entry = house.land(shop(house, served))
    assert entry
    assert entry["tables"]["items"]["kept"] == 20
    assert not served.cut_listings


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_being_written_lands_once_it_is_whole(house: House, serve: Callable[..., Served], kind: str) -> None:
    served = serve(kind)
    path = drop(house, "items.csv", 10)

    def write_on() -> None:
        with path.open("a") as file:
            file.write("x;1\n")

    served.meanwhile = write_on
    with pytest.raises(SourceError, match=r"/items\.csv changes while it is read: it is being written\. Mend: "):
        house.land(shop(house, served))
    turns = iter(range(2))
    served.meanwhile = lambda: drop(house, "items.csv", 50 + turn) and None if (turn := next(turns, None)) is not None else None
    entry = house.land(shop(house, served))
    assert entry
    assert entry["tables"]["items"]["kept"] == 51


@pytest.mark.parametrize("kind", KINDS)
def test_a_stall_ends(house: House, serve: Callable[..., Served], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp, "READ_SECONDS", 0.4)
    monkeypatch.setattr(ftp, "READ_SECONDS", 0.4)
    served = serve(kind)
    drop(house, "items.csv", 10)
    served.how, served.cuts = "stall", 1
    entry = house.land(shop(house, served))
    assert entry
    assert entry["tables"]["items"]["kept"] == 10
    served.cuts = 99
    monkeypatch.setattr(remote, "TRIES", 2)
    os.utime(house.drops / "items.csv", (OLD + 9, OLD + 9))
    with pytest.raises(SourceError, match=r"items\.csv has said nothing for 0\.4 s\. Mend: "):
        house.land(shop(house, served))


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_not_let_in_is_told_what_to_mend(
    house: House, serve: Callable[..., Served], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(kind)
    drop(house, "items.csv")
    monkeypatch.setenv("DEPOT_PASSWORD", "wr0ng-one")
    with pytest.raises(SourceError, match=r"shop: .*does not let depot in.* Mend: check the user") as told:
        house.land(shop(house, served))
    assert "wr0ng-one" not in str(told.value)
    monkeypatch.delenv("DEPOT_PASSWORD")
    with pytest.raises(SourceError, match="the environment lacks DEPOT_PASSWORD"):
        house.land(shop(house, served))
    monkeypatch.setenv("DEPOT_PASSWORD", PASSWORD)
    monkeypatch.setattr(remote, "TRIES", 1)
    brick = house.brick(
        "shop", [table("items", COLUMNS, ["id"], {"format": "csv", "path": "x.csv"})], f"{kind}://127.0.0.1:1", options=login(served)
    )
    with pytest.raises(SourceError, match=r"shop: \w+://127\.0\.0\.1:1/x\.csv cannot be reached .* Mend: check the address"):
        house.land(brick)


def test_a_server_of_sftp_is_known_by_its_key_alone(house: House, serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve("sftp")
    drop(house, "items.csv")
    other = asyncssh.generate_private_key("ssh-ed25519")
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    for host_key in (None, other.export_public_key().decode().strip(), rsa.export_public_key().decode().strip(), other.get_fingerprint()):
        with pytest.raises(SourceError, match=r"shop: sftp://127\.0\.0\.1:\d+ shows .*Mend: `ssh-keyscan -p \d+ 127\.0\.0\.1`"):
            house.land(shop(house, served, options=login(served, host_key=host_key)))
    assert not served.logins  # to none of them a password was sent
    hosts = tmp_path / "hosts"
    hosts.write_text(f"[127.0.0.1]:{served.port} {served.host_key}\n")
    for known in ({"host_key": served.fingerprint}, {"host_key": None, "known_hosts": str(hosts)}):
        os.utime(house.drops / "items.csv", (OLD + len(known), OLD + len(known)))
        assert house.land(shop(house, served, options=login(served, **known)))
    (tmp_path / ".ssh").mkdir()
    hosts.rename(tmp_path / ".ssh" / "known_hosts")
    os.utime(house.drops / "items.csv", (OLD + 9, OLD + 9))
    assert house.land(shop(house, served, options=login(served, host_key=None)))
    with pytest.raises(SourceError, match=r"hosts cannot be read \(No such file"):
        house.land(shop(house, served, options=login(served, host_key=None, known_hosts=str(hosts))))


@pytest.mark.parametrize(("in_file", "passphrase"), [(True, None), (False, None), (False, "phr4se")])
def test_a_private_key_lets_in(
    house: House, serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str | None, in_file: bool
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    served = serve("sftp", client_key=key)
    drop(house, "items.csv")
    text = key.export_private_key(passphrase=passphrase, rounds=1).decode()
    (tmp_path / "key").write_text(text)
    monkeypatch.setenv("DEPOT_KEY", str(tmp_path / "key") if in_file else text)
    monkeypatch.setenv("DEPOT_PHRASE", "wr0ng")
    told = {"password_env": None, "key_env": "DEPOT_KEY", "passphrase_env": "DEPOT_PHRASE" if passphrase else None}
    if passphrase:
        with pytest.raises(SourceError, match=r"DEPOT_KEY: the passphrase of its private key is wrong.*Mend: "):
            house.land(shop(house, served, options=login(served, **told)))
        monkeypatch.setenv("DEPOT_PHRASE", passphrase)
    assert house.land(shop(house, served, options=login(served, **told)))
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key(passphrase=passphrase, rounds=1).decode()
    for value, fault in (
        (other, "does not let depot in"),
        ("/nowhere", "holds neither a private key nor the path"),
        ("PRIVATE KEY", "cannot be read"),
    ):
        monkeypatch.setenv("DEPOT_KEY", value)
        with pytest.raises(SourceError, match=fault) as error:
            house.land(shop(house, served, options=login(served, **told)))
        assert value == "PRIVATE KEY" or value not in str(error.value)


def test_tls_is_verified_and_asked_for(house: House, serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve("ftps")
    drop(house, "items.csv")
    trusted = os.environ["SSL_CERT_FILE"]
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceError, match=r"shows a certificate that is not trusted .*Mend: .*SSL_CERT_FILE"):
        house.land(shop(house, served))
    assert not served.logins
    monkeypatch.setenv("SSL_CERT_FILE", trusted)
    plain = serve("ftp")
    plain.scheme = "ftps"
    with pytest.raises(SourceError, match=r"offers no TLS \(AUTH TLS\)"):
        house.land(shop(house, plain))
    assert not plain.logins


@pytest.mark.parametrize("has_dates", [True, False])
def test_an_old_server_of_ftp_lists_as_ls_does(house: House, serve: Callable[..., Served], has_dates: bool) -> None:
    served = serve("ftp", is_old=True, has_dates=has_dates)
    drop(house, "in it/ a é.csv", 2)
    drop(house, "in it/b.csv", 2, 10)
    drop(house, "apart.txt", 1, 30)
    (house.drops / "in it" / "link.csv").symlink_to("../apart.txt")
    (house.drops / "in it" / "folder.csv").mkdir()
    (house.drops / "linked").symlink_to("in it")
    brick = shop(house, served, "in*/*.csv")
    entry = house.land(brick)
    assert entry
    assert entry["tables"]["items"]["kept"] == 5
    other = shop(house, served, "in*/*.csv")
    told = f"shop: {served.url} carries a password in clear. Mend: ftps:// or sftp://, where its server speaks it"
    assert told in land_brick(house.lake, house.journal, other, "run", accept).warned
    sent = served.bytes_sent
    assert house.land(brick) is None
    # Without a date, only the content tells.
    assert (served.bytes_sent == sent) == has_dates
    entry = house.land(house.brick("other", brick_tables("linked*/*.csv"), served.url))
    assert entry
    assert entry["tables"]["items"]["kept"] == 5  # an anonymous one, by a link to a folder


def brick_tables(path: str) -> list[Any]:
    return [table("items", COLUMNS, ["id"], {"format": "csv", "path": path})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-rw-r--r--   1 owner    group         213 Aug 26 16:31  a b.csv", (" a b.csv", False, 213)),
        ("-rw-r--r--+  1 owner    a-group       213 Aug 26  2024 a.csv", ("a.csv", False, 213)),
        ("drwxr-xr-x   1 owner              0 Aug 26 16:31 d", ("d", True, 0)),
        ("-rw-r--r-- 1 10 20 5 2024-08-26 16:31 a.csv", ("a.csv", False, 5)),
        ("08-26-24  04:31PM                  213 a b.csv", ("a b.csv", False, 213)),
        ("08-26-2024  16:31       <DIR>          d e", ("d e", True, 0)),
        ("total 12", None),
        ("prw-r--r--   1 owner    group         213 Aug 26 16:31 pipe", None),
        ("srwxrwxrwx what is this", SourceError),
        ("No files found", SourceError),
    ],
)
def test_a_line_of_a_listing_is_read_or_told(line: str, told: Any) -> None:
    class Store(ftp.FtpStore):
        def __init__(self) -> None:
            self.brick, self._shown, self._secrets = "shop", "ftp://host", set()

    if told is SourceError:
        with pytest.raises(SourceError, match="a line of its listing"):
            Store()._listed(line, "", None)  # type: ignore[arg-type]
    else:
        entry = Store()._listed(line, "", None)  # type: ignore[arg-type]
        assert (entry and (entry.name, entry.is_folder, entry.size)) == told


def test_a_private_key_is_no_host_key() -> None:
    with pytest.raises(ValueError, match="is no public key of a server") as told:
        Login(host_key="-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "BEGIN" not in str(told.value)


@pytest.mark.parametrize(("endpoint", "fault"), [("ftp://host/a?b", "is no ftp://host/path"), ("sftp://[", "is no URL")])
def test_an_endpoint_that_is_none_is_told(house: House, endpoint: str, fault: str) -> None:
    with pytest.raises(SourceError, match=fault):
        house.land(house.brick("shop", brick_tables("a.csv"), endpoint))
