"""Is an image whole here, and if not, what is missing and why?"""

from __future__ import annotations

from connected_registry.oci.digest import Digest
from connected_registry.oci.platform import Platform
from storage.store import OTHER, REPOSITORY, Store, image, index, multi_platform

AMD, ARM = "linux/amd64", "linux/arm64"


def test_a_whole_image_lists_its_parts(store: Store) -> None:
    """The manifest, and each blob once with its size."""
    whole = image(b"layer", b"layer", b"other")
    store.push(whole)
    found = store.registry.closure(REPOSITORY, whole.digest)
    assert found.complete
    assert found.missing == ()
    assert found.manifests == (whole.digest,)
    assert dict(found.blobs) == {Digest.of(blob): len(blob) for blob in whole.blobs}


def test_an_unknown_image_is_missing(store: Store) -> None:
    """In an unknown repository, and in one that shows other things."""
    store.push(image())
    for repository in (REPOSITORY, OTHER):
        found = store.registry.closure(repository, Digest.of(b"x"))
        assert not found.complete
        assert [item.digest for item in found.missing] == [Digest.of(b"x")]


def test_missing_children_make_an_index_incomplete(store: Store) -> None:
    """Each is named with the size it should have."""
    whole, images = multi_platform([AMD, ARM])
    store.push(images[AMD])
    store.push(whole)
    found = store.registry.closure(REPOSITORY, whole.digest)
    assert not found.complete
    assert [(item.digest, item.size, item.reason) for item in found.missing] == [
        (images[ARM].digest, len(images[ARM].content), "missing")
    ]


def test_platforms_that_were_not_selected_are_not_needed(store: Store) -> None:
    """They are listed as such, and the image counts as whole."""
    whole, images = multi_platform([AMD, ARM])
    store.push(images[AMD])
    store.push(whole)
    found = store.registry.closure(REPOSITORY, whole.digest, [Platform.parse(AMD)])
    assert found.complete
    assert [(item.digest, item.reason) for item in found.missing] == [
        (images[ARM].digest, "not selected")
    ]
    assert not store.registry.closure(REPOSITORY, whole.digest, [Platform.parse(ARM)]).complete


def test_attestations_go_with_the_image_they_attest(store: Store) -> None:
    """As the sync selects them."""
    whole, images = multi_platform([AMD, ARM])
    attestations = {name: image(b"attests " + name.encode()) for name in (AMD, ARM)}
    entries = [
        images[name].descriptor(platform={"os": "linux", "architecture": name.partition("/")[2]})
        for name in (AMD, ARM)
    ] + [
        attestations[name].descriptor(
            platform={"os": "unknown", "architecture": "unknown"},
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": images[name].digest,
            },
        )
        for name in (AMD, ARM)
    ]
    whole = index(*entries)
    store.push(images[AMD])
    store.push(whole)
    wanted = [Platform.parse(AMD)]
    found = store.registry.closure(REPOSITORY, whole.digest, wanted)
    assert [(item.digest, item.reason) for item in found.missing if item.reason == "missing"] == [
        (attestations[AMD].digest, "missing")
    ]
    store.push(attestations[AMD])
    assert store.registry.closure(REPOSITORY, whole.digest, wanted).complete


def test_a_lost_or_cut_blob_file_is_noticed(store: Store) -> None:
    """What the database says is not enough."""
    whole = image(b"layer")
    store.push(whole)
    path = store.blobs.path(Digest.of(b"layer"))
    path.write_bytes(b"lay")
    found = store.registry.closure(REPOSITORY, whole.digest)
    assert [(item.digest, item.size) for item in found.missing] == [(Digest.of(b"layer"), 5)]
    path.unlink()
    assert not store.registry.closure(REPOSITORY, whole.digest).complete


def test_nested_indexes_are_followed(store: Store) -> None:
    """To any depth, each manifest once however often it is named."""
    inner = image(b"layer")
    store.push(inner)
    outer = index(inner.descriptor())
    manifests = [inner.digest]
    for depth in range(20):
        store.push(outer)
        manifests.append(outer.digest)
        outer = index(outer.descriptor(), inner.descriptor(), annotations={"depth": str(depth)})
    store.push(outer)
    found = store.registry.closure(REPOSITORY, outer.digest)
    assert found.complete
    assert sorted(found.manifests) == sorted([*manifests, outer.digest])


def test_a_subject_is_not_part_of_its_referrer(store: Store) -> None:
    """A signature without what it signs is whole."""
    signature = image(b"signature", subject=image(b"subject").descriptor())
    store.push(signature)
    assert store.registry.closure(REPOSITORY, signature.digest).complete


def test_an_empty_index_is_whole(store: Store) -> None:
    """It needs nothing."""
    empty = index()
    store.push(empty)
    assert store.registry.closure(REPOSITORY, empty.digest).complete
