"""How a brick is let in by a web server: what each request carries, and the token that is asked for and asked for again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field, model_validator

from ingestion.connectors import SourceError, Strict, Variable
from ingestion.connectors.turns import Limits

# What each way in needs, and what it may say.
NEEDED = {
    "basic": ("user_env", "password_env"),
    "bearer": ("token_env",),
    "api_key": ("key_env",),
    "oauth2": ("token_url", "client_id_env", "client_secret_env"),
    "login": ("token_url", "user_env", "password_env"),
}
ALLOWED = {
    "basic": (),
    "bearer": (),
    "api_key": ("header", "parameter"),
    "oauth2": ("scope", "token"),
    "login": ("user_field", "password_field", "token", "form", "parameter"),
}


class Auth(Strict):
    """How a web server lets a brick in; secrets are told by the names of the variables that hold them.

    `basic`: a user and a password. `bearer`: a token. `api_key`: a key in a `header`, or in a `parameter` of the query. `oauth2`: client
    credentials (RFC 6749, 4.4) sent to `token_url`. `login`: a JSON object with the user and the password, sent to `token_url` (from
    the endpoint, or a URL of its host), or a form that holds `form` beside them. The token is at `token` in the answer, and is asked for
    again when the server no longer takes it; requests carry it as a bearer's, or in a `parameter` of their query.
    """

    type: Literal["basic", "bearer", "api_key", "oauth2", "login"] = "basic"
    user_env: Variable | None = None
    password_env: Variable | None = None
    token_env: Variable | None = None
    key_env: Variable | None = None
    header: str | None = None
    parameter: str | None = None
    token_url: str | None = None
    client_id_env: Variable | None = None
    client_secret_env: Variable | None = None
    scope: str | None = None
    user_field: str = "username"
    password_field: str = "password"
    form: dict[str, str] | None = None
    token: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Auth:
        if absent := [name for name in NEEDED[self.type] if getattr(self, name) is None]:
            raise ValueError(f"type {self.type} needs {' and '.join(absent)}")
        accepted = {"type", *NEEDED[self.type], *ALLOWED[self.type]}
        if others := sorted(self.model_fields_set - accepted):
            raise ValueError(f"{', '.join(others)} is not of type {self.type} (accepted: {', '.join(sorted(accepted))})")
        if self.type == "api_key" and (self.header is None) == (self.parameter is None):
            raise ValueError("type api_key needs `header` or `parameter`, where the key stands")
        return self

    @property
    def has_token(self) -> bool:
        """Whether a token is asked for, which may expire."""
        return self.type in ("oauth2", "login")


class WebOptions(Strict):
    """What a brick may say that is read over HTTP: how it is let in, headers by variable, and how much is asked of its host."""

    auth: Auth | None = None
    headers_env: dict[str, Variable] = Field({})
    limits: Limits = Limits()


class Pass:
    """What lets requests in: their headers and what their query holds; `secrets` are what no message may show."""

    def __init__(self, brick: str, auth: Auth | None) -> None:
        self._brick, self._auth = brick, auth
        self._lock, self._token = threading.Lock(), ""
        self._carried: tuple[str, dict[str, str], dict[str, str]] | None = None
        self.headers: dict[str, str] = {}
        self.query: dict[str, str] = {}
        self.secrets: list[str] = []
        if auth is None:
            return
        import urllib3

        values = {name: value_of(brick, getattr(auth, name)) for name in NEEDED[auth.type] if name.endswith("_env")}
        self._values = values
        if auth.type == "basic":
            self.headers = urllib3.make_headers(basic_auth=f"{values['user_env']}:{values['password_env']}")
        elif auth.type == "bearer":
            self.headers = {"Authorization": f"Bearer {values['token_env']}"}
        elif auth.header:
            self.headers = {auth.header: values["key_env"]}
        elif auth.type == "api_key" and auth.parameter:
            self.query = {auth.parameter: values["key_env"]}
        elif auth.type == "oauth2":
            # RFC 6749, 2.3.1: what stands in the header is written as in a form.
            client, secret = (urlencode({"": values[name]})[1:] for name in ("client_id_env", "client_secret_env"))
            self._values["authorization"] = urllib3.make_headers(basic_auth=f"{client}:{secret}")["authorization"]
        self.secrets = [*values.values(), *self.headers.values()]

    def open(self, ask: Callable[[str, str, dict[str, str], bytes], bytes]) -> str:
        """Have a token where one is asked for; give it, '' where none is.

        `ask` sends a request (URL, method, headers, body) without a pass, and gives the body of its answer.
        """
        if not (self._auth and self._auth.has_token):
            return ""
        with self._lock:
            if not self._token:
                self._token = self._asked_for(self._auth, ask)
                in_query = {self._auth.parameter: self._token} if self._auth.parameter else {}
                self._carried = self._token, {} if in_query else {"Authorization": f"Bearer {self._token}"}, in_query
            return self._token

    def carried(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """Give the token that a request carries now, its headers and its query: another thread may have asked for one since."""
        return self._carried or ("", self.headers, self.query)

    def give_up(self, token: str) -> bool:
        """Give up a token that was refused, so that another is asked for; say whether there was one."""
        with self._lock:
            if self._token == token:
                self._token = ""
        return bool(token)

    def _asked_for(self, auth: Auth, ask: Callable[[str, str, dict[str, str], bytes], bytes]) -> str:
        """Ask for a token; raises SourceError when the answer holds none."""
        if auth.type == "oauth2":
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": self._values["authorization"]}
            body = urlencode({"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}).encode()
        else:
            said = {auth.user_field: self._values["user_env"], auth.password_field: self._values["password_env"]}
            headers = {"Content-Type": "application/json" if auth.form is None else "application/x-www-form-urlencoded"}
            body = (json.dumps(said) if auth.form is None else urlencode({**said, **auth.form})).encode()
        answer = ask(str(auth.token_url), "POST", headers, body)
        place = auth.token or ("access_token" if auth.type == "oauth2" else "token")
        try:
            told: Any = json.loads(answer)
            for name in place.split("."):
                told = told[name]
        except (ValueError, KeyError, TypeError):
            told = None
        if not isinstance(told, str) or not told.strip():
            raise SourceError(f"{self._brick}: {auth.token_url} gives no token at `{place}`. Mend: `auth.token` says where it stands.")
        return told.strip()


def value_of(brick: str, variable: str) -> str:
    """Give the value of a variable that lets a brick in; raises SourceError when it is not set."""
    if value := os.environ.get(variable):
        return value
    raise SourceError(f"{brick}: the environment lacks {variable}. Mend: set it to what lets this brick in.")
