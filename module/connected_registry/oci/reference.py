"""Names: repositories, tags, and references to one image.

The grammar is that of the OCI distribution specification, "Pulling manifests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from connected_registry.errors import DigestInvalid, NameInvalid, TagInvalid
from connected_registry.oci.digest import Digest

MAX_NAME: Final = 255
"""Longest repository name taken, in characters: the limit of most clients and of Distribution."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class RepositoryName(str):
    """A repository's name, such as ``library/busybox``; a ``str`` that has been checked."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `NameInvalid` unless ``text`` follows the grammar and the length limit."""
        if len(text) > MAX_NAME or not _NAME.fullmatch(text):
            raise NameInvalid(detail={"name": text[:MAX_NAME]})
        return cls(text)


class Tag(str):
    """A tag, such as ``1.36``; a ``str`` that has been checked. Case counts."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `TagInvalid` unless ``text`` follows the grammar."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(detail={"tag": text[:200]})
        return cls(text)


def parse_reference(text: str) -> Tag | Digest:
    """A tag or a digest, whichever ``text`` is.

    Text with a colon can only be meant as a digest, so a bad one raises `DigestInvalid` rather
    than being taken for a tag; other text raises `TagInvalid`.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)


@dataclass(frozen=True, slots=True)
class ImageName:
    """``repository[:tag][@digest]`` as people write it; without tag and digest, ``latest``."""

    repository: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `NameInvalid`, `TagInvalid` or `DigestInvalid` for the part that is wrong."""
        rest, at, digest = text.partition("@")
        name, colon, tag = rest.partition(":")
        if at and not digest:
            raise DigestInvalid("invalid digest", detail={"digest": ""})
        parsed_tag = Tag.parse(tag) if colon else None
        if parsed_tag is None and not at:
            parsed_tag = Tag("latest")
        return cls(RepositoryName.parse(name), parsed_tag, Digest.parse(digest) if at else None)

    @property
    def reference(self) -> Tag | Digest:
        """What to look up: the digest where there is one, else the tag."""
        if self.digest is not None:
            return self.digest
        assert self.tag is not None
        return self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"
