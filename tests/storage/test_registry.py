"""The registry: what repositories show, and the transactions that change it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from connected_registry.errors import (
    BlobDamaged,
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    OperationNotAllowed,
    StorageError,
    Unavailable,
)
from connected_registry.oci import media_type
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import ImageCommit
from storage.store import OTHER, REPOSITORY, Store, image, index, multi_platform, open_store

V1, V2 = Tag("v1"), Tag("v2")


def put(store: Store, content: bytes, reference: Tag | Digest = V1, kind: str = "") -> Digest:
    """Push a manifest alone."""
    kind = kind or media_type.OCI_MANIFEST
    return store.registry.put_manifest(REPOSITORY, reference, kind, content).digest


def test_a_pushed_image_resolves_by_tag_and_digest(store: Store) -> None:
    """To the same bytes, type and size, one row for both."""
    pushed = image(b"layer")
    digest = store.push(pushed, "v1")
    for reference in (V1, digest):
        found = store.registry.resolve(REPOSITORY, reference)
        assert (found.content, found.media_type) == (pushed.content, pushed.media_type)
        assert (found.digest, found.size) == (digest, len(pushed.content))


def test_what_was_pushed_survives_a_restart(tmp_path: Path) -> None:
    """Byte for byte, from the disk alone."""
    pushed = image(b"layer")
    with open_store(tmp_path / "data") as store:
        store.push(pushed, "v1")
        before = store.registry.resolve(REPOSITORY, V1)
    with open_store(tmp_path / "data") as store:
        assert store.registry.cached(REPOSITORY, V1) is None
        assert store.registry.resolve(REPOSITORY, V1) == before


def test_a_manifest_is_shown_by_its_own_repository_only(store: Store) -> None:
    """By tag, by digest, and when another repository is asked that never was."""
    digest = store.push(image(b"layer"), "v1")
    for repository in (OTHER, RepositoryName("team"), RepositoryName("team/app/x")):
        for reference in (V1, digest):
            with pytest.raises(ManifestUnknown):
                store.registry.resolve(repository, reference)


def test_tags_are_case_sensitive(store: Store) -> None:
    """``V1`` is not ``v1``."""
    store.push(image(b"layer"), "v1")
    with pytest.raises(ManifestUnknown):
        store.registry.resolve(REPOSITORY, Tag("V1"))


def test_several_tags_are_set_in_one_step(store: Store) -> None:
    """The reference and every further tag name the manifest."""
    digest = store.push(image(b"layer"), "a", "b", "c")
    assert store.registry.list_tags(REPOSITORY).items == ("a", "b", "c")
    assert {store.registry.resolve(REPOSITORY, Tag(tag)).digest for tag in "abc"} == {digest}


def test_a_digest_reference_must_be_that_of_the_content(store: Store) -> None:
    """Nothing is kept of what is not."""
    pushed = image()
    store.push_blob(b"{}")
    files = store.stored_files()
    with pytest.raises(DigestInvalid):
        put(store, pushed.content, Digest.of(b"other"))
    assert store.stored_files() == files


def test_a_manifest_may_be_pushed_by_sha512(store: Store) -> None:
    """It is stored, served and tagged by that digest."""
    pushed = image()
    store.push_blob(b"{}")
    digest = Digest.of(pushed.content, "sha512")
    store.registry.put_manifest(REPOSITORY, digest, pushed.media_type, pushed.content, tags=[V1])
    assert store.registry.resolve(REPOSITORY, digest).digest == digest
    assert store.registry.resolve(REPOSITORY, V1).digest == digest
    with pytest.raises(ManifestUnknown):
        store.registry.resolve(REPOSITORY, pushed.digest)


def test_blobs_must_be_here_first(store: Store) -> None:
    """In this very repository; the answer names them, and no file is left behind."""
    pushed = image(b"layer")
    for blob in pushed.blobs:
        store.push_blob(blob, OTHER)
    files = store.stored_files()
    with pytest.raises(ManifestBlobUnknown) as refusal:
        put(store, pushed.content)
    assert {item["digest"] for item in refusal.value.detail} == {
        Digest.of(blob) for blob in pushed.blobs
    }
    assert store.stored_files() == files
    assert store.registry.list_repositories().items == (OTHER,)


def test_sizes_must_be_those_of_the_content(store: Store) -> None:
    """Of blobs, and of children that are here."""
    child = image()
    store.push(child)
    document = json.loads(child.content)
    document["config"]["size"] = 3
    with pytest.raises(ManifestInvalid, match="it has 2"):
        put(store, json.dumps(document).encode())
    wrong = index({**child.descriptor(), "size": 1})
    with pytest.raises(ManifestInvalid, match="1 bytes"):
        put(store, wrong.content, V1, wrong.media_type)


def test_foreign_layers_are_not_required(store: Store) -> None:
    """Their bytes are somewhere else on purpose."""
    store.push_blob(b"{}")
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": Digest.of(b"windows"),
        "size": 7,
    }
    put(store, image(layers=[foreign]).content)
    digest = store.registry.resolve(REPOSITORY, V1).digest
    assert store.registry.closure(REPOSITORY, digest).complete


def test_an_index_may_name_children_that_are_not_here(store: Store) -> None:
    """A sparse index keeps its own bytes and digest."""
    sparse, _ = multi_platform(["linux/amd64", "linux/arm64"])
    assert store.push(sparse, "v1") == sparse.digest


def test_a_subject_may_come_later_or_never(store: Store) -> None:
    """The referrer is listed under it all the same."""
    subject = image(b"layer")
    signature = image(b"signature", subject=subject.descriptor())
    store.push(signature)
    assert [
        entry["digest"] for entry in store.registry.list_referrers(REPOSITORY, subject.digest)
    ] == [signature.digest]


def test_a_moved_tag_leaves_the_old_manifest(store: Store) -> None:
    """It stays reachable by digest."""
    old, new = store.push(image(b"old"), "v1"), store.push(image(b"new"), "v1")
    assert store.registry.resolve(REPOSITORY, V1).digest == new
    assert store.registry.resolve(REPOSITORY, old).digest == old


def test_pushing_again_keeps_the_time_of_the_first_push(store: Store) -> None:
    """A repeated push is no news; the tag's own times say when its digest changed."""
    digest = store.push(image(b"layer"), "v1")
    first = store.registry.resolve(REPOSITORY, digest).pushed_at
    tag = store.registry.tag_details(REPOSITORY).items[0]
    store.push(image(b"layer"), "v1")
    assert store.registry.resolve(REPOSITORY, digest).pushed_at == first
    assert store.registry.tag_details(REPOSITORY).items[0] == tag


