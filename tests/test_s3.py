"""S3 as it is told once, to all who speak it: DuckDB, dlt, the lake and the sources."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from ingestion.lake import LakeError, load_extension
from ingestion.s3 import access

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give an environment that says nothing of S3."""
    for name in (*VARIABLES, "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


def test_who_asks_and_where_is_told_by_variables_or_by_a_profile(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert access() == ("us-east-1", None, None, None, None)  # and nothing was asked of the network
    (tmp_path / "config").write_text("[profile city]\nregion = eu-west-3\nendpoint_url = https://s3.city.example\n")
    (tmp_path / "credentials").write_text("[city]\naws_access_key_id = k\naws_secret_access_key = s\naws_session_token = t\n")
    alone.setenv("AWS_PROFILE", "city")
    assert access() == ("eu-west-3", "https://s3.city.example", "k", "s", "t")
    alone.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert access().region == "eu-west-1"
    for name, value in zip(VARIABLES, ("K", "S", "T", "eu-south-1", "x", "http://127.0.0.1:1"), strict=True):
        alone.setenv(name, value)
    assert access() == ("eu-south-1", "http://127.0.0.1:1", "K", "S", "T")
    alone.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    assert access().endpoint == "http://127.0.0.1:2"
    assert "T" not in repr(access())


def test_an_endpoint_that_is_no_address_is_refused(alone: pytest.MonkeyPatch) -> None:
    """DuckDB would be told none, and ask Amazon with the keys of another store."""
    alone.setenv("AWS_ENDPOINT_URL", "minio:9000")
    with pytest.raises(LakeError, match=r"endpoint of S3 is 'minio:9000'.*Mend: AWS_ENDPOINT_URL=http://minio:9000"):
        access()


class _Store(http.server.BaseHTTPRequestHandler):
    """No real store: it keeps what each client says of itself, and holds nothing (the real one of the tests takes no session token)."""

    def do_GET(self) -> None:
        told: set[tuple[str, str | None]] = self.server.told
        told.add((self.path.partition("?")[0].strip("/").split("/")[0], self.headers.get("x-amz-security-token")))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_a_session_token_reaches_the_store_from_each_that_speaks_it(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import duckdb
    from dlt.common.configuration.specs import AwsCredentials
    from dlt.common.storages.fsspec_filesystem import FilesystemConfiguration, fsspec_from_config

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    told: set[tuple[str, str | None]] = set()
    served.told = told
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    for name, value in zip(VARIABLES[:4], ("key", "secret", "t0ken", "eu-west-3"), strict=True):
        alone.setenv(name, value)
    alone.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{served.server_port}")
    who = access()
    with duckdb.connect(str(tmp_path / "any.duckdb")) as connection:
        load_extension(connection, "httpfs")
        who.configure(connection)
        with pytest.raises(duckdb.Error):
            connection.execute("from read_parquet('s3://duckdb/none.parquet')")
    with pytest.raises(Exception, match="404"):
        who.client().get_object(Bucket="store", Key="none")
    assert who.of_arrow().get_file_info("arrow/none").type.name == "NotFound"
    told_dlt = AwsCredentials()
    told_dlt.update(who.of_dlt())
    fsspec_from_config(FilesystemConfiguration("s3://dlt", told_dlt))[0].exists("dlt/none")
    served.shutdown()
    served.server_close()
    assert told == {(name, "t0ken") for name in ("duckdb", "store", "arrow", "dlt")}
