"""TLS connections that were closed and still wait for the other side's goodbye.

asyncio lets them say it in the background, for up to half a minute. A loop that ends meanwhile leaves sockets
open, and Python's warning about them comes with the garbage of a later test.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol, SSLProtocolState

PARTING = (SSLProtocolState.FLUSHING, SSLProtocolState.SHUTDOWN)


async def hang_up() -> None:
    """End those of the running loop at once; what nobody has closed is left to be found."""
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        protocol = transport.get_protocol()
        if isinstance(protocol, SSLProtocol) and protocol._state in PARTING:  # type: ignore[attr-defined]
            transport.abort()
    await asyncio.sleep(0)  # the loop closes their sockets