def test_deleting_a_tag_leaves_everything_else(store: Store) -> None:
    """The manifest and its other tags."""
    digest = store.push(image(b"layer"), "v1", "v2")
    store.registry.resolve(REPOSITORY, V1)
    store.registry.delete_tag(REPOSITORY, V1)
    with pytest.raises(ManifestUnknown):
        store.registry.resolve(REPOSITORY, V1)
    assert store.registry.resolve(REPOSITORY, V2).digest == digest
    with pytest.raises(ManifestUnknown):
        store.registry.delete_tag(REPOSITORY, V1)


def test_deleting_a_manifest_takes_its_tags(store: Store) -> None:
    """All of them at once, and no others; not in other repositories."""
    gone, kept = store.push(image(b"gone"), "v1", "v2"), store.push(image(b"kept"), "v3")
    store.push(image(b"gone"), "v1", repository=OTHER)
    assert sorted(store.registry.delete_manifest(REPOSITORY, gone)) == ["v1", "v2"]
    for reference in (V1, V2, gone):
        with pytest.raises(ManifestUnknown):
            store.registry.resolve(REPOSITORY, reference)
    assert store.registry.list_tags(REPOSITORY).items == ("v3",)
    assert store.registry.resolve(REPOSITORY, kept).digest == kept
    assert store.registry.resolve(OTHER, V1).digest == gone
    with pytest.raises(ManifestUnknown):
        store.registry.delete_manifest(REPOSITORY, gone)


def test_a_repository_stays_known_when_it_is_empty(store: Store) -> None:
    """It lists no tags; one that never was is unknown."""
    digest = store.push(image(), "v1")
    store.registry.delete_manifest(REPOSITORY, digest)
    assert store.registry.list_tags(REPOSITORY).items == ()
    with pytest.raises(NameUnknown):
        store.registry.list_tags(OTHER)


def test_blobs_are_shown_by_their_repository_only(store: Store) -> None:
    """That the bytes are in the folder says nothing."""
    digest = store.push_blob(b"layer")
    assert store.registry.stat_blob(REPOSITORY, digest).size == 5
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(OTHER, digest)


