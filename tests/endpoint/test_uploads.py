from __future__ import annotations

import hashlib
import socket

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connected_registry.oci.digest import Digest
from endpoint.serving import Site, serve
from storage.store import OTHER, REPOSITORY

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)
UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"
BLOB = f"/v2/{REPOSITORY}/blobs/{DIGEST}"


def begin(client: httpx.Client, query: str = "") -> str:
    """A new session's address."""
    answer = client.post(UPLOADS + query)
    assert answer.status_code == 202
    assert answer.headers["Range"] == "0-0"
    location = answer.headers["Location"]
    assert location == UPLOADS + answer.headers["Docker-Upload-UUID"]
    return str(location)


def patch(client: httpx.Client, location: str, first: int, content: bytes) -> httpx.Response:
    """Send a chunk that starts at ``first``."""
    last = first + len(content) - 1
    return client.patch(location, content=content, headers={"Content-Range": f"{first}-{last}"})


def finish(client: httpx.Client, location: str, content: bytes = b"") -> httpx.Response:
    """End a session as `CONTENT`."""
    return client.put(location, params={"digest": DIGEST}, content=content)


def assert_stored(client: httpx.Client, answer: httpx.Response) -> None:
    """The answer says that the blob is there, and it is."""
    assert (answer.status_code, answer.headers["Location"]) == (201, BLOB)
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert answer.headers["Content-Length"] == "0"
    assert client.get(BLOB).content == CONTENT


def test_a_blob_in_two_requests(client: httpx.Client) -> None:
    """POST, then PUT with all of it."""
    assert_stored(client, finish(client, begin(client), CONTENT))


def test_a_blob_in_one_request(client: httpx.Client) -> None:
    """POST with digest and body."""
    assert_stored(client, client.post(f"{UPLOADS}?digest={DIGEST}", content=CONTENT))


def test_a_blob_in_chunks_the_last_with_the_put(client: httpx.Client) -> None:
    """Each answer says how far it is; ``Content-Range`` has no unit."""
    location = begin(client)
    answer = patch(client, location, 0, CONTENT[:400])
    assert (answer.status_code, answer.headers["Range"]) == (202, "0-399")
    status = client.get(location, params={"digest": DIGEST})
    assert (status.status_code, status.headers["Range"]) == (204, "0-399")
    assert patch(client, location, 400, CONTENT[400:700]).headers["Range"] == "0-699"
    last = client.put(
        location,
        params={"digest": DIGEST},
        content=CONTENT[700:],
        headers={"Content-Range": "700-999"},
    )

    assert_stored(client, last)


def test_a_blob_as_a_stream(client: httpx.Client) -> None:
    """PATCH without length or range, as docker does; then PUT without a body."""
    location = begin(client)
    pieces = (CONTENT[start : start + 7] for start in range(0, len(CONTENT), 7))
    assert client.patch(location, content=pieces).headers["Range"] == "0-999"

    assert_stored(client, finish(client, location))


def test_a_large_blob_is_not_held_in_memory_at_once(site: Site, client: httpx.Client) -> None:
    """Many batches go through, in order."""
    piece = bytes(range(256)) * 4096
    digest = Digest.of(piece * 9)
    location = begin(client)
    client.patch(location, content=iter([piece] * 9))
    answer = client.put(location, params={"digest": digest})

    assert answer.status_code == 201
    assert site.store.blobs.size(digest) == len(piece) * 9


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", [True, False])
def test_both_algorithms_announced_or_not(
    client: httpx.Client, algorithm: str, announced: bool
) -> None:
    """Only the final PUT has to say which."""
    digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    location = begin(client, f"?digest-algorithm={algorithm}" if announced else "")
    patch(client, location, 0, CONTENT)
    answer = client.put(location, params={"digest": digest})

    assert answer.status_code == 201
    assert client.get(answer.headers["Location"]).content == CONTENT


def test_the_slash_at_the_end_may_be_missing(client: httpx.Client) -> None:
    """Some clients leave it out."""
    assert client.post(UPLOADS.rstrip("/")).status_code == 202


def test_an_unknown_algorithm_is_refused(client: httpx.Client) -> None:
    """At the start and at the end."""
    assert client.post(f"{UPLOADS}?digest-algorithm=md5").status_code == 400
    answer = client.put(begin(client), params={"digest": "md5:" + "0" * 32}, content=b"")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")


