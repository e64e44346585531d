"""One broker for all crash tests: its own, since it is killed, and each process comes in by a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headrace.errors import Unavailable
from tests.crash.grounds import Grounds


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Without an official Pulsar, tests are skipped; in CI they fail."""
    with ExitStack() as running:
        try:
            found = running.enter_context(Grounds(tmp_path_factory.mktemp("grounds")))
        except Unavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        yield found
