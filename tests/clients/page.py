"""The programs of `docs/topics.md` as files, at the addresses of a running loop."""

from __future__ import annotations

import re
from typing import NamedTuple

from headrace import embedded
from tests.contract.pages import blocks
from tests.contract.repository import ROOT

PAGE = ROOT / "docs" / "topics.md"

#: The broker and namespace of the page's programs, and the time of their first event.
_URL, _NAMESPACE, _START = "pulsar://127.0.0.1:6650", "public/default", "1_357_038_600_000_000"


class Programs(NamedTuple):
    """The programs of one language."""

    write: str
    read: str


def programs(language: str) -> Programs:
    """Return the page's programs in a language."""
    write, read = (block.text for block in blocks(PAGE) if block.language == language)
    return Programs(write, read)


def at_home(text: str, running: embedded.RunningLoop, start: int | None = None) -> str:
    """Return a program with the addresses of a loop, and another time of its first event."""
    for shown, actual in ((_URL, running.pulsar_url), (_NAMESPACE, running.namespace)):
        assert shown in text
        text = text.replace(shown, actual)
    if start is not None:
        assert _START in text
        text = text.replace(_START, f"{start:_}")
    return text


def lines_of(output: str) -> dict[str, list[list[str]]]:
    """Return what a reader printed: for each kind of line, the rest of its words."""
    found: dict[str, list[list[str]]] = {}
    for line in output.splitlines():
        assert re.fullmatch(r"(prediction|question|answer|unanswered|version) \S+ \S+", line), line
        kind, *words = line.split(" ")
        found.setdefault(kind, []).append(words)
    return found