def test_a_blob_whose_file_was_cut_is_not_shown(store: Store) -> None:
    """Rather no answer than a short one."""
    digest = store.push_blob(b"layer")
    store.blobs.path(digest).write_bytes(b"")
    with pytest.raises(BlobDamaged):
        store.registry.stat_blob(REPOSITORY, digest)
    assert store.registry.take_suspects() == {digest}


def test_mounting_needs_a_source_that_may_be_read(store: Store) -> None:
    """From a named repository, from any, or not at all."""
    digest = store.push_blob(b"layer")
    assert not store.registry.mount_blob(OTHER, digest, [])
    assert not store.registry.mount_blob(OTHER, digest, [OTHER])
    assert not store.registry.mount_blob(OTHER, Digest.of(b"x"), None)
    with pytest.raises(NameUnknown):
        store.registry.list_tags(OTHER)
    assert store.registry.mount_blob(OTHER, digest, [REPOSITORY])
    assert store.registry.stat_blob(OTHER, digest).size == 5
    assert store.registry.mount_blob(RepositoryName("third"), digest, None)
    assert store.registry.mount_blob(REPOSITORY, digest, [REPOSITORY])


def test_deleting_a_blob_here_leaves_it_elsewhere(store: Store) -> None:
    """Other repositories and the file."""
    digest = store.push_blob(b"layer")
    store.registry.mount_blob(OTHER, digest, None)
    store.registry.stat_blob(REPOSITORY, digest)
    store.registry.delete_blob(REPOSITORY, digest)
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(REPOSITORY, digest)
    assert store.registry.stat_blob(OTHER, digest).path.read_bytes() == b"layer"
    with pytest.raises(BlobUnknown):
        store.registry.delete_blob(REPOSITORY, digest)


def test_a_blob_in_use_cannot_be_deleted(store: Store) -> None:
    """A listed image stays whole; once its manifest is gone, the blob can go."""
    digest = store.push(image(b"layer"), "v1")
    layer = Digest.of(b"layer")
    with pytest.raises(OperationNotAllowed, match=digest):
        store.registry.delete_blob(REPOSITORY, layer)
    store.registry.delete_manifest(REPOSITORY, digest)
    store.registry.delete_blob(REPOSITORY, layer)


def test_the_same_image_in_two_repositories_is_stored_once(store: Store) -> None:
    """And deleting one leaves the other whole."""
    first = store.push(image(b"layer"), "v1")
    files = store.stored_files()
    store.push(image(b"layer"), "v1", repository=OTHER)
    assert store.stored_files() == files
    store.registry.delete_manifest(REPOSITORY, first)
    assert store.registry.closure(OTHER, first).complete


def test_linking_needs_the_content(store: Store) -> None:
    """In the size that is claimed."""
    digest = store.blobs.put(b"layer")
    with pytest.raises(BlobUnknown):
        store.registry.link_blob(REPOSITORY, digest, 4)
    with pytest.raises(BlobUnknown):
        store.registry.link_blob(REPOSITORY, Digest.of(b"x"), 1)
    store.registry.link_blob(REPOSITORY, digest, 5)
    assert store.registry.stat_blob(REPOSITORY, digest).size == 5


def test_a_damaged_manifest_is_never_served(store: Store) -> None:
    """Neither with changed bytes nor when the file is gone."""
    store.registry.cached(REPOSITORY, V1)
    digest = store.push(image(b"layer"), "v1")
    path = store.blobs.path(digest)
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    with pytest.raises(Unavailable, match="damaged"):
        store.registry.resolve(REPOSITORY, V1)
    path.unlink()
    with pytest.raises(Unavailable, match="gone"):
        store.registry.resolve(REPOSITORY, V1)


def test_holding_is_about_files_not_repositories(store: Store) -> None:
    """Content that nobody shows is held too."""
    shown, hidden = store.push_blob(b"shown"), store.blobs.put(b"hidden")
    assert store.registry.holds([shown, hidden, Digest.of(b"x")]) == {shown, hidden}


def fetch(store: Store, *blobs: bytes) -> None:
    """Store blobs as the sync does, shown nowhere."""
    for blob in blobs:
        with store.blobs.partial(Digest.of(blob), len(blob)) as partial:
            partial.write(blob)
            partial.finish()


