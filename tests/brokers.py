"""Both brokers, for the tests that need one: the embedded one, and the official Apache Pulsar.

One official broker serves a whole test run, and each test has its own namespace there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from headrace import embedded
from headrace.embedded import brokers
from headrace.embedded.brokers import Given
from headrace.embedded.servers import Server
from headrace.errors import Unavailable
from headrace.runtime.pulsar.admin import Admin
from headrace.wire.topics import Topics
from tests.deadline import until

KINDS = [pytest.param("embedded"), pytest.param("official", marks=pytest.mark.official)]


@dataclass(frozen=True)
class Place:
    """The broker and namespace of a test's topics.

    Attributes
    ----------
    server
        The broker; None if it is external, because tests never stop such a broker.
    """

    url: str
    admin_url: str | None
    namespace: str
    server: Server | None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that a service needs."""
        return {"HEADRACE_PULSAR_URL": self.url, "HEADRACE_NAMESPACE": self.namespace}

    def topics(self, loop: str) -> Topics:
        return Topics(loop, self.namespace)

    def stoppable(self) -> Server:
        """Return the broker, for a test that stops or kills it."""
        if self.server is None:
            pytest.skip("a broker of yours is not stopped")
        return self.server


@dataclass(frozen=True)
class Runs:
    """The way a test runs whole loops: each on an embedded broker of its own, or all on the official one."""

    place: Place | None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `embedded.run`."""
        if self.place is None:
            return {}
        return {
            "pulsar": self.place.url,
            "pulsar_admin": self.place.admin_url,
            "namespace": self.place.namespace,
        }

    def broker(self, running: embedded.RunningLoop) -> Server:
        """Return the broker of a loop, for a test that stops or kills it."""
        if self.place is not None:
            return self.place.stoppable()
        assert running.servers.broker is not None
        return running.servers.broker


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | Given]:
    """Yield the official Apache Pulsar: external, in a container, or on a JVM. Without it, skip; in CI, fail."""
    if (place := brokers.given()) is not None:
        yield place
        return
    server = brokers.official(tmp_path_factory.mktemp("official"), say=print)
    if server is None:
        skip_or_fail(f"no official Apache Pulsar here: {brokers.how_to_get_one()}")
    with server:
        yield server


def skip_or_fail(missing: str) -> NoReturn:
    """Skip on a laptop, which may lack what a test needs; fail in CI, which leaves nothing out."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def on_the_official(broker: Server | Given) -> Iterator[Place]:
    """Yield a new namespace of the official broker."""
    if isinstance(broker, Server) and not _runs(broker):
        broker.start()  # a failed test left it stopped: keep the next tests from failing too
    assert broker.admin_url is not None
    admin = Admin(broker.admin_url, os.environ.get("HEADRACE_PULSAR_TOKEN"))
    namespace = _namespace()
    admin.create_namespace(namespace)
    is_given = isinstance(broker, Given)
    yield Place(broker.url, broker.admin_url, namespace, None if is_given else broker)
    if is_given:  # a broker that we started is removed as a whole
        remove(admin, namespace)
    admin.close()


def remove(admin: Admin, namespace: str) -> None:
    """Delete a namespace, as soon as the broker itself no longer reads there."""
    until(lambda: _removed(admin, namespace))


def _removed(admin: Admin, namespace: str) -> bool:
    try:
        admin.delete_namespace(namespace)
    except Unavailable:
        return False
    return True


@pytest.fixture(scope="module", params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | Given]:
    """Yield each broker in turn; the embedded one is new for each module."""
    if request.param == "official":
        yield request.getfixturevalue("official")
        return
    with embedded.broker(tmp_path_factory.mktemp("broker")) as small:
        yield small


def on_the_small(broker: embedded.Broker) -> Place:
    """Return a new namespace of an embedded broker: it accepts any name."""
    return Place(broker.url, None, _namespace(), broker)


def _namespace() -> str:
    return f"public/test-{uuid.uuid4().hex[:12]}"


def _runs(server: Server) -> bool:
    try:
        return server.pid > 0
    except Unavailable:
        return False


def _place(broker: Server | Given) -> Iterator[Place]:
    if isinstance(broker, embedded.Broker):
        yield on_the_small(broker)
    else:
        yield from on_the_official(broker)


@pytest.fixture
def place(broker: Server | Given) -> Iterator[Place]:
    """Yield a test's own namespace, on each broker in turn."""
    yield from _place(broker)


@pytest.fixture(scope="module")
def module_place(broker: Server | Given) -> Iterator[Place]:
    """Yield a namespace that the tests of a module share, on each broker in turn."""
    yield from _place(broker)


@pytest.fixture
def official_place(official: Server | Given) -> Iterator[Place]:
    """Yield a test's own namespace on the official broker."""
    yield from on_the_official(official)


@pytest.fixture(params=KINDS)
def runs(request: pytest.FixtureRequest) -> Runs:
    """Return how to run loops, on each broker in turn."""
    return Runs(request.getfixturevalue("official_place") if request.param == "official" else None)