def test_a_chunk_out_of_order_is_refused_and_the_session_lives(client: httpx.Client) -> None:
    """416 with the true Range, for PATCH and for the final PUT alike."""
    location = begin(client)
    patch(client, location, 0, CONTENT[:400])
    for answer in (
        patch(client, location, 500, CONTENT[500:]),
        patch(client, location, 0, CONTENT[:400]),
        client.put(
            location,
            params={"digest": DIGEST},
            content=CONTENT[500:],
            headers={"Content-Range": "500-999"},
        ),
    ):
        assert (answer.status_code, answer.headers["Range"]) == (416, "0-399")
    patch(client, location, 400, CONTENT[400:])

    assert_stored(client, finish(client, location))


@pytest.mark.parametrize(
    ("content_range", "status"),
    [
        ("5-4", 416),
        ("0-", 400),
        ("bytes 0-9/10", 400),
        ("a-b", 400),
        ("-1", 400),
        (f"0-{2**63}", 416),
        ("0-8", 400),
        ("0-99", 400),
    ],
)
def test_a_bad_content_range_leaves_the_session_as_it_was(
    client: httpx.Client, content_range: str, status: int
) -> None:
    """Malformed, impossible, or not as long as the body."""
    location = begin(client)
    answer = client.patch(location, content=CONTENT[:10], headers={"Content-Range": content_range})

    assert answer.status_code == status
    assert client.get(location).headers["Range"] == "0-0"
    assert_stored(client, finish(client, location, CONTENT))


def test_a_wrong_digest_ends_the_session(site: Site, client: httpx.Client) -> None:
    """400, in every form; nothing is kept."""
    wrong = Digest.of(b"other")
    location = begin(client)
    patch(client, location, 0, CONTENT)
    answer = client.put(location, params={"digest": wrong})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    assert client.get(location).status_code == 404
    assert client.post(f"{UPLOADS}?digest={wrong}", content=CONTENT).status_code == 400
    assert client.put(begin(client), params={"digest": wrong}, content=CONTENT).status_code == 400

    assert site.store.stored_files() == []
    assert list(site.store.folder.uploads.iterdir()) == []


def test_a_missing_digest_is_asked_for(client: httpx.Client) -> None:
    """And the session can still be ended properly."""
    location = begin(client)
    assert client.put(location, content=CONTENT).status_code == 400

    assert_stored(client, finish(client, location, CONTENT))


def test_the_end_may_be_repeated(client: httpx.Client) -> None:
    """A client that did not see the first answer gets it again, even with the bytes again."""
    location = begin(client)
    assert_stored(client, finish(client, location, CONTENT))

    assert_stored(client, finish(client, location))
    assert_stored(client, finish(client, location, CONTENT))
    assert client.get(location).status_code == 404
    other = client.put(location, params={"digest": Digest.of(b"other")})
    assert other.status_code == 404


def test_a_cancelled_session_is_gone(site: Site, client: httpx.Client) -> None:
    """With its bytes."""
    location = begin(client)
    patch(client, location, 0, CONTENT)

    assert client.delete(location).status_code == 204
    for answer in (
        client.get(location),
        client.delete(location),
        patch(client, location, 1000, b"x"),
        finish(client, location),
    ):
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    assert list(site.store.folder.uploads.iterdir()) == []


def test_a_session_belongs_to_its_repository(client: httpx.Client) -> None:
    """Its id alone opens nothing."""
    location = begin(client).replace(REPOSITORY, OTHER)

    assert client.get(location).status_code == 404
    assert client.patch(location, content=b"x").status_code == 404


@pytest.mark.parametrize("session", ["1", "00000000-0000-0000-0000-000000000000", "x" * 60])
def test_a_session_that_never_was_is_unknown(client: httpx.Client, session: str) -> None:
    """Whatever its id looks like."""
    assert client.get(UPLOADS + session).status_code == 404


def test_a_blob_is_mounted_from_where_it_is(site: Site, client: httpx.Client) -> None:
    """With or without saying where, and from the repository itself."""
    site.store.push_blob(CONTENT, OTHER)
    for query in (f"?mount={DIGEST}&from={OTHER}", f"?mount={DIGEST}"):
        assert_stored(client, client.post(UPLOADS + query))
        assert client.delete(BLOB).status_code == 202
    client.post(f"{UPLOADS}?mount={DIGEST}")

    assert_stored(client, client.post(f"{UPLOADS}?mount={DIGEST}&from={REPOSITORY}"))


def test_a_mount_that_cannot_be_starts_an_upload(client: httpx.Client) -> None:
    """Never 404: the client goes on by pushing."""
    for query in (f"?mount={DIGEST}&from={OTHER}", f"?mount={DIGEST}", f"?mount={DIGEST}&from="):
        answer = client.post(UPLOADS + query)
        if "from=" in query and query.endswith("="):
            assert answer.status_code == 400
        else:
            assert answer.status_code == 202
    location = begin(client, f"?mount={DIGEST}&from={REPOSITORY}")

    assert_stored(client, finish(client, location, CONTENT))


