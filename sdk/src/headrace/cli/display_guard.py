"""A guard that keeps a display from ending what it displays."""

from __future__ import annotations

from collections.abc import Callable

from headrace.errors import HeadraceError
from headrace.wording import shown

#: How many characters of a failure are shown.
_LENGTH = 500


class Guard:
    """A guard around display code: an exception is reported once, and goes no further.

    Parameters
    ----------
    report
        Called with each failure; a repeated one is reported again only after something else has happened.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported = ""

    def __call__(self, show: Callable[[], None]) -> bool:
        """Run it; return False if it failed."""
        try:
            show()
        except Exception as error:
            self._report_failure(error)
            return False
        self._reported = ""
        return True

    def _report_failure(self, error: Exception) -> None:
        text = _words(error)
        if text == self._reported:
            return
        self._reported = text
        try:
            self._report(text)
        except Exception:  # standard error is gone, too
            return


def _words(error: Exception) -> str:
    text = shown(error, _LENGTH)
    if isinstance(error, HeadraceError):
        return text
    return f"cannot be shown at the moment: {type(error).__name__}: {text}"
