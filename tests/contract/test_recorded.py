"""Recorded bytes of every format: bytes once written stay readable for as long as their format is.

`python -m tests.contract.test_recorded` records the missing ones. A recording never changes: a new format gets its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import OlderFormat
from headrace.wire.formats import FORMAT
from tests.wire_samples import samples

_RECORDED = Path(__file__).parent / "recorded"
_SAMPLES = samples()


def _file(name: str) -> Path:
    return _RECORDED / f"{name}.{FORMAT}"


@pytest.mark.parametrize("name", sorted(_SAMPLES))
def test_what_was_recorded_is_read(name: str) -> None:
    sample = _SAMPLES[name]
    assert sample.read(_file(name).read_bytes()) == sample.value


@pytest.mark.parametrize("name", sorted(_SAMPLES.keys() - {"vectors", "log", "predictions"}))
def test_what_is_written_is_what_was_recorded(name: str) -> None:
    # Another version of Arrow may encode the same table in other bytes.
    assert _SAMPLES[name].write() == _file(name).read_bytes()


@pytest.mark.parametrize("path", sorted(_RECORDED.glob("*.0")), ids=lambda path: path.stem)
def test_what_was_written_before_format_1_is_refused_with_upgrade_instructions(path: Path) -> None:
    with pytest.raises(OlderFormat, match=r"begin with an empty store.*docs/run\.md"):
        _SAMPLES[path.stem].read(path.read_bytes())


if __name__ == "__main__":
    _RECORDED.mkdir(exist_ok=True)
    for _name, _sample in _SAMPLES.items():
        if not _file(_name).exists():
            _file(_name).write_bytes(_sample.write())
