"""A service's errors about missing and wrong settings."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from headrace.errors import InvalidSettings
from headrace.runtime.settings import ServiceSettings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)


def test_a_setting_that_is_missing_is_named_by_its_variable() -> None:
    with pytest.raises(InvalidSettings, match=r"^HEADRACE_LOOP is not set\. The compiled loop"):
        ServiceSettings()


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace_learner.settings import LearnerSettings

    monkeypatch.setenv("HEADRACE_CHECKPOINT_SECONDS", "often")
    with pytest.raises(InvalidSettings) as raised:
        LearnerSettings()
    assert [mistake.split()[0] for mistake in raised.value.mistakes] == [
        "HEADRACE_LOOP",
        "HEADRACE_LOOP_FILE",
        "HEADRACE_CHECKPOINT_SECONDS",
    ]
    assert raised.value.mistakes[2].startswith("HEADRACE_CHECKPOINT_SECONDS is 'often': ")


def test_compiled_learners_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace_learner.settings import LearnerSettings

    monkeypatch.setenv("HEADRACE_LOOP", "loop.json")
    monkeypatch.setenv("HEADRACE_LOOP_FILE", "loop.py")
    assert LearnerSettings().compiled_learners
    monkeypatch.setenv("HEADRACE_COMPILED_LEARNERS", "off")
    assert not LearnerSettings().compiled_learners


@pytest.mark.parametrize("variable", ["HEADRACE_PULSAR_URL", "HEADRACE_REDIS_URL"])
def test_a_url_of_another_kind_is_refused_without_its_secret(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LOOP", "loop.json")
    monkeypatch.setenv(variable, "kafka://me:secret@broker:9092")
    with pytest.raises(InvalidSettings, match=rf"^{variable} is 'kafka://broker:9092': .*starts with") as raised:
        ServiceSettings()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("text", "problem"), [(None, "cannot be read"), ("# no JSON", "no compiled loop")])
def test_a_file_that_is_no_compiled_loop_is_told_with_its_cure(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "loop.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidSettings, match=rf"{problem}.*headrace compile loop\.py"):
        ServiceSettings(loop=path).definition()


@pytest.mark.parametrize("service", ["ingest", "learner", "scorer"])
def test_a_service_without_settings_ends_with_its_usage(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"headrace-{service}"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"headrace_{service}.__main__").main()
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"usage: headrace-{service}")
    assert "HEADRACE_LOOP is not set" in errors
