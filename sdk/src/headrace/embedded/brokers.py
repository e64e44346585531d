"""Sources of an official Apache Pulsar: your own, a container, or Maven Central's distribution."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace.embedded import container, distribution
from headrace.embedded.container import ContainerBroker
from headrace.embedded.official import OfficialBroker
from headrace.embedded.servers import Server

OFFICIAL = "official"
"""Used instead of a broker's URL: the official broker, from any source that this machine has."""


class Given(NamedTuple):
    """A broker that is already running."""

    url: str
    admin_url: str | None


def given() -> Given | None:
    """Return the broker named by ``PULSAR_URL``; its admin API is ``PULSAR_ADMIN_URL``, or on its host's port 8080."""
    url = os.environ.get("PULSAR_URL")
    return Given(url, os.environ.get("PULSAR_ADMIN_URL") or _admin_url(url)) if url else None


def official(
    data: Path | str,
    *,
    conf: Mapping[str, str] | None = None,
    token: str | None = None,
    say: Callable[[str], None],
) -> Server | None:
    """Return an official Pulsar to start on `data`; None if this machine has none (see `how_to_get_one`)."""
    if container.engine_answers():
        return ContainerBroker(data, conf=conf, token=token)
    if not distribution.missing():
        return OfficialBroker(data, conf=conf, token=token, say=say)
    return None


def how_to_get_one() -> str:
    """Return a line that says what to do on a machine without an official Pulsar."""
    return (
        f"install {distribution.missing()}, or start a Docker engine (and install testcontainers), "
        "or name a broker by PULSAR_URL"
    )


def _admin_url(url: str) -> str:
    secure = urlsplit(url).scheme == "pulsar+ssl"
    host = urlsplit(url.partition(",")[0]).hostname
    return f"https://{host}:8443" if secure else f"http://{host}:8080"
