"""The number of every format, and what is refused because of it."""

from __future__ import annotations

from headrace.errors import NewerFormat, OlderFormat

#: The number that is written. It is raised with every change of what is behind it.
FORMAT = 1

#: The first version of headrace that reads `FORMAT`.
VERSION = (0, 1)

_UPGRADE = (
    "begin with an empty store and without the loop's internal topics (with `headrace up`: another --data directory); "
    "its streams are folded again from their beginning: see docs/run.md, Formats"
)


def version_text(version: tuple[int, int]) -> str:
    """A version as people write it.

    Examples
    --------
    >>> version_text((0, 1))
    '0.1'
    """
    return f"{version[0]}.{version[1]}"


def check_format(what: str, number: int, version: str) -> None:
    """Refuse what has another format than `FORMAT`.

    Parameters
    ----------
    what
        What is read, with its name.
    version
        The first version of headrace that reads it, as it says itself.

    Raises
    ------
    NewerFormat, OlderFormat
        It has another one; says which version of headrace reads it, or how to upgrade.
    """
    if number > FORMAT:
        raise NewerFormat(what, f"it has format {number}, and this headrace reads {FORMAT}", f"use headrace {version}")
    if number < FORMAT:
        raise OlderFormat(what, f"it has format {number}, and this headrace reads {FORMAT}", _UPGRADE)


def without_format(what: str) -> OlderFormat:
    """Say that something has no format number."""
    return OlderFormat(what, "it has no format number: it is damaged, or of a headrace before format 1", _UPGRADE)
