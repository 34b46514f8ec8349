"""Bundles in volumes: cut, lost, damaged and joined again."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from bundle.carrying import bring, export, push, reasons
from connected_registry.bundle.opened import OpenBundle
from connected_registry.bundle.volumes import MIN_VOLUME
from connected_registry.errors import BundleInvalid, ConfigurationError
from peers.images import make_image
from peers.site import Site

SMALL = make_image("small", size=2_000)
LARGE = make_image("large", size=400_000)


@pytest.fixture
async def base(cloud: Site, tmp_path: Path) -> Path:
    """A bundle of two images in volumes of 64 KiB."""
    push(cloud, SMALL, "team/small", "v1")
    push(cloud, LARGE, "team/large", "v1")
    stick = tmp_path / "stick"
    stick.mkdir()
    export(cloud, stick / "site.tar", volume_size=MIN_VOLUME)
    return stick / "site.tar"


def volumes(base: Path) -> list[Path]:
    """The bundle's volumes in order."""
    return sorted(base.parent.glob(f"{base.name}.0*"))


@pytest.mark.parametrize("given", ["name", "first", "last", "all"])
async def test_volumes_find_each_other(base: Path, plant: Site, given: str) -> None:
    """The bundle's name or any volume of it is enough."""
    every = volumes(base)
    files = {"name": [base], "first": every[:1], "last": every[-1:], "all": every}[given]

    receipt = bring(plant, *files)

    assert set(receipt.imported) == {"team/small:v1", "team/large:v1"}


async def test_volumes_of_equal_size(base: Path) -> None:
    """All but the last are as large as asked for."""
    sizes = [path.stat().st_size for path in volumes(base)]

    assert set(sizes[:-1]) == {MIN_VOLUME}
    assert 0 < sizes[-1] <= MIN_VOLUME


async def test_joined_volumes_are_the_bundle(base: Path, cloud: Site, plant: Site) -> None:
    """``cat`` of the volumes imports as one file."""
    joined = base.with_name("joined.tar")
    joined.write_bytes(b"".join(path.read_bytes() for path in volumes(base)))

    assert len(bring(plant, joined).imported) == 2


async def test_checksums_for_sha256sum(base: Path) -> None:
    """The file of checksums names every volume with its digest."""
    lines = base.with_name("site.tar.sha256").read_text().splitlines()

    assert lines == [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in volumes(base)
    ]


async def test_damaged_volume_is_named(base: Path, plant: Site) -> None:
    """Exactly the damaged one of the volumes that hold the blob, with the remedy."""
    victim = volumes(base)[3]
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)

    receipt = bring(plant, base)

    assert receipt.imported == ("team/small:v1",)
    (refused,) = receipt.refused
    assert refused.detail.startswith(f"{victim} is damaged")
    assert plant.tags("team/large") == {}


async def test_damaged_volume_without_checksums(base: Path, plant: Site) -> None:
    """Without the checksums every volume that holds the blob is named."""
    base.with_name("site.tar.sha256").unlink()
    victim = volumes(base)[3]
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)

    (refused,) = bring(plant, base).refused

    assert str(victim) in refused.detail


async def test_missing_volume_is_named_and_the_rest_comes_in(base: Path, plant: Site) -> None:
    """What lies before the gap comes in; once the volume is there, so does the rest."""
    gone = volumes(base)[2]
    kept = gone.rename(gone.with_name("elsewhere"))
    first = bring(plant, base)
    kept.rename(gone)

    second = bring(plant, base)

    assert first.imported == ("team/small:v1",)
    assert f"{gone} is not there" in first.refused[0].detail
    assert reasons(second) == {}
    assert second.imported == ("team/large:v1",)
    assert second.bytes_imported < LARGE.blobs[1].size


async def test_cut_volume_is_named(base: Path, plant: Site) -> None:
    """A volume that was not copied to its end is found before anything is imported."""
    victim = volumes(base)[2]
    victim.write_bytes(victim.read_bytes()[:-1])

    with pytest.raises(BundleInvalid, match=f"{victim} is not whole: it has {MIN_VOLUME - 1}"):
        bring(plant, base)
    assert plant.tags("team/small") == {}


async def test_volumes_on_several_sticks(base: Path, plant: Site, tmp_path: Path) -> None:
    """Volumes in different folders are given by name."""
    other = tmp_path / "other"
    other.mkdir()
    moved = [Path(shutil.move(path, other)) for path in volumes(base)[2:]]

    receipt = bring(plant, volumes(base)[0], moved[0])

    assert len(receipt.imported) == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: [folder / "none.tar"], "there is no such file"),
        (lambda folder: [_file(folder / "a.tar"), _file(folder / "b.tar")], "volumes of one"),
        (lambda folder: [_file(folder / "a.001"), _file(folder / "b.001")], "no volume of a"),
    ],
)
def test_wrong_files(tmp_path: Path, make: object, sentence: str) -> None:
    """What cannot be one bundle is refused by name."""
    assert callable(make)
    with pytest.raises(ConfigurationError, match=sentence):
        OpenBundle.open(make(tmp_path))


def _file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 10_000, b"\0" * 10_000])
def test_no_bundle(tmp_path: Path, content: bytes) -> None:
    """Any other file is refused by name."""
    file = tmp_path / "other.tar"
    file.write_bytes(content)

    with pytest.raises(BundleInvalid, match=str(file)):
        OpenBundle.open([file])
