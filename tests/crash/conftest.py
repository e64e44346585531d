"""One broker for all crash tests: its own, since it is killed, and each process comes in by a link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.grounds import Grounds


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with Grounds(tmp_path_factory.mktemp("grounds")) as found:
        yield found
