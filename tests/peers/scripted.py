"""A registry that does what a test tells it to: throttle, lie, cut, drip, hang, lead astray.

::

    with ScriptedRegistry() as registry, ScriptedRegistry() as sink:
        registry.hold(make_image(), "team/app", "latest")          # an honest registry so far
        registry.on("/v2/team/app/tags/list", Reply(429, {"Retry-After": "0"}), HONEST)
        registry.on(f"/v2/team/app/blobs/{digest}", Reply(307, {"Location": sink.url + "/x"}))
        registry.requests, sink.requests

Replies to a path are given one after the other; the last one goes on. Paths are without queries.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from peers.images import OCI_INDEX, Image
from peers.serving import ThreadedPeer


@dataclass(frozen=True)
class Recorded:
    """A request that came; names of headers are in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        """Its Authorization header."""
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Reply:
    """An answer. Without faults it is whole, with a Content-Length.

    ``length`` is declared instead of the true one; ``chunked`` declares none. ``cut`` closes the
    connection after so many bytes of the body, with RST if ``reset``. ``drip`` is the size of
    pieces and the seconds between them. ``endless`` repeats the body for ever. ``hang`` says
    nothing until the server ends. ``raw`` is sent as it is.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    chunked: bool = False
    cut: int | None = None
    reset: bool = False
    drip: tuple[int, float] | None = None
    endless: bool = False
    hang: bool = False
    raw: bytes | None = None

    @classmethod
    def json(cls, document: Any, status: int = 200, **headers: str) -> Reply:
        """A document; ``headers`` with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(
            status, {"Content-Type": "application/json"} | named, json.dumps(document).encode()
        )

    @classmethod
    def error(cls, status: int, code: str, message: str = "", **headers: str) -> Reply:
        """An error in the OCI envelope."""
        return cls.json({"errors": [{"code": code, "message": message}]}, status, **headers)


HONEST: Final = Reply(status=0)
"""Stands for what the registry would have answered without a script."""

Answerer = Reply | Callable[[Recorded], Reply]


@dataclass
class _Held:
    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


