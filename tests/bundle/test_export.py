"""Bundles as other tools see them, and what goes into one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from bundle.carrying import bring, export, push, take
from connected_registry.bundle.document import Document
from connected_registry.bundle.export import Exporter
from connected_registry.bundle.inventory import Inventory
from connected_registry.bundle.seal import SealKey
from connected_registry.errors import BundleInvalid, ConfigurationError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from peers.images import make_image, make_index, make_platforms
from peers.site import Site, rules

APP = make_platforms("app", size=20_000)


async def test_archive_is_an_image_layout(cloud: Site, tmp_path: Path) -> None:
    """An ordinary tar: contents first, then the layout with every byte under its digest."""
    push(cloud, APP, "team/app", "1.0", "latest")
    export(cloud, tmp_path / "b.tar")

    with tarfile.open(tmp_path / "b.tar") as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        for name in names:
            if name.startswith("blobs/"):
                content = tar.extractfile(name).read()  # type: ignore[union-attr]
                assert Digest.of(content).encoded == Path(name).name

    assert names[:3] == ["bundle.json", "oci-layout", "index.json"]
    refs = {m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]}
    assert refs == {"team/app:1.0", "team/app:latest"}
    assert set(APP.all_blobs()) <= {f"sha256:{Path(name).name}" for name in names}


async def test_same_content_same_bytes(cloud: Site, tmp_path: Path) -> None:
    """Two exports of one state are equal."""
    push(cloud, APP, "team/app", "1.0")

    first = export(cloud, tmp_path / "1.tar")
    second = export(cloud, tmp_path / "2.tar")

    assert first.bundle == second.bundle
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


async def test_long_digests(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """Content named by sha512, whose path is too long for a plain tar header, goes along."""
    name = "team/long"
    content = make_image("long")
    layer = cloud.blobs.put(content.blobs[1].data, "sha512")
    document = json.loads(content.manifest.data)
    document["layers"][0]["digest"] = layer
    push(cloud, content, name, "plain")
    cloud.registry.link_blob(RepositoryName(name), layer, content.blobs[1].size)
    cloud.registry.put_manifest(
        RepositoryName(name), Tag("v1"), content.manifest.media_type, json.dumps(document).encode()
    )
    export(cloud, tmp_path / "b.tar")

    bring(plant, tmp_path / "b.tar")

    assert plant.is_whole(name, "v1")


async def test_sparse_image_is_left_out(cloud: Site, tmp_path: Path) -> None:
    """What is not whole here does not go along, and is named."""
    whole = make_image("whole")
    index = make_index(whole, make_image("absent", platform="linux/arm64"))
    push(cloud, whole, "team/app", "whole")
    cloud.registry.put_manifest(
        RepositoryName("team/app"), Tag("sparse"), index.manifest.media_type, index.manifest.data
    )

    written = export(cloud, tmp_path / "b.tar")

    assert written.images == ("team/app:whole",)
    assert [(each.image, each.reason) for each in written.left_out] == [
        ("team/app:sparse", "incomplete")
    ]


async def test_platforms_of_the_scope(cloud: Site, tmp_path: Path) -> None:
    """Only what the rule's platforms need goes along."""
    push(cloud, APP, "team/app", "1.0")
    cloud.scope = rules("team/*", platforms=("linux/amd64",))
    export(cloud, tmp_path / "b.tar")

    with tarfile.open(tmp_path / "b.tar") as tar:
        inside = {f"sha256:{Path(name).name}" for name in tar.getnames()}

    for child in APP.children:
        assert (child.digest in inside) == (child.platform == "linux/amd64")


async def test_damaged_store_ends_the_export(cloud: Site, tmp_path: Path) -> None:
    """Bytes that rotted here are not carried on; no file is left behind."""
    push(cloud, APP, "team/app", "1.0")
    layer = Digest(next(iter(APP.children[0].layers)).digest)
    path = cloud.blobs.path(layer)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(BundleInvalid, match=f"{layer} is damaged: run verify"):
        export(cloud, tmp_path / "b.tar")
    assert list(tmp_path.glob("b.tar*")) == []


async def test_nothing_lacking(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """A site that has everything needs no bundle."""
    push(cloud, APP, "team/app", "1.0")
    push(plant, APP, "team/app", "1.0")

    planned = Exporter(cloud.registry, cloud.blobs).plan(cloud.scope, take(plant))

    assert planned.contents.images == ()
    assert planned.current == 1


async def test_moved_tag_of_known_content_goes_along(
    cloud: Site, plant: Site, tmp_path: Path
) -> None:
    """Where only a tag is new, the bundle has the tag and no bytes."""
    push(cloud, APP, "team/app", "1.0", "stable")
    push(plant, APP, "team/app", "1.0")

    written = export(cloud, tmp_path / "b.tar", lacking=take(plant))
    bring(plant, tmp_path / "b.tar")

    assert written.images == ("team/app:stable",)
    assert plant.tags("team/app")["stable"] == APP.digest


async def test_inventory_survives_its_file(plant: Site, tmp_path: Path) -> None:
    """Written and read again it is the same, its scope included."""
    push(plant, APP, "team/app", "1.0")
    plant.scope = rules("team/app", tags=("1.*",), newest=3)
    taken = take(plant)
    (tmp_path / "inventory").write_bytes(taken.write())

    assert Inventory.load("--inventory", tmp_path / "inventory") == taken


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"kind": "x"}', b"\xff"])
def test_wrong_inventory(tmp_path: Path, content: bytes) -> None:
    """Another file is refused by name."""
    (tmp_path / "other").write_bytes(content)

    with pytest.raises(BundleInvalid, match=str(tmp_path / "other")):
        Inventory.load("--inventory", tmp_path / "other")


async def test_signed_bundle(cloud: Site, plant: Site, tmp_path: Path) -> None:
    """With the right key it comes in; with another, or unsigned, it does not."""
    push(cloud, APP, "team/app", "1.0")
    key, other = SealKey(b"k" * 32), SealKey(b"o" * 32)
    export(cloud, tmp_path / "signed.tar", key=key)
    export(cloud, tmp_path / "plain.tar")

    with pytest.raises(BundleInvalid, match="another key"):
        bring(plant, tmp_path / "signed.tar", key=other)
    with pytest.raises(BundleInvalid, match="not signed"):
        bring(plant, tmp_path / "plain.tar", key=key)
    assert plant.tags("team/app") == {}
    receipt = bring(plant, tmp_path / "signed.tar", key=key)
    assert receipt.signed
    assert receipt.imported == ("team/app:1.0",)


def test_weak_key_is_refused(tmp_path: Path) -> None:
    """A key that could be guessed is no key."""
    (tmp_path / "key").write_bytes(b"secret\n")

    with pytest.raises(ConfigurationError, match="32 to 4096 bytes"):
        SealKey.load("--sign-key", tmp_path / "key")


def test_documents_ignore_later_keys() -> None:
    """A key that a later release adds does not make a document unreadable."""

    class Small(Document):
        """One key."""

        size: int

    assert Small.read(b'{"size": 1, "later": true}', "it") == Small(size=1)
