"""The site of the documentation builds without a warning and without a network, and holds the public API."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.contract.pages import PAGES
from tests.contract.repository import ROOT, TOOLS, said

#: The public packages, by the page of their reference.
PUBLIC = {name.removeprefix("headrace."): name for name in ("headrace", "headrace.client", "headrace.embedded")}
PUBLIC |= {"errors": "headrace.errors", "history": "headrace.history"}

#: No server listens there, so a build that fetches something fails.
_NOWHERE = "http://127.0.0.1:9"

#: Tags and attributes whose addresses a browser fetches to show a page.
_FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src")}


class Fetched(HTMLParser):
    """The addresses that a browser fetches for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if (tag, name) in _FETCHED and value is not None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; each warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [TOOLS / "mkdocs", "build", "--strict", "--site-dir", folder]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _NOWHERE)
    environment = os.environ | proxies | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert said(done) == ""
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT).with_suffix(".html") for page in (*PAGES, ROOT / "CHANGELOG.md")]
    built = [page.with_name("index.html") if page.stem == "README" else page for page in pages]
    assert [str(page) for page in built if not (site / page).is_file()] == []


@pytest.mark.parametrize("page", PUBLIC)
def test_the_reference_holds_every_public_name(site: Path, page: str) -> None:
    module = importlib.import_module(PUBLIC[page])
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    text = (site / "reference" / f"{page}.html").read_text()
    assert [name for name in names if f'id="{module.__name__}.{name}"' not in text] == []


def test_a_page_fetches_nothing_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert {address for page in pages for address in fetched(page.read_text()) if is_elsewhere(address)} == set()
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize("address", ["https://fonts.example/a.css", "//cdn.example/b.js", "http://host/c.png"])
def test_another_host_is_noticed(address: str) -> None:
    assert [is_elsewhere(found) for found in fetched(f'<link rel="stylesheet" href="{address}">')] == [True]


def fetched(html: str) -> list[str]:
    parser = Fetched()
    parser.feed(html)
    return parser.addresses


def is_elsewhere(address: str) -> bool:
    return re.match(r"(https?:)?//", address) is not None
