"""A bundle that is open for reading: its table of contents, and its bytes by digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connected_registry.bundle import archive
from connected_registry.bundle.contents import MAX_CONTENTS, Contents
from connected_registry.bundle.seal import SealKey
from connected_registry.bundle.volumes import Volumes
from connected_registry.errors import BundleInvalid
from connected_registry.oci.digest import Digest

MAX_SEAL: Final = 1024


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """Made by `open`; a context manager."""

    volumes: Volumes
    contents: Contents
    digest: Digest
    """Of the table of contents, and so of everything in the bundle."""
    signed: bool
    head_size: int

    @classmethod
    def open(cls, paths: Sequence[Path], key: SealKey | None = None) -> Self:
        """Read the head and compare the sizes of what is here. Raises `BundleInvalid`.

        With ``key`` the bundle must be signed by it.
        """
        volumes = Volumes.find(paths)
        try:
            content, at = _member(volumes, 0, archive.CONTENTS, MAX_CONTENTS)
            contents = Contents.read(content, f"the table of contents of {volumes.base}")
            seal, after = _optional(volumes, at, archive.SEAL, MAX_SEAL)
            if key is not None:
                key.check(content, seal, str(volumes.base))
            volumes.check_sizes(after + contents.data_size, contents.volume_size)
            _check_places(contents, str(volumes.base))
        except BaseException:
            volumes.close()
            raise
        return cls(volumes, contents, Digest.of(content), seal is not None, after)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.volumes.close()

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        return self.head_size + self.contents.data_size

    @property
    def missing(self) -> list[Path]:
        """Volumes that are not here."""
        return self.volumes.missing(self.size)

    def check(self) -> list[BundleInvalid]:
        """Read everything that is here; what is wrong, one for each damaged content."""
        found: list[BundleInvalid] = []
        for file in self.contents.files:
            hashed = file.digest.new_hash()
            try:
                for piece in self.stream(file.digest):
                    hashed.update(piece)
            except BundleInvalid as error:
                found.append(error)
                continue
            if Digest.from_hash(hashed) != file.digest:
                found.append(self.damaged(file.digest))
        return found

    def stream(self, digest: Digest, start: int = 0) -> Iterator[bytes]:
        """The content's bytes from ``start``, unchecked. Raises `BundleInvalid`, `KeyError`."""
        place = self.contents.places[digest]
        return self.volumes.read(self.head_size + place.offset + start, place.size - start)

    def damaged(self, digest: Digest) -> BundleInvalid:
        """What to say when the content does not have its digest."""
        place = self.contents.places[digest]
        files = self.volumes.blame(self.head_size + place.offset, place.size)
        return BundleInvalid(
            f"{files} is damaged (the bytes of {digest} in it are others): copy it again from "
            "where it came from, then import again; what is here already is not read again"
        )


def _member(volumes: Volumes, at: int, name: str, most: int) -> tuple[bytes, int]:
    block = b"".join(volumes.read(at, archive.BLOCK))
    found, size = archive.read_header(block, str(volumes.base))
    if found != name:
        raise BundleInvalid(
            f"{volumes.base} is no bundle: it begins with {found[:100]!r} instead of {name!r}; "
            "use the file that `bundle export` wrote, not a repacked one"
        )
    if size > most:
        raise BundleInvalid(f"{volumes.base}: {name} has {size} bytes, the most is {most}")
    content = b"".join(volumes.read(at + archive.BLOCK, size))
    return content, at + archive.BLOCK + size + archive.padding(size)


def _optional(volumes: Volumes, at: int, name: str, most: int) -> tuple[bytes | None, int]:
    block = b"".join(volumes.read(at, archive.BLOCK))
    if archive.read_header(block, str(volumes.base))[0] != name:
        return None, at
    return _member(volumes, at, name, most)


def _check_places(contents: Contents, source: str) -> None:
    for file in contents.files:
        if file.offset + file.size > contents.data_size:
            raise BundleInvalid(
                f"the table of contents of {source} is damaged: {file.digest} lies behind the end"
            )
