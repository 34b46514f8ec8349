"""Upload sessions: bound, resumable, verified, and never half visible."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connected_registry.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    DiskFull,
    RangeInvalid,
    StorageError,
)
from connected_registry.oci.digest import Digest
from storage.store import OTHER, REPOSITORY, Store, open_store

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)


def sessions(store: Store) -> list[str]:
    """Files of sessions."""
    return [path.name for path in store.folder.uploads.iterdir()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=2000), max_size=5), st.sampled_from(["sha256", "sha512"]))
def test_any_chunks_make_the_blob(chunks: list[bytes], algorithm: str) -> None:
    """However the bytes are cut, and whichever algorithm the last request names."""
    import tempfile

    content = b"".join(chunks)
    digest = Digest.of(content, algorithm)
    with tempfile.TemporaryDirectory() as root, open_store(Path(root) / "data") as store:
        upload = store.uploads.start(REPOSITORY, "alice")
        for chunk in chunks:
            before = upload.offset
            assert store.uploads.append(upload, chunk, at=before) == before + len(chunk)
        blob = store.uploads.finish(upload, digest)
        assert (blob.digest, blob.size) == (digest, len(content))
        assert blob.path.read_bytes() == content
        assert store.registry.stat_blob(REPOSITORY, digest) == blob
        assert sessions(store) == []


def test_nothing_shows_before_the_end(store: Store) -> None:
    """All bytes there, none verified: no blob and no repository."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT)
    with pytest.raises(BlobUnknown):
        store.registry.stat_blob(REPOSITORY, DIGEST)
    assert store.registry.list_repositories().items == ()
    assert store.stored_files() == []


def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    """Offset and bytes are those that were acknowledged."""
    with open_store(tmp_path / "data") as store:
        upload = store.uploads.start(REPOSITORY, "alice", "sha512")
        store.uploads.append(upload, CONTENT[:300])
        identity = str(upload.id)
    with open_store(tmp_path / "data") as store:
        upload = store.uploads.get(identity, REPOSITORY, "alice")
        assert upload.offset == 300
        store.uploads.append(upload, CONTENT[300:], at=300)
        store.uploads.finish(upload, DIGEST)
        assert store.blobs.read(DIGEST) == CONTENT


def test_a_session_belongs_to_its_owner_and_repository(store: Store) -> None:
    """Anyone else is told that there is none."""
    identity = str(store.uploads.start(REPOSITORY, "alice").id)
    for repository, owner in ((OTHER, "alice"), (REPOSITORY, "bob"), (REPOSITORY, "")):
        with pytest.raises(BlobUploadUnknown):
            store.uploads.get(identity, repository, owner)


@pytest.mark.parametrize(
    "identity",
    ["", "../../etc/passwd", "x" * 5000, "\0", "7b0a4f0e-93a8-4c64-9f0e-0d5d8a3f1c11"],
)
def test_other_ids_are_unknown(store: Store, identity: str) -> None:
    """No text of a client's reaches a path."""
    with pytest.raises(BlobUploadUnknown):
        store.uploads.get(identity, REPOSITORY, "alice")


def test_an_id_has_one_spelling(store: Store) -> None:
    """Other ways to write the same number are not the session."""
    identity = str(store.uploads.start(REPOSITORY, "alice").id)
    for other in (identity.upper(), "{" + identity + "}", identity.replace("-", "")):
        if other != identity:
            with pytest.raises(BlobUploadUnknown):
                store.uploads.get(other, REPOSITORY, "alice")


def test_an_unknown_algorithm_is_refused(store: Store) -> None:
    """Before anything is made."""
    with pytest.raises(DigestInvalid):
        store.uploads.start(REPOSITORY, "alice", "md5")
    assert sessions(store) == []


def test_a_chunk_out_of_order_changes_nothing(store: Store) -> None:
    """The session goes on from where it was."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT[:10], at=0)
    for wrong in (0, 9, 11):
        with pytest.raises(RangeInvalid):
            store.uploads.append(upload, b"x", at=wrong)
    store.uploads.append(upload, CONTENT[10:], at=10)
    store.uploads.finish(upload, DIGEST)


def test_wrong_content_ends_the_session_and_frees_its_space(store: Store) -> None:
    """A client has to begin anew."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, b"other")
    with pytest.raises(DigestInvalid):
        store.uploads.finish(upload, DIGEST)
    assert sessions(store) == []
    assert store.stored_files() == []
    with pytest.raises(BlobUploadUnknown):
        store.uploads.get(str(upload.id), REPOSITORY, "alice")


