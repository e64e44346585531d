"""Setup shared by all tests: hypothesis without a deadline, the brokers, and the order in which processes get tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.brokers import broker, module_place, official, official_place, place, runs

__all__ = ["broker", "module_place", "official", "official_place", "place", "runs"]

# The first example compiles the kernel, hence no deadline. Derandomised, so that a run can be repeated.
settings.register_profile("headrace", deadline=None, derandomize=True)
settings.load_profile("headrace")

# A shell makes its background jobs ignore Ctrl-C, and every command that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Undo a command's logging setup: it would go on writing to the standard error of its test, which is closed."""
    yield
    structlog.reset_defaults()


#: Folders of tests, slowest first: a long test that starts last would delay the end of the run.
_ORDER = (
    "tests/crash/",
    "tests/life/",
    "tests/e2e/",
    "tests/integration/",
    "tests/fuzz/",
    "tests/contract/",
    "tests/unit/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: `make test` distributes them over several processes."""
    items.sort(key=lambda item: _place_in_order(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute the tests in groups."""
    return _Groups(config, log)


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    """A scheduler that keeps tests together that share a server: those of a module on one broker."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, test = nodeid.partition("::")
        return f"{module} official" if "[official" in test else module


def _place_in_order(nodeid: str) -> int:
    return next((place for place, folder in enumerate(_ORDER) if nodeid.startswith(folder)), len(_ORDER))
