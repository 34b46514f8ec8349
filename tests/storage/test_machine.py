"""The registry against a model of plain dictionaries: any sequence of operations agrees."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connected_registry.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    OperationNotAllowed,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import ImageCommit
from storage.store import Image, Store, image, index, open_store

REPOSITORIES = [RepositoryName(name) for name in ("a", "a/b", "c")]
BLOBS = [b"{}", b"one", b"two"]
PLAIN = [image(), image(b"one"), image(b"one", b"two")]
IMAGES = [
    *PLAIN,
    image(b"two", subject=PLAIN[0].descriptor()),
    index(PLAIN[0].descriptor(), PLAIN[1].descriptor()),
]
TAGS = [Tag(tag) for tag in ("v1", "v2")]

repositories = st.sampled_from(REPOSITORIES)
images = st.sampled_from(IMAGES)
blobs = st.sampled_from(BLOBS)
tags = st.sampled_from(TAGS)


class Shown:
    """What the model says one repository shows."""

    def __init__(self) -> None:
        self.known = False
        self.blobs: set[bytes] = set()
        self.manifests: dict[Digest, Image] = {}
        self.tags: dict[Tag, Digest] = {}


class RegistryMachine(RuleBasedStateMachine):
    """Every rule does the same to both and compares the outcome."""

    @initialize(memory=st.sampled_from([4_000, 1_000_000]))
    def begin(self, memory: int) -> None:
        """Open a store whose memory evicts all the time, or never."""
        self.memory = memory
        self.root = Path(tempfile.mkdtemp())
        self.model = {name: Shown() for name in REPOSITORIES}
        self.open()

    def open(self) -> None:
        """Open the folder, new or not."""
        self.stack = ExitStack()
        self.store: Store = self.stack.enter_context(
            open_store(self.root / "data", cache_bytes=self.memory)
        )

    def teardown(self) -> None:
        """Remove the folder."""
        if hasattr(self, "stack"):
            self.stack.close()
            shutil.rmtree(self.root)

    @rule()
    def restart(self) -> None:
        """Nothing depends on memory."""
        self.stack.close()
        self.open()

    @rule(name=repositories, blob=blobs)
    def push_blob(self, name: RepositoryName, blob: bytes) -> None:
        """Upload."""
        self.store.push_blob(blob, name)
        self.model[name].known = True
        self.model[name].blobs.add(blob)

    @rule(name=repositories, source=repositories, blob=blobs)
    def mount(self, name: RepositoryName, source: RepositoryName, blob: bytes) -> None:
        """Mount from another repository, or the same."""
        done = self.store.registry.mount_blob(name, Digest.of(blob), [source])
        assert done == (blob in self.model[source].blobs)
        if done:
            self.model[name].known = True
            self.model[name].blobs.add(blob)

    @rule(name=repositories, each=images, named=st.sets(tags))
    def push_manifest(self, name: RepositoryName, each: Image, named: set[Tag]) -> None:
        """Push by digest with tags."""
        shown = self.model[name]
        push = lambda: self.store.registry.put_manifest(  # noqa: E731
            name, each.digest, each.media_type, each.content, tags=sorted(named)
        )
        if not shown.blobs.issuperset(each.blobs):
            with pytest.raises(ManifestBlobUnknown):
                push()
            return
        push()
        shown.known = True
        shown.manifests[each.digest] = each
        shown.tags.update(dict.fromkeys(named, each.digest))

    @rule(name=repositories, each=images, tag=tags)
    def sync(self, name: RepositoryName, each: Image, tag: Tag) -> None:
        """Bring an image whole, with its children."""
        children = PLAIN[:2] if each is IMAGES[-1] else []
        needed = {blob for part in (each, *children) for blob in part.blobs}
        for blob in needed:
            self.store.blobs.put(blob)
        self.store.registry.commit_image(
            ImageCommit(
                name,
                (tag,),
                each.digest,
                tuple((part.digest, part.media_type, part.content) for part in (*children, each)),
                tuple((Digest.of(blob), len(blob)) for blob in needed),
            )
        )
        shown = self.model[name]
        shown.known = True
        shown.blobs |= needed
        shown.manifests.update({part.digest: part for part in (*children, each)})
        shown.tags[tag] = each.digest
        assert self.store.registry.closure(name, each.digest).complete

    @rule(name=repositories, tag=tags)
    def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        """Only the tag goes."""
        if tag not in self.model[name].tags:
            with pytest.raises(ManifestUnknown):
                self.store.registry.delete_tag(name, tag)
            return
        self.store.registry.delete_tag(name, tag)
        del self.model[name].tags[tag]

    @rule(name=repositories, each=images)
    def delete_manifest(self, name: RepositoryName, each: Image) -> None:
        """Its tags go with it."""
        shown = self.model[name]
        if each.digest not in shown.manifests:
            with pytest.raises(ManifestUnknown):
                self.store.registry.delete_manifest(name, each.digest)
            return
        self.store.registry.delete_manifest(name, each.digest)
        del shown.manifests[each.digest]
        shown.tags = {tag: named for tag, named in shown.tags.items() if named != each.digest}

    @rule(name=repositories, blob=blobs)
    def delete_blob(self, name: RepositoryName, blob: bytes) -> None:
        """Not while an image needs it."""
        shown = self.model[name]
        delete = lambda: self.store.registry.delete_blob(name, Digest.of(blob))  # noqa: E731
        if blob not in shown.blobs:
            with pytest.raises(BlobUnknown):
                delete()
        elif any(blob in each.blobs for each in shown.manifests.values()):
            with pytest.raises(OperationNotAllowed):
                delete()
        else:
            delete()
            shown.blobs.remove(blob)

    @invariant()
    def agrees(self) -> None:
        """Everything that can be asked has the model's answer."""
        if not hasattr(self, "stack"):
            return
        registry = self.store.registry
        known = [name for name in REPOSITORIES if self.model[name].known]
        assert list(registry.list_repositories().items) == sorted(known)
        for name, shown in self.model.items():
            if shown.known:
                assert list(registry.list_tags(name).items) == sorted(shown.tags)
            else:
                with pytest.raises(NameUnknown):
                    registry.list_tags(name)
            for tag in TAGS:
                self.check_manifest(name, tag, shown.tags.get(tag))
            for each in IMAGES:
                held = each.digest if each.digest in shown.manifests else None
                self.check_manifest(name, each.digest, held)
            for blob in BLOBS:
                if blob in shown.blobs:
                    found = registry.stat_blob(name, Digest.of(blob))
                    assert found.path.read_bytes() == blob
                else:
                    with pytest.raises(BlobUnknown):
                        registry.stat_blob(name, Digest.of(blob))
            referrers = registry.list_referrers(name, PLAIN[0].digest)
            assert [item["digest"] for item in referrers] == [
                each.digest for each in IMAGES[3:4] if each.digest in shown.manifests
            ]
        self.check_totals(known)

    def check_manifest(
        self, name: RepositoryName, reference: Tag | Digest, digest: Digest | None
    ) -> None:
        """Memory and disk say the same."""
        registry = self.store.registry
        if digest is None:
            assert registry.cached(name, reference) is None
            with pytest.raises(ManifestUnknown):
                registry.resolve(name, reference)
            return
        found = registry.resolve(name, reference)
        assert found.digest == digest
        assert found.content == self.model[name].manifests[digest].content

    def check_totals(self, known: list[RepositoryName]) -> None:
        """The running totals are those of the model."""
        shown = [self.model[name] for name in known]
        totals = self.store.registry.statistics()
        assert totals.repositories == len(known)
        assert totals.tags == sum(len(each.tags) for each in shown)
        assert totals.manifests == sum(len(each.manifests) for each in shown)
        assert totals.blobs == len({blob for each in shown for blob in each.blobs})


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
