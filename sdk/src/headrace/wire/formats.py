"""The format number, and the refusal of other formats."""

from __future__ import annotations

from headrace.errors import NewerFormat, OlderFormat

#: The number that is written. Raise it with every change of what it describes.
FORMAT = 1

#: The first version of headrace that reads `FORMAT`.
VERSION = (0, 1)

_UPGRADE = (
    "begin with an empty store and without the loop's internal topics (with `headrace up`: another --data directory); "
    "its streams are folded again from their beginning: see docs/run.md, Formats"
)


def version_text(version: tuple[int, int]) -> str:
    """Return a version as people write it.

    Examples
    --------
    >>> version_text((0, 1))
    '0.1'
    """
    return f"{version[0]}.{version[1]}"


def check_format(subject: str, number: int, version: str) -> None:
    """Refuse any format other than `FORMAT`.

    Parameters
    ----------
    subject
        Description of what is read.
    version
        The first version of headrace that reads it, as stated in the data.

    Raises
    ------
    NewerFormat, OlderFormat
        It has another one; the error says which version of headrace reads it, or how to upgrade.
    """
    if number > FORMAT:
        raise NewerFormat(
            subject, f"it has format {number}, and this headrace reads {FORMAT}", f"use headrace {version}"
        )
    if number < FORMAT:
        raise OlderFormat(subject, f"it has format {number}, and this headrace reads {FORMAT}", _UPGRADE)


def without_format(subject: str) -> OlderFormat:
    """Return the error for something without a format number."""
    return OlderFormat(subject, "it has no format number: it is damaged, or of a headrace before format 1", _UPGRADE)
