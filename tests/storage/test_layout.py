"""The image layout that other tools read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from storage.store import OTHER, REPOSITORY, Store, image, multi_platform


def entries(store: Store) -> list[dict[str, Any]]:
    """The index as written."""
    store.layout.write()
    index: dict[str, Any] = json.loads(store.folder.index.read_bytes())
    assert index["schemaVersion"] == 2
    return index["manifests"]  # type: ignore[no-any-return]


def test_every_tag_is_an_entry(store: Store) -> None:
    """Named ``repository:tag``, of the manifest's own type, digest and size."""
    first = image(b"first")
    store.push(first, "v1", "v2")
    store.push(first, "v1", repository=OTHER)
    found = {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in entries(store)
    }
    assert list(found) == ["team/app:v1", "team/app:v2", "team/other:v1"]
    for entry in found.values():
        assert {key: entry[key] for key in first.descriptor()} == first.descriptor()


def test_roots_without_a_tag_are_entries_too(store: Store) -> None:
    """Referrers and images pushed by digest, with their repository; children are not."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    for child in images.values():
        store.push(child)
    store.push(whole)
    signature = image(b"signature", subject=whole.descriptor())
    store.push(signature)
    found = entries(store)
    assert {entry["digest"] for entry in found} == {whole.digest, signature.digest}
    assert {tuple(entry["annotations"].values()) for entry in found} == {(REPOSITORY,)}


def test_a_child_of_an_index_elsewhere_is_a_root_here(store: Store) -> None:
    """Repositories do not know of each other."""
    whole, images = multi_platform(["linux/amd64"])
    child = images["linux/amd64"]
    store.push(child)
    store.push(whole, repository=OTHER)
    assert {entry["digest"] for entry in entries(store)} == {whole.digest, child.digest}


def test_nothing_is_an_empty_list(store: Store) -> None:
    """After everything was deleted."""
    store.registry.delete_manifest(REPOSITORY, store.push(image(), "v1"))
    assert entries(store) == []


@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("skopeo") is None and os.environ.get("CI") != "true", reason="skopeo is missing"
)
def test_skopeo_reads_the_folder(store: Store, tmp_path: Any) -> None:
    """Also while it is open: the manifest as it is, and a copy with every blob."""
    pushed = image(
        b"",
        config=json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode(),
    )
    store.push(pushed, "v1")
    store.push(image(b"another"), "v2")
    store.layout.write()
    name = f"oci:{store.folder.path}:team/app:v1"
    found = subprocess.run(
        ["skopeo", "inspect", "--raw", name], check=True, capture_output=True
    ).stdout
    assert found == pushed.content
    subprocess.run(
        ["skopeo", "copy", "--preserve-digests", name, f"dir:{tmp_path / 'copy'}"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == pushed.content
