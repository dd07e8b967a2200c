"""S3 as the standard variables of AWS and its profiles tell it: resolved here once, for DuckDB, dlt, the lake and the sources alike."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.lake import LakeError, literal

if TYPE_CHECKING:
    import duckdb

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10, 60, 5


class Access(NamedTuple):
    """Where S3 is, and who asks: nobody in particular without a key; without an endpoint, Amazon's own."""

    region: str
    endpoint: str | None = None
    key: str | None = None
    secret: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        """Write where S3 is, and no secret: it may stand in an error."""
        return f"Access({self.region!r}, {self.endpoint!r})"

    def configure(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Tell DuckDB, whose extension httpfs is loaded."""
        scheme, _, host = (self.endpoint or "").partition("://")
        values = {
            "s3_region": self.region,
            "s3_access_key_id": self.key or "",
            "s3_secret_access_key": self.secret or "",
            "s3_session_token": self.token or "",
            **({"s3_endpoint": host.rstrip("/"), "s3_url_style": "path", "s3_use_ssl": str(scheme == "https")} if host else {}),
        }
        for name, value in values.items():
            connection.execute(f"set global {name} = {literal(value)}")

    def of_dlt(self) -> dict[str, str]:
        """Give the credentials of dlt's filesystem."""
        told = {
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
            "aws_session_token": self.token,
            "region_name": self.region,
            "endpoint_url": self.endpoint,
        }
        return {name: value for name, value in told.items() if value}

    def client(self) -> Any:
        """Give botocore's client."""
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        retries: Any = {"max_attempts": ATTEMPTS, "mode": "standard"}
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        return botocore.session.get_session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
            config=config if self.key else config.merge(Config(signature_version=UNSIGNED)),
        )

    def of_arrow(self) -> Any:
        """Give Arrow's file system."""
        from pyarrow import fs

        return fs.S3FileSystem(
            access_key=self.key,
            secret_key=self.secret,
            session_token=self.token,
            anonymous=not self.key,
            region=self.region,
            endpoint_override=self.endpoint,
            connect_timeout=CONNECT_SECONDS,
            request_timeout=READ_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        )


def access() -> Access:
    """Resolve the access to S3: AWS_* variables, else the profile (AWS_PROFILE) of AWS's own files.

    A key that is told nowhere is not looked for in the network, as AWS's libraries would (metadata of the machine).
    """
    import botocore.session
    from botocore.configprovider import ConfiguredEndpointProvider

    session = botocore.session.get_session()
    session.get_component("credential_provider").remove("iam-role")
    endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3").provide()
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise LakeError(f"the endpoint of S3 is '{endpoint}', which is no address. Mend: AWS_ENDPOINT_URL=http://{endpoint}, or https://")
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
    credentials = session.get_credentials()
    return Access(region, endpoint, *(credentials.get_frozen_credentials() if credentials else ())[:3])
