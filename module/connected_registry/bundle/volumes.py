"""The files that hold a bundle: one, or volumes ``NAME.001``, ``NAME.002`` and so on."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connected_registry.errors import BundleInvalid, ConfigurationError
from connected_registry.storage import disk

SUMS: Final = ".sha256"
"""Appended to the bundle's name: the file of volumes' checksums, as ``sha256sum -c`` reads it."""

MIN_VOLUME: Final = 64 * 1024
_NUMBERED = re.compile(r"(?P<base>.+)\.(?P<number>\d{3,6})", re.DOTALL)
_UNFINISHED: Final = ".unfinished"


def volume_path(base: Path, number: int) -> Path:
    """The ``number``-th volume, counted from 1."""
    return base.with_name(f"{base.name}.{number:03d}")


class VolumeWriter:
    """Writes a stream to one file or to volumes. Names appear when a file is whole and synced."""

    def __init__(self, base: Path, volume_size: int | None) -> None:
        self._base = base
        self._volume_size = volume_size
        self._room = 0
        self._descriptor: int | None = None
        self._hash = hashlib.sha256()
        self.written: list[Path] = []
        self._sums: list[str] = []

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises `DiskFull`, `StorageError`."""
        view = memoryview(data)
        while view:
            if self._descriptor is None:
                self._begin()
            part = view if self._volume_size is None else view[: self._room]
            assert self._descriptor is not None
            with disk.disk_errors(f"cannot write {self._current}"):
                left = part
                while left:
                    left = left[os.write(self._descriptor, left) :]
            self._hash.update(part)
            self._room -= len(part)
            view = view[len(part) :]
            if self._volume_size is not None and self._room == 0:
                self._end()

    def finish(self) -> None:
        """Complete the last file and write the checksums of volumes."""
        if self._descriptor is not None:
            self._end()
        if self._volume_size is not None:
            sums = self._base.with_name(self._base.name + SUMS)
            with disk.disk_errors(f"cannot write {sums}"):
                sums.write_text("".join(self._sums))

    def discard(self) -> None:
        """Remove everything written."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._temporary.unlink(missing_ok=True)
        for path in self.written:
            path.unlink(missing_ok=True)

    @property
    def _current(self) -> Path:
        if self._volume_size is None:
            return self._base
        return volume_path(self._base, len(self.written) + 1)

    @property
    def _temporary(self) -> Path:
        return self._current.with_name(self._current.name + _UNFINISHED)

    def _begin(self) -> None:
        with disk.disk_errors(f"cannot write {self._current}"):
            self._descriptor = os.open(
                self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
        self._room = self._volume_size or 0
        self._hash = hashlib.sha256()

    def _end(self) -> None:
        assert self._descriptor is not None
        final = self._current
        with disk.disk_errors(f"cannot write {final}"):
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            self._temporary_of(final).replace(final)
        self._sums.append(f"{self._hash.hexdigest()}  {final.name}\n")
        self.written.append(final)

    def _temporary_of(self, final: Path) -> Path:
        return final.with_name(final.name + _UNFINISHED)


class Volumes:
    """A bundle's files read as one; volumes may lie in several folders, and some may be absent."""

    def __init__(self, base: Path, files: dict[int, Path], *, numbered: bool) -> None:
        self.base = base
        self._files = files
        self._numbered = numbered
        self._open: dict[int, int] = {}
        self.volume_size = self._size(1) if numbered else None

    @classmethod
    def find(cls, paths: Sequence[Path]) -> Self:
        """From what was given on the command line: a file, a volume, several volumes.

        Siblings of a volume are found by themselves. Raises `ConfigurationError`,
        `BundleInvalid` where the first volume is missing.
        """
        first = paths[0]
        if len(paths) == 1 and first.is_file() and not _NUMBERED.fullmatch(first.name):
            return cls(first, {1: first}, numbered=False)
        if len(paths) == 1 and not first.exists() and volume_path(first, 1).exists():
            paths = [volume_path(first, 1)]
        base: Path | None = None
        files: dict[int, Path] = {}
        for path in paths:
            match = _NUMBERED.fullmatch(path.name)
            if not path.is_file():
                raise ConfigurationError("FILE", str(path), "there is no such file")
            if match is None:
                raise ConfigurationError(
                    "FILE", str(path), "give one bundle, or volumes of one: NAME.001, NAME.002 ..."
                )
            if base is not None and base.name != match["base"]:
                raise ConfigurationError(
                    "FILE", str(path), f"it is no volume of {base.name}; import one bundle a time"
                )
            base = base or path.with_name(match["base"])
            files[int(match["number"])] = path
        assert base is not None
        for folder in {path.parent for path in files.values()}:
            for number, path in _volumes_in(folder, base.name):
                files.setdefault(number, path)
        if 1 not in files:
            raise BundleInvalid(
                f"{volume_path(base, 1)} is not there: it has the table of contents; put it beside "
                "the others and try again"
            )
        return cls(base, files, numbered=True)

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """``size`` bytes from ``offset``, piece by piece. Raises `BundleInvalid`."""
        while size > 0:
            number, within = self._place(offset)
            wanted = min(size, disk.CHUNK)
            if self.volume_size is not None:
                wanted = min(wanted, self.volume_size - within)
            try:
                piece = os.pread(self._descriptor(number), wanted, within)
            except OSError as error:
                raise BundleInvalid(
                    f"{self._path(number)} cannot be read ({error.strerror}): copy it again from "
                    "where it came from, then try again"
                ) from error
            if not piece:
                raise self._cut(number, within)
            yield piece
            offset += len(piece)
            size -= len(piece)

    def check_sizes(self, total: int, volume_size: int | None) -> None:
        """Compare every file that is here with what the table of contents promises.

        ``volume_size`` None: the bundle was written whole; it may have been cut by others since.
        """
        if not self._numbered:
            if self._size(1) != total:
                raise self._cut(1, total)
            return
        assert self.volume_size is not None
        volume_size = volume_size or self.volume_size
        if self.volume_size != min(volume_size, total):
            raise self._cut(1, min(volume_size, total))
        last = -(-total // volume_size)
        for number in self._files:
            if number > last:
                continue
            due = volume_size if number < last else total - (last - 1) * volume_size
            if self._size(number) != due:
                raise self._cut(number, due)

    def missing(self, total: int) -> list[Path]:
        """Volumes that are not here."""
        if self.volume_size is None:
            return []
        last = -(-total // self.volume_size)
        return [volume_path(self.base, n) for n in range(1, last + 1) if n not in self._files]

    def blame(self, offset: int, size: int) -> str:
        """The names of the files that hold damaged bytes, fewer where checksums tell."""
        first = self._place(offset)[0]
        last = self._place(offset + max(size, 1) - 1)[0]
        held = [number for number in range(first, last + 1) if number in self._files]
        sums = self._sums()
        wrong = [
            number
            for number in held
            if (due := sums.get(volume_path(self.base, number).name)) is not None
            and due != _checksum(self._path(number))
        ]
        return " or ".join(str(self._path(number)) for number in wrong or held)

    def _sums(self) -> dict[str, str]:
        if not self._numbered:
            return {}
        folders = dict.fromkeys(path.parent for path in self._files.values())
        for folder in folders:
            try:
                text = (folder / (self.base.name + SUMS)).read_text()
            except (OSError, ValueError):
                continue
            pairs = (line.split(None, 1) for line in text.splitlines())
            return {pair[1].strip(): pair[0] for pair in pairs if len(pair) == 2}
        return {}

    def _place(self, offset: int) -> tuple[int, int]:
        if self.volume_size is None:
            return 1, offset
        return offset // self.volume_size + 1, offset % self.volume_size

    def _path(self, number: int) -> Path:
        return self._files[number]

    def _descriptor(self, number: int) -> int:
        if number not in self._files:
            raise BundleInvalid(
                f"{volume_path(self.base, number)} is not there: put it beside the others, or name "
                "it too, and try again; what has come in stays"
            )
        if number not in self._open:
            self._open[number] = os.open(self._files[number], os.O_RDONLY | os.O_CLOEXEC)
        return self._open[number]

    def _size(self, number: int) -> int:
        try:
            return self._files[number].stat().st_size
        except OSError as error:
            raise BundleInvalid(
                f"{self._files[number]} cannot be read: {error.strerror}"
            ) from error

    def _cut(self, number: int, due: int) -> BundleInvalid:
        return BundleInvalid(
            f"{self._path(number)} is not whole: it has {self._size(number)} bytes and should have "
            f"{due}; copy it again from where it came from, then try again"
        )


def _volumes_in(folder: Path, base: str) -> Iterable[tuple[int, Path]]:
    for path in sorted(folder.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if match is not None and match["base"] == base and path.is_file():
            yield int(match["number"]), path


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
