"""A token server as registries use them: signs JWTs that Distribution accepts.

It answers the GET form (with Basic, or anonymously), and the POST form (password and
refresh_token grants). Its port differs from the registry's, so it is a foreign realm host.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from peers.serving import ThreadedPeer

ISSUER = "tests"
SERVICE = "registry.example"


@dataclass(frozen=True)
class TokenAsked:
    """One request: its form, who it said it was, and the scopes."""

    method: str
    grant: str
    username: str | None
    scopes: tuple[str, ...]
    headers: dict[str, str] = field(repr=False)


class TokenServer(ThreadedPeer):
    """``users`` maps names to passwords; ``refresh_tokens`` maps them to names.

    Anyone without a name gets what ``anonymous`` lists. ``lifetime`` is in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        refresh_tokens: dict[str, str] | None = None,
        anonymous: tuple[str, ...] = (),
        get: bool = True,
        post: bool = True,
        lifetime: int = 300,
    ) -> None:
        self.users = {} if users is None else users
        self.refresh_tokens = refresh_tokens or {}
        self.anonymous = anonymous
        self.get = get
        self.post = post
        self.lifetime = lifetime
        self.asked: list[TokenAsked] = []
        self._lock = threading.Lock()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _certificate(self._key)
        self.certificate_file = folder / "token.pem"
        self.certificate_file.write_bytes(
            self._certificate.public_bytes(serialization.Encoding.PEM)
        )
        super().__init__(_handler(self))

    @property
    def realm(self) -> str:
        """What the registry names in its challenges."""
        return f"{self.url}/token"

    def answer(
        self, method: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Status and body for one request."""
        grant = query.get("grant_type", ["basic" if "authorization" in headers else "none"])[0]
        username, allowed = self._authenticate(grant, query, headers)
        scopes = tuple(word for value in query.get("scope", []) for word in value.split())
        with self._lock:
            self.asked.append(TokenAsked(method, grant, username, scopes, headers))
        if not (self.get if method == "GET" else self.post):
            return 404, {"errors": [{"code": "UNSUPPORTED", "message": "no such form"}]}
        if not allowed:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}
        granted = scopes
        if username is None:
            granted = tuple(s for s in scopes if s in self.anonymous)
        token = self.sign(username or "", granted)
        return 200, {"token": token, "access_token": token, "expires_in": self.lifetime}

    def sign(self, subject: str, scopes: tuple[str, ...]) -> str:
        """A token for these scopes."""
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return jwt.encode(
            {
                "iss": ISSUER,
                "sub": subject,
                "aud": SERVICE,
                "exp": now + self.lifetime,
                "nbf": now - 10,
                "iat": now,
                "jti": uuid.uuid4().hex,
                "access": access,
            },
            self._key,
            algorithm="RS256",
            headers={"x5c": [base64.b64encode(der).decode()]},
        )

    def _authenticate(
        self, grant: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[str | None, bool]:
        if grant == "none":
            return None, True
        if grant == "refresh_token":
            name = self.refresh_tokens.get(query.get("refresh_token", [""])[0])
            return name, name is not None
        if grant == "basic":
            pair = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
            name, _, password = pair.partition(":")
        else:
            name, password = query["username"][0], query["password"][0]
        return name, self.users.get(name) == password


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            self._answer(parse_qs(self.rfile.read(length).decode()))

        def _answer(self, query: dict[str, list[str]]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, document = server.answer(self.command, query, headers)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Keep quiet."""

    return Handler


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token server of the tests")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