def test_a_synced_image_appears_with_everything(store: Store) -> None:
    """Index, images, blobs, signature and tags, in one step."""
    whole, images = multi_platform(["linux/amd64", "linux/arm64"])
    signature = image(b"signature", subject=whole.descriptor())
    parts = [*images.values(), whole, signature]
    blobs = {blob for part in parts for blob in part.blobs}
    fetch(store, *blobs)
    now = store.clock()
    store.registry.commit_image(
        ImageCommit(
            REPOSITORY,
            (V1, V2),
            whole.digest,
            tuple((part.digest, part.media_type, part.content) for part in parts),
            tuple((Digest.of(blob), len(blob)) for blob in blobs),
            confirmed_at=now,
            companions=((Tag("signature"), signature.digest),),
        )
    )
    assert store.registry.list_tags(REPOSITORY).items == ("signature", "v1", "v2")
    assert store.registry.closure(REPOSITORY, whole.digest).complete
    assert store.registry.list_referrers(REPOSITORY, whole.digest)[0]["digest"] == signature.digest
    details = store.registry.tag_details(REPOSITORY).items
    assert {(tag.origin, tag.confirmed_at) for tag in details} == {("parent", now)}


@pytest.mark.parametrize("damage", ["absent", "short", "undeclared"])
def test_an_image_that_is_not_whole_changes_nothing(store: Store, damage: str) -> None:
    """The old tag goes on naming the old image."""
    old = store.push(image(b"old"), "v1")
    new = image(b"new layer")
    commit = new.commit("v1")
    if damage != "absent":
        fetch(store, b"new layer")
    if damage == "short":
        store.blobs.path(Digest.of(b"new layer")).write_bytes(b"new")
    if damage == "undeclared":
        commit = ImageCommit(commit.repository, commit.tags, commit.root, commit.manifests)
    with pytest.raises(StorageError):
        store.registry.commit_image(commit)
    assert store.registry.resolve(REPOSITORY, V1).digest == old
    with pytest.raises(ManifestUnknown):
        store.registry.resolve(REPOSITORY, new.digest)
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(REPOSITORY, Digest.of(b"new layer"))


def test_a_synced_manifest_must_be_what_its_digest_says(store: Store) -> None:
    """A parent's lie that came this far stops here."""
    fetch(store, b"{}")
    true, false = image(), image(b"")
    with pytest.raises(DigestInvalid):
        store.registry.commit_image(
            ImageCommit(
                REPOSITORY, (V1,), true.digest, ((true.digest, true.media_type, false.content),)
            )
        )


def test_an_images_root_must_be_among_its_manifests(store: Store) -> None:
    """Or here already."""
    with pytest.raises(StorageError, match="not among"):
        store.registry.commit_image(ImageCommit(REPOSITORY, (V1,), image().digest, ()))
    digest = store.push(image())
    store.registry.commit_image(ImageCommit(REPOSITORY, (V1,), digest, ()))
    assert store.registry.resolve(REPOSITORY, V1).digest == digest


def test_confirming_tags_touches_only_those_that_agree(store: Store) -> None:
    """A tag that names something else here is not confirmed."""
    same, other = store.push(image(b"same"), "v1"), store.push(image(b"other"), "v2")
    now = store.clock()
    store.registry.confirm_tags(REPOSITORY, {V1: same, V2: same, Tag("v3"): other}, now)
    confirmed = {tag.name: tag.confirmed_at for tag in store.registry.tag_details(REPOSITORY).items}
    assert confirmed == {"v1": now, "v2": None}


def test_a_local_push_over_a_synced_tag_is_not_confirmed(store: Store) -> None:
    """The parent has said nothing of the new digest."""
    old = store.push(image(b"old"), "v1")
    store.registry.confirm_tags(REPOSITORY, {V1: old}, store.clock())
    store.push(image(b"new"), "v1")
    tag = store.registry.tag_details(REPOSITORY).items[0]
    assert (tag.origin, tag.confirmed_at) == ("local", None)


