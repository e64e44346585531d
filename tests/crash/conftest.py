"""One broker for all crash tests: a separate one, because it is killed; each process connects through a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headrace.errors import Unavailable
from tests.crash.grounds import Grounds


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Yield the grounds; without an official Pulsar, skip the tests, or fail them in CI."""
    with ExitStack() as running:
        try:
            grounds = running.enter_context(Grounds(tmp_path_factory.mktemp("grounds")))
        except Unavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        yield grounds
