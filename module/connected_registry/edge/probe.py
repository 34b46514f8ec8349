"""A look at the hub's door before the SDK is sent to it.

The SDK connects on the one thread that all of it shares, and a server that takes the connection
and then says nothing holds that thread, and with it the end of the process, for half a minute.
Here the same can be cancelled at any moment, and a hub that is away costs no SDK client.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from datetime import timedelta

from connected_registry.edge.destination import Destination
from connected_registry.errors import HubLost


async def probe(destination: Destination, trusted_ca: str | None, limit: timedelta) -> None:
    """Connect, finish the TLS handshake and leave. Raise `HubLost`.

    Through a proxy there is nothing to look at: that is left to the SDK.
    """
    if destination.route.proxy is not None:
        return
    server = destination.identity.server
    try:
        context = _context(trusted_ca)
        async with asyncio.timeout(limit.total_seconds()):
            _, writer = await asyncio.open_connection(
                server, destination.route.port, ssl=context, server_hostname=server
            )
    except TimeoutError as error:
        seconds = limit.total_seconds()
        raise HubLost(f"cannot connect to {destination}: no answer within {seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise HubLost(
            f"the certificate of {destination} is not trusted: {error.verify_message}"
        ) from error
    except (OSError, ValueError) as error:
        raise HubLost(f"cannot connect to {destination}: {_reason(error)}") from error
    writer.transport.abort()


def _reason(error: OSError | ValueError) -> str:
    """The system's words: those of the event loops differ, and say less."""
    match error:
        case ssl.SSLError() | socket.gaierror():
            return error.strerror or str(error)
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case _:
            return str(error)


def _context(trusted_ca: str | None) -> ssl.SSLContext:
    """As the SDK makes it: no stricter, or what it would accept could not be reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted_ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=trusted_ca)
    return context