def test_the_memory_answers_what_the_disk_would(store: Store) -> None:
    """After one look; and it forgets at each change."""
    old = store.push(image(b"old"), "v1")
    assert store.registry.cached(REPOSITORY, V1) is None
    found = store.registry.resolve(REPOSITORY, V1)
    assert store.registry.cached(REPOSITORY, V1) is found
    assert store.registry.cached(REPOSITORY, old) is found
    new = store.push(image(b"new"), "v1")
    assert store.registry.cached(REPOSITORY, V1) is None
    assert store.registry.resolve(REPOSITORY, V1).digest == new
    store.registry.delete_manifest(REPOSITORY, new)
    assert store.registry.cached(REPOSITORY, V1) is None
    assert store.registry.cached(REPOSITORY, new) is None
    assert store.registry.cached(REPOSITORY, old) is found


def test_blobs_are_remembered_until_deleted(store: Store) -> None:
    """As manifests are."""
    digest = store.push_blob(b"layer")
    assert store.registry.cached_blob(REPOSITORY, digest) is None
    found = store.registry.stat_blob(REPOSITORY, digest)
    assert store.registry.cached_blob(REPOSITORY, digest) is found
    assert store.registry.cached_blob(OTHER, digest) is None
    store.registry.delete_blob(REPOSITORY, digest)
    assert store.registry.cached_blob(REPOSITORY, digest) is None


def test_of_many_writers_of_a_tag_one_wins(store: Store) -> None:
    """All fifty succeed, and the tag names the digest of one of them, also to later readers."""
    images = [image(b"%d" % number) for number in range(50)]
    for each in images:
        store.push(each)
    seen: set[str] = set()
    start = threading.Barrier(51)

    def write(number: int) -> None:
        start.wait()
        each = images[number]
        store.registry.put_manifest(REPOSITORY, V1, each.media_type, each.content)

    def read() -> None:
        start.wait()
        while any(thread.is_alive() for thread in threads[:-1]):
            try:
                seen.add(store.registry.resolve(REPOSITORY, V1).digest)
            except ManifestUnknown:
                assert not seen, "a tag that was there went missing"

    threads = [threading.Thread(target=write, args=(number,)) for number in range(50)]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = store.registry.resolve(REPOSITORY, V1).digest
    assert final in {each.digest for each in images}
    assert seen <= {each.digest for each in images}
    with store.database.read():
        details = store.registry.tag_details(REPOSITORY).items
    assert [(tag.name, tag.digest) for tag in details] == [("v1", final)]


def test_totals_are_exact_through_every_change(store: Store) -> None:
    """What is shown, and how many bytes are in the folder."""
    shared = image(b"shared layer")
    digest = store.push(shared, "v1", "v2")
    store.push(shared, "v1", repository=OTHER)
    store.push(image(b"own layer"), "v3")
    files = store.stored_files()
    totals = store.registry.statistics()
    assert (totals.repositories, totals.tags, totals.manifests, totals.blobs) == (2, 4, 3, 3)
    assert totals.bytes == sum(path.stat().st_size for path in files)
    assert totals.free_bytes > 0
    store.registry.delete_manifest(OTHER, digest)
    store.registry.delete_blob(OTHER, Digest.of(b"shared layer"))
    by_name = {row.name: row for row in store.registry.repository_statistics().items}
    assert (by_name[OTHER].tags, by_name[OTHER].manifests) == (0, 0)
    assert (by_name[OTHER].blobs, by_name[OTHER].bytes) == (1, 2)
    assert (by_name[REPOSITORY].blobs, by_name[REPOSITORY].tags) == (3, 3)
    assert store.registry.statistics().blobs == 3


def test_a_sparse_image_is_taken_only_when_asked_for(store: Store) -> None:
    """It resolves, and it does not count as whole."""
    pushed = image(b"layer that nobody has")
    store.registry.put_manifest(REPOSITORY, V1, pushed.media_type, pushed.content, sparse=True)
    assert store.registry.resolve(REPOSITORY, V1).content == pushed.content
    assert not store.registry.closure(REPOSITORY, pushed.digest).complete


def test_the_state_digest_depends_on_tags_and_what_they_name(store: Store) -> None:
    """Alike for repositories that show the same under the same tags, and for no others."""
    first, second = image(b"first"), image(b"second")
    for repository in (REPOSITORY, OTHER):
        store.push(first, "v1", repository=repository)
    before = store.registry.state_digests()
    assert before[REPOSITORY] == before[OTHER]
    store.push(second, "v1")
    after = store.registry.state_digests()
    assert after[OTHER] == before[OTHER]
    assert after[REPOSITORY] != before[REPOSITORY]
