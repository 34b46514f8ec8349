"""Pushing blobs: in one request, in two, in chunks, as a stream, or by mounting one held here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from starlette.responses import Response

from connected_registry.endpoint.access import EVERYONE, needed
from connected_registry.endpoint.services import Call
from connected_registry.errors import (
    BlobUploadUnknown,
    DigestInvalid,
    RangeInvalid,
    RegistryError,
    ScopeInsufficient,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName
from connected_registry.oci.upload import UploadState
from connected_registry.policy.access import Action
from connected_registry.storage.uploads import Upload


async def start_upload(call: Call) -> Response:
    """Mount, or take a whole blob, or begin a session; a mount that cannot be begins one too."""
    mount = call.query.one("mount")
    if mount is not None:
        digest = Digest.parse(mount)
        if await _mount(call, digest):
            return _created(call, digest)
    digest_text = call.query.one("digest") if mount is None else None
    algorithm = call.query.one("digest-algorithm")
    if digest_text is not None:
        return await _push_whole(call, Digest.parse(digest_text))
    upload = await asyncio.to_thread(
        call.services.uploads.start, call.repository, call.principal.name, algorithm
    )
    return _accepted(call, upload)


async def add_chunk(call: Call) -> Response:
    """PATCH: a chunk with Content-Range, or a stream without."""
    upload = await _find(call)
    if upload.digest is not None:
        raise BlobUploadUnknown
    await _receive(call, upload)
    return _accepted(call, upload)


async def finish_upload(call: Call) -> Response:
    """PUT: perhaps a last chunk, then the digest of the whole.

    Repeated by a client that did not see the answer, it gets the same one again.
    """
    text = call.query.one("digest")
    if text is None:
        raise DigestInvalid("query parameter 'digest' is missing")
    digest = Digest.parse(text)
    upload = await _find(call)
    if upload.digest is None:
        await _receive(call, upload)
    await asyncio.to_thread(call.services.uploads.finish, upload, digest)
    return _created(call, digest)


async def upload_status(call: Call) -> Response:
    """How far a session is."""
    upload = await _find(call)
    if upload.digest is not None:
        raise BlobUploadUnknown
    return Response(status_code=204, headers=_session(call, upload))


async def cancel_upload(call: Call) -> Response:
    """End a session and drop its bytes."""
    upload = await _find(call)
    await asyncio.to_thread(call.services.uploads.cancel, upload)
    return Response(status_code=204)


async def _find(call: Call) -> Upload:
    """The session in the path, if it is the caller's own in this repository."""
    assert call.target.session is not None
    return await asyncio.to_thread(
        call.services.uploads.get, call.target.session, call.repository, call.principal.name
    )


async def _receive(call: Call, upload: Upload) -> None:
    """Append the body. What arrived before a failure stays, and the session's status tells it."""
    uploads = call.services.uploads
    state = UploadState(upload.offset).begin(call.header("content-range"), call.body.length)
    async with aclosing(call.body.batches()) as batches:
        async for batch in batches:
            after = state.receive(len(batch))
            try:
                await asyncio.to_thread(uploads.append, upload, batch, at=state.offset)
            except RangeInvalid as error:
                raise _with_range(error, upload) from None
            state = after
    state.end()


async def _push_whole(call: Call, digest: Digest) -> Response:
    uploads = call.services.uploads
    upload = await asyncio.to_thread(
        uploads.start, call.repository, call.principal.name, digest.algorithm
    )
    try:
        await _receive(call, upload)
        await asyncio.to_thread(uploads.finish, upload, digest)
    except BaseException:
        # Nobody was told of this session, so nobody can go on with it.
        with suppress(RegistryError):
            await asyncio.shield(asyncio.to_thread(uploads.cancel, upload))
        raise
    return _created(call, digest)


async def _mount(call: Call, digest: Digest) -> bool:
    """Whether the blob could be shown here because the caller may pull it somewhere else."""
    registry = call.services.registry
    text = call.query.one("from")
    sources: set[RepositoryName] | None
    if text is None:
        sources = None if call.principal == EVERYONE else await asyncio.to_thread(_readable, call)
    else:
        source = RepositoryName.parse(text)
        if call.principal.may(Action.CONTENT_READ, source):
            sources = {source}
        elif call.principal.permissions.allows(source, Action.CONTENT_READ):
            raise ScopeInsufficient(
                detail=[
                    needed(Action.CONTENT_WRITE, call.repository),
                    needed(Action.CONTENT_READ, source),
                ]
            )
        else:
            return False
    return await asyncio.to_thread(registry.mount_blob, call.repository, digest, sources)


def _readable(call: Call) -> set[RepositoryName]:
    """Every repository the caller may pull from."""
    page = call.services.registry.list_repositories(
        visible=lambda name: call.principal.may(Action.CONTENT_READ, name)
    )
    return {RepositoryName(name) for name in page.items}


def _with_range(error: RangeInvalid, upload: Upload) -> RangeInvalid:
    """The same refusal, saying where to go on."""
    return RangeInvalid(error.text, error.detail, {"Range": UploadState(upload.offset).range})


def _session(call: Call, upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{call.repository}/blobs/uploads/{upload.id}",
        "Range": UploadState(upload.offset).range,
        "Docker-Upload-UUID": str(upload.id),
    }


def _accepted(call: Call, upload: Upload) -> Response:
    return Response(status_code=202, headers=_session(call, upload))


def _created(call: Call, digest: Digest) -> Response:
    return Response(
        status_code=201,
        headers={
            "Location": f"/v2/{call.repository}/blobs/{digest}",
            "Docker-Content-Digest": digest,
        },
    )
