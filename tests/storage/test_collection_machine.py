"""Collection against pushes, mounts, tags, deletions, syncs and restarts, in any order.

The model knows what is reachable: what it says must be there is there, whole; and once time has
passed and everything is collected, nothing else is.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connected_registry.errors import ManifestBlobUnknown, ManifestUnknown, NameUnknown
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.collected import Collected
from connected_registry.storage.collection import Collector
from storage.store import Image, Store, image, index, open_store

REPOSITORIES = [RepositoryName(name) for name in ("a", "b")]
PLAIN = [image(), image(b"one"), image(b"one", b"two")]
IMAGES = [
    *PLAIN,
    image(b"two", subject=PLAIN[0].descriptor()),
    index(PLAIN[0].descriptor(), PLAIN[1].descriptor()),
]
BY_DIGEST = {each.digest: each for each in IMAGES}
CHILDREN = {IMAGES[4].digest: [PLAIN[0], PLAIN[1]]}
SUBJECTS = {IMAGES[3].digest: PLAIN[0].digest}
TAGS = [Tag(tag) for tag in ("v1", "v2")]

repositories = st.sampled_from(REPOSITORIES)
images = st.sampled_from(IMAGES)
tags = st.sampled_from(TAGS)


class CollectionMachine(RuleBasedStateMachine):
    """``tagged`` is the model: all that must be there follows from it."""

    @initialize()
    def begin(self) -> None:
        """An empty store."""
        self.root = Path(tempfile.mkdtemp())
        self.tagged: dict[tuple[RepositoryName, Tag], Digest] = {}
        self.open()

    def open(self) -> None:
        """Open the folder; the clock goes on where it was."""
        self.stack = ExitStack()
        store: Store = self.stack.enter_context(open_store(self.root / "data"))
        if hasattr(self, "store"):
            store.clock.now = self.store.clock.now
        self.store = store

    def teardown(self) -> None:
        """Collect all that nothing keeps, and see that it is all."""
        if not hasattr(self, "stack"):
            return
        try:
            self.store.clock.pass_by(days=30)
            self.collector().collect()
            self.nothing_else_is_left()
        finally:
            self.stack.close()
            shutil.rmtree(self.root)

    def collector(self) -> Collector:
        """With small steps."""
        store = self.store
        return Collector(
            store.folder,
            store.database,
            store.blobs,
            store.registry,
            store.ledger,
            clock=store.clock,
            batch=2,
        )

    @rule()
    def restart(self) -> None:
        """A collection that was cut goes on, or begins again."""
        self.stack.close()
        self.open()

    @rule(hours=st.sampled_from([0.1, 1.5, 30, 200]))
    def wait(self, hours: float) -> None:
        """Time passes."""
        self.store.clock.pass_by(hours=hours)

    @rule(name=repositories, each=images, named=st.none() | tags)
    def push(self, name: RepositoryName, each: Image, named: Tag | None) -> None:
        """As clients do: blobs that are here are not sent again, children and manifest follow."""
        self.send(name, each, named)

    @rule(name=repositories, each=images, named=tags, steps=st.integers(1, 40))
    def push_while_it_collects(
        self, name: RepositoryName, each: Image, named: Tag, steps: int
    ) -> None:
        """Between asking for the blobs and sending the manifest, a collection runs."""
        running = self.collector().steps()
        for _ in range(steps):
            next(running, None)
        self.send(name, each, named, between=lambda: next(running, None))
        for _ in running:
            pass

    def send(
        self,
        name: RepositoryName,
        each: Image,
        named: Tag | None,
        between: object = None,
    ) -> None:
        """Push one image with its children."""
        step = between if callable(between) else lambda: None
        registry = self.store.registry
        for part in (*CHILDREN.get(each.digest, []), each):
            for blob in part.blobs:
                digest = Digest.of(blob)
                try:
                    registry.stat_blob(name, digest)
                except Exception:
                    other = next(other for other in REPOSITORIES if other != name)
                    if not registry.mount_blob(name, digest, [other]):
                        self.store.push_blob(blob, name)
                step()
            registry.put_manifest(
                name,
                part.digest,
                part.media_type,
                part.content,
                tags=[named] if named is not None and part is each else [],
            )
            step()
        if named is not None:
            self.tagged[name, named] = each.digest

    @rule(name=repositories, each=images, tag=tags, steps=st.integers(0, 20))
    def sync(self, name: RepositoryName, each: Image, tag: Tag, steps: int) -> None:
        """What is here already is not fetched; a collection runs before the commit."""
        parts = (*CHILDREN.get(each.digest, []), each)
        blobs = {Digest.of(blob): blob for part in parts for blob in part.blobs}
        held = self.store.registry.holds(blobs)
        for digest, blob in blobs.items():
            if digest not in held:
                self.store.blobs.put(blob)
        running = self.collector().steps()
        for _ in range(steps):
            next(running, None)
        commit = each.commit(tag, repository=name)
        self.store.registry.commit_image(
            type(commit)(
                name,
                (tag,),
                each.digest,
                tuple((part.digest, part.media_type, part.content) for part in parts),
                tuple((digest, len(blob)) for digest, blob in blobs.items()),
            )
        )
        running.close()
        self.tagged[name, tag] = each.digest

    @rule(name=repositories, tag=tags)
    def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        """What it named may go."""
        if self.tagged.pop((name, tag), None) is not None:
            self.store.registry.delete_tag(name, tag)

    @rule(name=repositories, tag=tags)
    def purge(self, name: RepositoryName, tag: Tag) -> None:
        """At once."""
        if self.tagged.pop((name, tag), None) is not None:
            self.collector().remove_tags(name, [tag])

    @rule(dry=st.booleans())
    def collect(self, dry: bool) -> None:
        """Once, whole."""
        self.collector().collect(dry_run=dry)

    @rule()
    def predict(self) -> None:
        """A dry run tells to the byte what the real one then does."""
        running = self.store.ledger.get("collection/progress")
        told = self.collector().collect(dry_run=True)
        done = self.collector().collect()
        if running is None:
            assert outcome(told) == outcome(done)

    @rule(steps=st.integers(1, 30))
    def collect_partly(self, steps: int) -> None:
        """Cut after some steps."""
        running = self.collector().steps()
        for _ in range(steps):
            next(running, None)
        running.close()

    @invariant()
    def what_is_tagged_is_whole(self) -> None:
        """With its children, its blobs, and memory and disk of one mind."""
        if not hasattr(self, "stack"):
            return
        for (name, tag), digest in self.tagged.items():
            assert self.store.registry.resolve(name, tag).digest == digest
            assert self.store.registry.closure(name, digest).complete

    def nothing_else_is_left(self) -> None:
        """Files, rows and totals are those of what is tagged and what refers to it."""
        expected: set[str] = set()
        for name in REPOSITORIES:
            kept = {digest for (place, _), digest in self.tagged.items() if place == name}
            kept |= {child.digest for each in kept for child in CHILDREN.get(each, [])}
            shown = self.manifests(name)
            assert kept <= shown
            assert all(SUBJECTS.get(Digest(extra)) in shown for extra in shown - kept)
            for digest in shown:
                each = BY_DIGEST[Digest(digest)]
                expected |= {each.digest, *(Digest.of(blob) for blob in each.blobs)}
        files = {f"sha256:{path.name}" for path in self.store.stored_files()}
        recent = {digest for digest in files if digest not in expected}
        with self.store.database.read() as session:
            known = set(session.connection().exec_driver_sql("SELECT digest FROM blob").scalars())
        assert known == expected
        # Files without a row are as old as the real clock says: see test_collection.
        assert expected <= files
        assert not recent & known

    def manifests(self, name: RepositoryName) -> set[str]:
        """Digests a repository shows."""
        try:
            return {each.digest for each in self.store.registry.manifest_details(name).items}
        except (NameUnknown, ManifestUnknown, ManifestBlobUnknown):
            return set()


def outcome(done: Collected) -> tuple[int, int, int, int, dict[str, int]]:
    """What both kinds of run tell alike."""
    kept = {reason: count for reason, count in done.kept.items() if count}
    return done.manifests, done.blobs, done.files, done.bytes, kept


TestCollectionMachine = CollectionMachine.TestCase
TestCollectionMachine.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
