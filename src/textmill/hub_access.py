"""What the clients of the Hugging Face hub leave to us: a quick answer without a network, and no chatter on retries."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies


@contextmanager
def hub_client(address: str) -> Iterator[None]:
    """Clients of the hub that ask `address` inside write no warnings; on a terminal they draw their progress bar.

    Raises ConnectionError at once when the host of `address` cannot be found, where a client would retry for half a
    minute. Behind a proxy, which finds hosts itself, that is not asked.
    """
    host = urlsplit(address).hostname
    if not getproxies():
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise ConnectionError(f"no network, or no host {host}: {error.strerror or error}") from error
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
