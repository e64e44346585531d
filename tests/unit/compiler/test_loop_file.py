"""Loading a loop file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.compiler import LoadedLoop, load, loop_file
from headrace.errors import DefinitionErrors

STREAM = """\
from __future__ import annotations

from datetime import datetime
from typing import Optional

from headrace import Count, Stream, View


class Clicked(Stream, key="user", time="at", id="click"):
    click: str
    at: datetime
    user: str
    page: Optional[str]
"""


def test_annotations_may_be_postponed(loaded: Callable[..., LoadedLoop]) -> None:
    [stream] = loaded(text=STREAM).definition.streams
    assert [(field.name, str(field.type), field.optional) for field in stream.fields] == [
        ("click", "string", False),
        ("at", "time", False),
        ("user", "string", False),
        ("page", "string", True),
    ]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("flights/loop.py", "flights"),
        ("my-shop/loop.py", "my_shop"),
        ("MyShop/loop.py", "my_shop"),
        ("flights/clicks.py", "clicks"),
        ("2013/loop.py", "loop_2013"),
    ],
)
def test_a_loop_is_called_like_its_file_or_folder(file: str, name: str, loaded: Callable[..., LoadedLoop]) -> None:
    assert loaded(text=STREAM, name=file).definition.name == name


def test_a_loop_may_be_split_over_the_files_of_its_folder(
    write: Callable[..., Path], loaded: Callable[..., LoadedLoop]
) -> None:
    write(text=STREAM, name="flights/clicks.py")
    view = 'v = View(clicks.Clicked, by="user", windows="1h", aggregates={"n": Count()})\n'
    text = f"import clicks\nfrom headrace import Count, View\n{view}"
    definition = loaded(text=text).definition
    assert [stream.name for stream in definition.streams] == ["clicked"]
    assert [view.name for view in definition.views] == ["v"]


def test_views_of_another_file_are_called_like_their_variables_there(
    write: Callable[..., Path], loaded: Callable[..., LoadedLoop]
) -> None:
    view = '\nclicks_of = View(\n    Clicked, by="user", windows="1h", aggregates={"n": Count()}\n)\n'
    write(text=STREAM + view, name="flights/clicks.py")
    assert [view.name for view in loaded(text="import clicks\n").definition.views] == ["clicks_of"]


def test_each_load_reads_the_folder_again(write: Callable[..., Path], loaded: Callable[..., LoadedLoop]) -> None:
    for name in ("Clicked", "Pressed"):
        write(("Clicked", name), text=STREAM, name=f"{name}/parts.py")
        definition = loaded(text=f"from parts import {name}\n", name=f"{name}/loop.py").definition
        assert [stream.name for stream in definition.streams] == [name.lower()]


def test_loading_leaves_nothing_behind(write: Callable[..., Path]) -> None:
    write(text="x = 1\n", name="flights/parts.py")
    path = write(text="import parts\n" + STREAM.replace("from __future__ import annotations\n", ""))
    modules, folders = set(sys.modules), list(sys.path)
    load(path)
    assert set(sys.modules) == modules
    assert sys.path == folders


def test_what_is_installed_below_the_folder_stays_imported(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = write(text="x = 1\n", name="site-packages/installed_below.py")
    monkeypatch.syspath_prepend(str(installed.parent))
    load(write(text="import installed_below\n" + STREAM.partition("\n")[2], name="loop.py"))
    assert sys.modules.pop("installed_below").__file__ == str(installed)


def test_a_learner_may_import_from_its_folder(write: Callable[..., Path], loaded: Callable[..., LoadedLoop]) -> None:
    parts = "from river.linear_model import LogisticRegression\n\ndef made():\n    return LogisticRegression()\n"
    write(text=parts, name="flights/parts.py")
    edit = ("lambda: StandardScaler() | LogisticRegression()", 'lambda: __import__("parts").made()')
    assert type(loaded(edit).learner("late_arrival")).__name__ == "LogisticRegression"


def test_a_lambda_in_a_list_and_a_function_name_views_as_they_say(loaded: Callable[..., LoadedLoop]) -> None:
    text = STREAM + (
        "\ndef counted(by, **name):\n"
        '    return View(Clicked, by=by, windows="1h", aggregates={"n": Count()}, **name)\n'
        '\nusers = counted("user")\n'
        'others = [counted(by, name=f"by_{by}") for by in ("page", "click")]\n'
    )
    assert [view.name for view in loaded(text=text).definition.views] == ["users", "by_page", "by_click"]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("from headrace import Strem\n", "cannot import name 'Strem' from 'headrace'"),
        ("from headrace import Strem\n", "Did you mean 'Stream'?"),
        ("from headrace import col, Vieww\n", "Did you mean 'View'?"),
        ("from river.linear_model import LogisticRegresion\n", "Did you mean 'LogisticRegression'?"),
        ("from headrace import Stream\nclass A(Strem): pass\n", "Did you mean 'Stream'?"),
        ("class A(Strem): pass\n", "Did you mean 'Stream'? Import it"),
        ("import headrace\nclass A(headrace.Strem): pass\n", "Did you mean 'Stream'?"),
    ],
)
def test_a_misspelt_name_of_headrace_names_the_one_that_was_meant(
    loaded: Callable[..., LoadedLoop], text: str, cure: str
) -> None:
    with pytest.raises(DefinitionErrors) as mistakes:
        loaded(text=text)
    assert cure in str(mistakes.value)


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package for the test; return its name."""
    folder = tmp_path_factory.mktemp("site") / "estimators_of_the_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("best = 1\n")
    (folder / "linear.py").write_text("")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder.name


