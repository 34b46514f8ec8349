"""Pages from templates, the files they load, and the headers that keep both to themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from connected_registry.endpoint.page import words

_HERE: Final = Path(__file__).parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
PROTECTION: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    # With no-referrer browsers would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of everything that a browser shows."""


class File(NamedTuple):
    """One packaged file."""

    content: bytes
    media_type: str
    mark: str
    """Part of its address, so that it can be kept for ever and is new when it changes."""


class Renderer:
    """Renders ``templates/`` and holds ``static/`` in memory."""

    def __init__(self) -> None:
        self.files = {path.name: _read(path) for path in sorted((_HERE / "static").iterdir())}
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(words=words, file=self._address)

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """One template, filled in."""
        return self._environment.get_template(template).render(values)

    def _address(self, name: str) -> str:
        return f"/_/static/{name}?v={self.files[name].mark}"


def answer(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A page that no cache keeps."""
    return Response(
        text,
        status,
        {
            **PROTECTION,
            "Cache-Control": "no-store",
            "Content-Type": "text/html; charset=utf-8",
            **(headers or {}),
        },
    )


def answer_file(file: File, *, known: bool) -> Response:
    """A static file; without its content where the browser has it."""
    headers = {
        **PROTECTION,
        "Cache-Control": "public, max-age=31536000, immutable",
        "ETag": f'"{file.mark}"',
        "Content-Type": file.media_type,
    }
    return Response(None if known else file.content, 304 if known else 200, headers)


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