@pytest.mark.parametrize("query", ["mount=sha256:..", f"mount={DIGEST}&from=..%2fx", "mount="])
def test_a_malformed_mount_is_refused(client: httpx.Client, query: str) -> None:
    """400 for a digest or a name that is none."""
    assert client.post(f"{UPLOADS}?{query}").status_code == 400


def test_what_came_before_a_client_died_is_kept(site: Site, client: httpx.Client) -> None:
    """The status tells the truth at every moment, and the upload goes on from there."""
    content = bytes(range(256)) * 10_000
    digest = Digest.of(content)
    location = begin(client)
    with socket.create_connection(("127.0.0.1", site.port)) as connection:
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[:2_000_000])
    answer = None
    while answer is None or answer.status_code == 416:
        offset = offset_of(client, location)
        assert offset <= 2_000_000
        answer = patch(client, location, offset, content[offset:])
    answer = client.put(location, params={"digest": digest})

    assert answer.status_code == 201
    assert client.get(answer.headers["Location"]).content == content


def offset_of(client: httpx.Client, location: str) -> int:
    """How many bytes a session has, from the form that cannot say none."""
    last = int(client.get(location).headers["Range"].removeprefix("0-"))
    return last + 1 if last else 0


def test_encoded_content_is_stored_as_it_was_sent(client: httpx.Client) -> None:
    """A registry keeps bytes and does not interpret them."""
    answer = client.post(
        f"{UPLOADS}?digest={DIGEST}", content=CONTENT, headers={"Content-Encoding": "gzip"}
    )

    assert_stored(client, answer)


class UploadMachine(RuleBasedStateMachine):
    """One session against a model of it: a bytearray."""

    site: Site
    client: httpx.Client

    def __init__(self) -> None:
        super().__init__()
        self.location = begin(self.client)
        self.sent = b""
        self.open = True

    @precondition(lambda self: self.open)
    @rule(content=st.binary(min_size=1, max_size=50), shift=st.integers(-60, 60))
    def send_chunk(self, content: bytes, shift: int) -> None:
        """A chunk is taken exactly where it continues what is there."""
        first = len(self.sent) + shift
        answer = patch(self.client, self.location, max(first, 0), content)
        if max(first, 0) == len(self.sent):
            assert answer.status_code == 202
            self.sent += content
        else:
            assert answer.status_code == 416

    @precondition(lambda self: self.open)
    @rule(content=st.binary(max_size=50))
    def send_stream(self, content: bytes) -> None:
        """A stream is always taken."""
        answer = self.client.patch(self.location, content=iter([content]))
        assert answer.status_code == 202
        self.sent += content

    @precondition(lambda self: self.open)
    @rule(right=st.booleans(), last=st.binary(max_size=50))
    def end(self, right: bool, last: bytes) -> None:
        """The right digest makes a blob, a wrong one ends the session."""
        digest = Digest.of(self.sent + last + (b"" if right else b"!"))
        answer = self.client.put(self.location, params={"digest": digest}, content=last)
        assert answer.status_code == (201 if right else 400)
        self.open = False
        if right:
            blob = self.client.get(answer.headers["Location"])
            assert blob.content == self.sent + last

    @precondition(lambda self: not self.open)
    @rule()
    def go_on_after_the_end(self) -> None:
        """A session that is over takes nothing."""
        assert patch(self.client, self.location, len(self.sent), b"x").status_code == 404
        assert self.client.delete(self.location).status_code == 404

    @precondition(lambda self: self.open)
    @rule()
    def cancel(self) -> None:
        """Cancelling ends it."""
        assert self.client.delete(self.location).status_code == 204
        self.open = False

    @invariant()
    def status_tells_the_truth(self) -> None:
        """How many bytes are there, or that there is no session."""
        answer = self.client.get(self.location)
        if self.open:
            assert answer.status_code == 204
            assert answer.headers["Range"] == f"0-{max(len(self.sent) - 1, 0)}"
        else:
            assert answer.status_code == 404


def test_any_order_of_requests_is_answered_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Chunks, streams, ends and cancellations in every order."""
    with serve(tmp_path_factory.mktemp("site") / "data") as site, site.client() as client:

        class Machine(UploadMachine):
            pass

        Machine.site, Machine.client = site, client
        case = Machine.TestCase()
        case.settings = settings(max_examples=10, stateful_step_count=10, deadline=None)
        case.runTest()
