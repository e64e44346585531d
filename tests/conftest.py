"""What all tests share: hypothesis without a clock, the brokers, and how tests are dealt out to several processes."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.brokers import broker, module_place, official, official_place, place, runs

__all__ = ["broker", "module_place", "official", "official_place", "place", "runs"]

# The first example pays for compiling the kernel: no deadline. Derandomised, so that a run can be repeated.
settings.register_profile("headrace", deadline=None, derandomize=True)
settings.load_profile("headrace")

#: Folders of tests, those that take longest first: a long one that began last would be waited for.
_ORDER = ("tests/crash/", "tests/e2e/", "tests/integration/", "tests/contract/", "tests/unit/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and keep those together that share a server: `make test` runs them in several processes."""
    items.sort(key=_place_in_order)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _place_in_order(item: pytest.Item) -> int:
    folders = [place for place, folder in enumerate(_ORDER) if item.nodeid.startswith(folder)]
    return folders[0] if folders else len(_ORDER)


def _group(item: pytest.Item) -> str:
    """A module's tests on one of the brokers; all of the crash suite, as its broker is one that it may kill."""
    module = item.nodeid.partition("::")[0]
    if module.startswith("tests/crash/"):
        return "crash"
    broker = "official" if item.get_closest_marker("official") else ""
    return f"{module} {broker}".strip()