def test_the_end_can_be_repeated(store: Store) -> None:
    """A client that lost the answer gets it again; another digest is no such session's."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT)
    blob = store.uploads.finish(upload, DIGEST)
    again = store.uploads.get(str(upload.id), REPOSITORY, "alice")
    assert store.uploads.finish(again, DIGEST) == blob
    with pytest.raises(BlobUploadUnknown):
        store.uploads.finish(again, Digest.of(b"other"))
    with pytest.raises(BlobUploadUnknown):
        store.uploads.append(again, b"more")
    with pytest.raises(BlobUploadUnknown):
        store.uploads.cancel(again)
    assert store.blobs.read(DIGEST) == CONTENT


def test_a_cancelled_session_is_gone(store: Store) -> None:
    """With its bytes, and for every request that still knows it."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT)
    store.uploads.cancel(upload)
    assert sessions(store) == []
    for use in (
        lambda: store.uploads.append(upload, b"x"),
        lambda: store.uploads.finish(upload, DIGEST),
        lambda: store.uploads.cancel(upload),
    ):
        with pytest.raises(BlobUploadUnknown):
            use()


def test_one_request_at_a_time_writes(store: Store) -> None:
    """While one holds the session, another is refused; afterwards it is free."""
    upload = store.uploads.start(REPOSITORY, "alice")
    with store.uploads.claim(upload), pytest.raises(BlobUploadInvalid):
        store.uploads.append(upload, CONTENT)
    store.uploads.append(upload, CONTENT)


def test_racing_chunks_never_mix(store: Store) -> None:
    """Of many threads that write the same place, one succeeds."""
    upload = store.uploads.start(REPOSITORY, "alice")
    won: list[int] = []

    def write(number: int) -> None:
        try:
            store.uploads.append(upload, bytes([number]) * 1000, at=0)
        except (RangeInvalid, BlobUploadInvalid):
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert upload.path.read_bytes() == bytes([won[0]]) * 1000


def test_an_end_that_failed_at_the_database_can_be_repeated(store: Store) -> None:
    """The file has moved, the row has not: the session knows, and takes no more bytes."""
    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT)
    with store.database.write() as session:
        session.connection().exec_driver_sql(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON blob_link "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(StorageError, match="no"):
        store.uploads.finish(upload, DIGEST)
    with pytest.raises(BlobUploadInvalid):
        store.uploads.append(upload, b"more")
    with store.database.write() as session:
        session.connection().exec_driver_sql("DROP TRIGGER full")
    store.uploads.finish(upload, DIGEST)
    assert store.registry.stat_blob(REPOSITORY, DIGEST).path.read_bytes() == CONTENT


def test_a_full_disk_leaves_the_session_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a chunk is taken back, so that offset, hash and file agree."""
    import errno
    import os

    upload = store.uploads.start(REPOSITORY, "alice")
    store.uploads.append(upload, CONTENT[:100])
    real = os.pwrite

    def short(descriptor: int, data: memoryview, offset: int) -> int:
        if offset > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:50], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short)
        with pytest.raises(DiskFull):
            store.uploads.append(upload, CONTENT[100:])
    assert upload.path.stat().st_size == upload.offset == 100
    store.uploads.append(upload, CONTENT[100:])
    store.uploads.finish(upload, DIGEST)


def test_idle_sessions_expire(store: Store) -> None:
    """Those that nobody touched for the given time; not those in use, however old."""
    idle = store.uploads.start(REPOSITORY, "alice")
    used = store.uploads.start(REPOSITORY, "alice")
    assert store.uploads.expire(timedelta(hours=1)) == 0
    with store.uploads.claim(used):
        assert store.uploads.expire(timedelta(0)) == 1
    assert sessions(store) == [str(used.id)]
    with pytest.raises(BlobUploadUnknown):
        store.uploads.get(str(idle.id), REPOSITORY, "alice")


def test_a_restart_gives_sessions_a_fresh_term(tmp_path: Path) -> None:
    """A clock that jumped while the box was off makes nothing look old."""
    with open_store(tmp_path / "data") as store:
        identity = str(store.uploads.start(REPOSITORY, "alice").id)
        store.clock.now += timedelta(days=36500)
    with open_store(tmp_path / "data") as store:
        assert store.uploads.expire(timedelta(hours=1)) == 0
        store.uploads.get(identity, REPOSITORY, "alice")


def test_recovery_clears_both_kinds_of_halves(tmp_path: Path) -> None:
    """Files without a session and sessions without a file."""
    with open_store(tmp_path / "data") as store:
        lost = store.uploads.start(REPOSITORY, "alice")
        lost.path.unlink()
        (store.folder.uploads / str(uuid4())).write_bytes(b"orphan")
    with open_store(tmp_path / "data") as store:
        assert sessions(store) == []
        with pytest.raises(BlobUploadUnknown):
            store.uploads.get(str(lost.id), REPOSITORY, "alice")
