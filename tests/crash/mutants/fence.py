"""The feature service without the fence of rows: it also writes rows of partitions that another worker has."""

from __future__ import annotations

from headrace.runtime.redis import rows
from headrace_feature.__main__ import main
from tests.crash.mutants.mortal import make_mortal


def without(text: str, part: str, instead: str) -> str:
    """Return a script without its check."""
    assert part in text, f"the mutant no longer fits: {part}"
    return text.replace(part, instead)


def break_fence() -> None:
    """Make the store's script compare neither epochs nor positions of rows."""
    rows._WRITE = without(rows._WRITE, "order = 0", "order = 2")
    rows._WRITE = without(rows._WRITE, "if order == 1 then", "if order ~= 0 then")
    rows._WRITE = without(rows._WRITE, "if order == -1 then refused = refused + 1 end", "")


if __name__ == "__main__":
    break_fence()
    make_mortal()
    main()
