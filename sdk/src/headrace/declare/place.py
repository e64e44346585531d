"""The place of a declaration in the user's file, so that a mistake can point to its line."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType

_HERE = str(Path(__file__).parent) + os.sep


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    @staticmethod
    def here() -> Place:
        """Return the innermost line being executed that is outside this package."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_HERE):
            frame = frame.f_back
        return Place("?", 0) if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)

    def __str__(self) -> str:
        """Format it as editors and terminals link it, relative to the working directory if it is below that."""
        path = Path(self.file)
        directory = Path.cwd()
        text = path.relative_to(directory) if path.is_absolute() and path.is_relative_to(directory) else path
        return f"{text}:{self.line}"

    def variable(self) -> str | None:
        """Return the variable that the statement at this line assigns, read from the file's text."""
        for node in ast.walk(_parse(self.file)):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            if not isinstance(node.value, ast.Call) or not self._within(node.value):
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                return target.id
        return None

    def field(self, stream: str, field: str) -> Place:
        """Return the line of a field's annotation in the class statement at this line."""
        for node in ast.walk(_parse(self.file)):
            if not isinstance(node, ast.ClassDef) or node.name != stream or not self._within(node):
                continue
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign | ast.Assign):
                    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets
                    if any(isinstance(target, ast.Name) and target.id == field for target in targets):
                        return Place(self.file, statement.lineno)
        return self

    def _within(self, node: ast.expr | ast.stmt) -> bool:
        return node.lineno <= self.line <= (node.end_lineno or node.lineno)


def _parse(file: str) -> ast.Module:
    try:
        return _parsed_version(file, os.stat(file).st_mtime_ns)
    except OSError:
        return ast.Module(body=[], type_ignores=[])


@lru_cache(maxsize=8)
def _parsed_version(file: str, modified: int) -> ast.Module:
    return ast.parse(Path(file).read_bytes())
