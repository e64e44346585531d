"""Data that an older or a newer headrace left is refused before any of it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import embedded
from headrace.errors import InvalidSettings, NewerFormat, OlderFormat
from headrace.runtime.redis.definitions import DefinitionStore
from headrace.runtime.settings import ServiceSettings
from headrace.wire import compiled_loop
from tests.support.shop import LOOP
from tests.wire_samples import LOOP as SAMPLE

OLDER = (Path(__file__).parents[2] / "contract" / "recorded" / "loop.0").read_bytes()
NEWER = compiled_loop.encode(SAMPLE).replace(b'"format":1,"version":"0.1"', b'"format":2,"version":"0.2"')


class Store:
    """A store that holds one value."""

    def __init__(self, value: bytes | None) -> None:
        self.value = value

    def get(self, _key: str) -> bytes | None:
        return self.value


def test_a_directory_of_an_older_headrace_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    data = tmp_path / "data"
    data.mkdir()
    (data / "loop.json").write_bytes(OLDER)
    with pytest.raises(OlderFormat, match=r"another --data directory"), embedded.run(tmp_path / "loop.py", data=data):
        pass
    assert (data / "loop.json").read_bytes() == OLDER
    assert sorted(path.name for path in data.iterdir()) == ["loop.json", "up.lock"]


def test_a_service_with_a_definition_of_another_headrace_names_the_cure(tmp_path: Path) -> None:
    for content, cure in ((OLDER, "headrace compile"), (NEWER, "use headrace 0.2"), (b"{junk", "headrace compile")):
        (tmp_path / "loop.json").write_bytes(content)
        settings = ServiceSettings(loop=tmp_path / "loop.json")
        with pytest.raises(InvalidSettings, match=cure):
            settings.definition()


def test_a_store_of_another_headrace_is_refused_and_a_damaged_definition_is_not() -> None:
    for value, error in ((OLDER, OlderFormat), (NEWER, NewerFormat)):
        with pytest.raises(error):
            DefinitionStore(Store(value), "loop").refuse_older()  # type: ignore[arg-type]
    for value in (None, b"", b"junk", compiled_loop.encode(SAMPLE)[:-9], compiled_loop.encode(SAMPLE)):
        DefinitionStore(Store(value), "loop").refuse_older()  # type: ignore[arg-type]
