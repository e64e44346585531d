"""The page on settings lists every variable of every service, with its default."""

from __future__ import annotations

import re

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tests.contract.repository import ROOT, settings_of_services

PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("settings.md", "ask-for-scores.md"))
DOCUMENTED = dict(re.findall(r"^\| `(HEADRACE_\w+)` \| `?([^`|]*?)`? \|", PAGES, re.MULTILINE))


def variables() -> dict[str, FieldInfo]:
    """Return the settings of all services, by variable."""
    found: dict[str, FieldInfo] = {}
    for settings in settings_of_services():
        found |= {f"HEADRACE_{name.upper()}": field for name, field in settings.model_fields.items()}
    return found


@pytest.mark.parametrize(("variable", "field"), variables().items())
def test_a_setting_is_on_the_page_with_its_default(variable: str, field: FieldInfo) -> None:
    assert variable in DOCUMENTED
    if variable == "HEADRACE_MAX_CALLS":
        return  # ingest and scorer have one each
    if field.default is PydanticUndefined:
        assert DOCUMENTED[variable] in ("required", "host and process")
    else:
        assert DOCUMENTED[variable] == ("none" if field.default is None else str(field.default))


def test_the_page_lists_nothing_else() -> None:
    assert set(DOCUMENTED) == set(variables())