class ScriptedRegistry(ThreadedPeer):
    """``acr`` adds Azure's tag listing, ``referrers`` the referrers API of OCI 1.1.

    ``page`` is the most names in one page of a listing.
    """

    def __init__(
        self,
        *,
        acr: bool = False,
        referrers: bool = False,
        page: int = 10_000_000,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.acr = acr
        self.referrers = referrers
        self.page = page
        self.requests: list[Recorded] = []
        self.ended = threading.Event()
        self._scripts: dict[tuple[str, str], list[Answerer]] = {}
        self._repositories: dict[str, _Held] = {}
        self._lock = threading.Lock()
        super().__init__(_handler(self), host=host, tls=tls)

    def __exit__(self, *exc: object) -> None:
        self.ended.set()
        super().__exit__(*exc)

    def on(self, path: str, *replies: Answerer, method: str = "GET") -> None:
        """Answer requests for ``path`` with these, in order, the last one for good."""
        with self._lock:
            self._scripts[method, path] = list(replies)

    def hold(self, image: Image, repository: str, *tags: str) -> Image:
        """Have an image; tags that exist are moved."""
        held = self._repositories.setdefault(repository, _Held())
        for each in image.everything():
            held.manifests[each.digest] = (each.manifest.media_type, each.manifest.data)
            held.tags.update(dict.fromkeys(each.extra_tags, each.digest))
        held.blobs.update((digest, blob.data) for digest, blob in image.all_blobs().items())
        held.tags.update(dict.fromkeys(tags, image.digest))
        return image

    def untag(self, repository: str, *tags: str) -> None:
        """No longer have these tags."""
        for tag in tags:
            del self._repositories[repository].tags[tag]

    def asked(self, path: str, method: str = "GET") -> list[Recorded]:
        """The requests that came for ``path``."""
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    def reply_to(self, request: Recorded) -> Reply:
        """What is sent for a request, by script or honestly."""
        with self._lock:
            self.requests.append(request)
            script = self._scripts.get((request.method, request.path))
            answerer: Answerer = HONEST
            if script:
                answerer = script.pop(0) if len(script) > 1 else script[0]
        reply = answerer if isinstance(answerer, Reply) else answerer(request)
        return self._honest(request) if reply == HONEST else reply

    def _honest(self, request: Recorded) -> Reply:
        path = request.path
        if path == "/v2/":
            return Reply.json({})
        if path == "/v2/_catalog":
            return self._listing(request, "repositories", sorted(self._repositories), str)
        if found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            return self._manifest(found[1], found[2])
        if found := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", path):
            return self._blob(found[1], found[2], request.headers.get("range"))
        if found := re.fullmatch(r"/v2/(.+)/tags/list", path):
            held = self._repositories.get(found[1])
            if held is None:
                return Reply.error(404, "NAME_UNKNOWN")
            return self._listing(request, "tags", sorted(held.tags), str)
        if self.referrers and (found := re.fullmatch(r"/v2/(.+)/referrers/([^/]+)", path)):
            return self._referring(found[1], found[2])
        if self.acr and (found := re.fullmatch(r"/acr/v1/(.+)/_tags", path)):
            held = self._repositories.get(found[1])
            if held is None:
                return Reply.error(404, "NAME_UNKNOWN")
            tags = held.tags
            return self._listing(
                request,
                "tags",
                sorted(tags),
                lambda name: {
                    "name": name,
                    "digest": tags[name],
                    "createdTime": "2026-01-01T00:00:00.0000000Z",
                    "lastUpdateTime": "2026-01-02T03:04:05.1234567Z",
                },
            )
        return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found\n")

    def _listing(
        self, request: Recorded, key: str, names: list[str], show: Callable[[str], Any]
    ) -> Reply:
        last = request.query.get("last", [""])[0]
        size = min(self.page, int(request.query.get("n", ["10000000"])[0]))
        rest = [name for name in names if name > last]
        shown = rest[:size]
        reply = Reply.json({key: [show(name) for name in shown]})
        if len(rest) > size:
            target = f"{request.path}?n={size}&last={quote(shown[-1], safe='')}"
            return Reply(200, {**reply.headers, "Link": f'<{target}>; rel="next"'}, reply.body)
        return reply

    def _manifest(self, repository: str, reference: str) -> Reply:
        held = self._repositories.get(repository, _Held())
        digest = held.tags.get(reference, reference)
        if digest not in held.manifests:
            return Reply.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, content = held.manifests[digest]
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, content)

    def _referring(self, repository: str, subject: str) -> Reply:
        found = []
        for digest, (media_type, content) in self._repositories[repository].manifests.items():
            document = json.loads(content)
            if document.get("subject", {}).get("digest") == subject:
                found.append(
                    {
                        "mediaType": media_type,
                        "digest": digest,
                        "size": len(content),
                        "artifactType": document.get("artifactType"),
                        "annotations": document.get("annotations", {}),
                    }
                )
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return Reply(200, {"Content-Type": OCI_INDEX}, json.dumps(index).encode())

    def _blob(self, repository: str, digest: str, wanted: str | None) -> Reply:
        content = self._repositories.get(repository, _Held()).blobs.get(digest)
        if content is None:
            return Reply.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{digest}"'}
        return ranged(content, wanted, headers)


def ranged(content: bytes, wanted: str | None, headers: Mapping[str, str]) -> Reply:
    """A 200 with all, or a 206 from where a Range header says."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if found is None:
        return Reply(200, headers, content)
    first, size = int(found[1]), len(content)
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    if first >= size:
        return Reply(416, {"Content-Range": f"bytes */{size}"})
    return Reply(
        206,
        {**headers, "Content-Range": f"bytes {first}-{last}/{size}"},
        content[first : last + 1],
    )


def _handler(registry: ScriptedRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Recorded(self.command, parts.path, parse_qs(parts.query), headers, body)
            reply = registry.reply_to(request)
            if reply.hang:
                registry.ended.wait()
                self.close_connection = True
            elif reply.raw is not None:
                self.wfile.write(reply.raw)
                self.close_connection = True
            else:
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            chunked = reply.chunked or reply.endless
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                length = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "HEAD":
                return
            for piece in _pieces(reply):
                framed = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece
                self.wfile.write(framed)
                self.wfile.flush()
                if reply.drip:
                    time.sleep(reply.drip[1])
                if registry.ended.is_set():
                    break
            if reply.cut is not None or reply.length is not None:
                self.close_connection = True
                if reply.reset:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args: Any) -> None:
            """Keep quiet."""

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler


def _pieces(reply: Reply) -> Iterator[bytes]:
    body = reply.body if reply.cut is None else reply.body[: reply.cut]
    while True:
        if reply.drip:
            step = reply.drip[0]
            yield from (body[at : at + step] for at in range(0, len(body), step))
        elif body:
            yield body
        if not reply.endless:
            return
