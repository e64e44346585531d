"""The contents of the documentation pages: their code blocks, the commands they name, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.contract.repository import ROOT

PAGES = tuple(
    page
    for page in (
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "RELEASING", "SECURITY")),
        *sorted(ROOT.glob("docs/**/*.md")),
        ROOT / "deploy/README.md",
    )
    if page.exists()
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_SHELLS = frozenset({"sh", "bash", "console", "shell"})


@dataclass(frozen=True)
class Block:
    """A block of code and where it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["text"])
        for match in _FENCE.finditer(text)
    ]


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def commands(page: Path, program: str) -> list[list[str]]:
    """Return each call of a program that a page shows, in a shell block or in a line of text."""
    lines = [line for block in blocks(page) if block.language in _SHELLS for line in _shell_lines(block.text)]
    lines += re.findall(rf"`({program} [^`]+)`", _FENCE.sub("", page.read_text()))
    found = []
    for line in lines:
        # Text after a pipe or an ampersand is a separate command.
        for part in re.split(r"(?:\|\|?|&&?|;)\s", line):
            words = shlex.split(part.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                del words[0]
            if words and words[0] == program:
                found.append(words[1:])
    return found


def links(page: Path) -> list[str]:
    """Return the links of a page into the repository."""
    targets = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text()))
    return [
        target.split("#")[0] for target in targets if "://" not in target and not target.startswith(("#", "mailto:"))
    ]


def _shell_lines(text: str) -> Iterator[str]:
    return iter(re.sub(r"\\\n\s*", " ", text).splitlines())