@pytest.mark.parametrize("line", ["from {} import linear", "import {}.linear", "import {0}; {0}.best"])
@pytest.mark.parametrize("hiding", ["{}.py", "{}/__init__.py"])
def test_a_file_beside_the_loop_that_hides_a_package_is_named(
    installed: str, hiding: str, line: str, write: Callable[..., Path], loaded: Callable[..., LoadedLoop]
) -> None:
    file = write(text="# empty\n", name=f"flights/{hiding.format(installed)}")
    with pytest.raises(DefinitionErrors) as mistakes:
        loaded(text=f"{STREAM}\n{line.format(installed)}\n")
    assert f"{file} hides the package {installed!r}" in str(mistakes.value)
    assert str(mistakes.value).endswith("Rename it.")


def test_a_loop_file_that_hides_a_package_is_named(installed: str, loaded: Callable[..., LoadedLoop]) -> None:
    with pytest.raises(DefinitionErrors, match=rf"{installed}\.py hides the package .* Rename it\."):
        loaded(text=f"{STREAM}\nfrom {installed} import linear\n", name=f"flights/{installed}.py")


def test_a_module_that_is_not_installed_is_not_hidden(
    write: Callable[..., Path], loaded: Callable[..., LoadedLoop]
) -> None:
    write(text="# empty\n", name="flights/nothing_elsewhere.py")
    with pytest.raises(DefinitionErrors) as mistakes:
        loaded(text=f"{STREAM}\nfrom nothing_elsewhere import linear\n")
    assert "hides" not in str(mistakes.value)


def test_a_file_that_hides_what_the_compiler_imports_is_named(
    installed: str, write: Callable[..., Path], loaded: Callable[..., LoadedLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(text="# empty\n", name=f"flights/{installed}.py")

    def compile_into(*_: object) -> None:
        importlib.import_module(f"{installed}.linear")

    monkeypatch.setattr(loop_file, "compile_into", compile_into)
    with pytest.raises(DefinitionErrors, match=f"{file} hides the package"):
        loaded(text=STREAM)


def test_without_river_the_extra_that_brings_it_is_named(
    loaded: Callable[..., LoadedLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(DefinitionErrors, match=r'pip install "headrace\[loop\]"'):
        loaded(text=f"{STREAM}\nimport river\n")
