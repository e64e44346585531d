"""Loading of a loop file."""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headrace import declare
from headrace.compiler.hidden_packages import hiding_file
from headrace.compiler.loop_definition import compile_into
from headrace.compiler.mistakes import Mistakes, mistake, words_of
from headrace.declare.declaration import recording, snake_case
from headrace.declare.models import Learner
from headrace.declare.place import Place
from headrace.definition import LoopDefinition
from headrace.errors import DefinitionError, DefinitionErrors, UnknownName
from headrace.wording import did_you_mean, instead_of

if TYPE_CHECKING:
    from river.base import Estimator


#: headrace's own files: a mistake in a loop is never reported at a line of these.
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class LoadedLoop:
    """A loop file without mistakes.

    Attributes
    ----------
    path
        The loop file.
    definition
        The definition that services are started with.
    learners
        The functions that make the models' River estimators, by model name.
    """

    path: Path
    definition: LoopDefinition
    learners: Mapping[str, Learner]

    def learner(self, model: str) -> Estimator:
        """Make a new River estimator for a model.

        Raises
        ------
        UnknownName
            The loop has no such model.
        """
        factory = self.learners.get(model)
        if factory is None:
            raise UnknownName("model", model, tuple(self.learners))
        with _importable(self.path.parent):
            return factory()


def load(path: Path | str) -> LoadedLoop:
    """Execute a loop file and compile what it declares.

    The file runs as a module of its own, with its folder on the path, so it can be split into several files.

    Raises
    ------
    DefinitionErrors
        All mistakes in it, each with its line and a fix.
    """
    file = Path(path).resolve()
    mistakes = Mistakes()
    module = ModuleType("headrace_loop")
    module.__file__ = str(file)
    with _importable(file.parent), recording() as declarations:
        _execute(file, module, mistakes)
        try:
            compiled = compile_into(mistakes, vars(module), _default_name(file), declarations)
        except (ImportError, AttributeError) as error:  # headrace imports more packages than the loop file
            hiding = hiding_file(error, file)
            if hiding is None:
                raise
            mistakes.add_error(Place(str(file), 1), _hidden(hiding, Place(str(file), 1)))
            mistakes.raise_if_any()
    mistakes.raise_if_any()
    return LoadedLoop(file, compiled.definition, compiled.learners)


def _execute(file: Path, module: ModuleType, mistakes: Mistakes) -> None:
    before = sys.modules.get(module.__name__)
    # Annotations and data classes are resolved through the module's name.
    sys.modules[module.__name__] = module
    try:
        exec(builtins.compile(file.read_bytes(), str(file), "exec", dont_inherit=True), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code may raise anything, even SystemExit
        place = _place_of(error, file)
        for found in _definition_errors(error, place, file):
            mistakes.add_error(place, found)
    finally:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before


def _place_of(error: BaseException, file: Path) -> Place:
    """Return the line of the user's code that raised an error."""
    if isinstance(error, SyntaxError) and error.filename:
        return Place(error.filename, error.lineno or 1)
    if isinstance(error, OSError) and error.filename == str(file):
        return Place(str(file), 1)
    lines = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_written_below(file.parent, frame.filename)
    ]
    return Place(lines[-1].filename, lines[-1].lineno or 1) if lines else Place(str(file), 1)


def _is_written_below(folder: Path, file: str) -> bool:
    path = Path(file)
    if not path.is_relative_to(folder) or path.is_relative_to(_PACKAGE):
        return False
    return "site-packages" not in path.relative_to(folder).parts


def _definition_errors(error: BaseException, place: Place, file: Path) -> tuple[DefinitionError, ...]:
    if isinstance(error, DefinitionErrors):
        return error.errors
    if isinstance(error, DefinitionError):
        return (error,)
    hiding = hiding_file(error, file)
    return (_mistake_of(error, place) if hiding is None else _hidden(hiding, place),)


def _hidden(file: Path, place: Place) -> DefinitionError:
    """Return the mistake of a file that hides a package."""
    name = file.parent.name if file.stem == "__init__" else file.stem
    problem = f"{file} hides the package {name!r}: Python finds a file beside the loop first"
    return mistake(place, "import", problem, "Rename it.")


def _mistake_of(error: BaseException, place: Place) -> DefinitionError:
    message = words_of(error) or "no message"
    match error:
        case FileNotFoundError() | IsADirectoryError() | PermissionError():
            return mistake(place, "file", f"it cannot be read: {error.strerror}: {error.filename}", "Check the path.")
        case SyntaxError():
            line = (error.text or "").strip()
            return mistake(place, "syntax", f"{error.msg}: {line}", "Fix this line, or the one before it.")
        case ModuleNotFoundError():
            cure = f"Install {error.name!r}, or put its file beside the loop's."
            if error.name == "river":
                cure = 'Install it: pip install "headrace[loop]".'
            return mistake(place, "import", message, cure)
        case ImportError():
            return mistake(place, "import", message, _similar_import(message))
        case NameError():
            return mistake(place, "name", message, _similar_name(str(error.name), error))
        case AttributeError():
            searched = error.obj if isinstance(error.obj, ModuleType | type) else type(error.obj)
            names = [name for name in dir(searched) if not name.startswith("_")]
            return mistake(place, "attribute", message, instead_of(str(error.name), names, "attributes"))
        case TypeError() if missing := _missing_arguments(message):
            return mistake(place, "call", f"{missing[0]} needs {', '.join(missing[1:])}", "Add what is missing.")
        case TypeError():
            cure = _similar_argument(message) or "Check the names, number and types of the arguments."
            return mistake(place, "call", message, cure)
    return mistake(place, "file", f"{type(error).__name__}: {message}", "Fix this line.")


def _similar_name(name: str, error: NameError) -> str:
    if name in declare.__all__:
        return f"Import it: from headrace import {name}."
    last = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    hint = did_you_mean(name, [*last.f_locals, *last.f_globals])
    if not hint and (exported := did_you_mean(name, declare.__all__)):
        return f"{exported} Import it: from headrace import ..."
    return hint or "Define or import it."


def _similar_import(message: str) -> str:
    """Return the cure for a name that its module does not have."""
    match = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", message)
    module = sys.modules.get(match[2]) if match else None
    if match is None or module is None:
        return "Check the names that this line imports."
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return instead_of(match[1], names, "names")


def _missing_arguments(message: str) -> list[str]:
    """Return the class of headrace's own that was called, then what it was not given; empty for any other error."""
    match = re.fullmatch(r"(\w+)\.\w+\(\) missing \d+ required .*arguments?: (.+)", message)
    return [match[1], *re.findall(r"'(\w+)'", match[2])] if match and hasattr(declare, match[1]) else []


def _similar_argument(message: str) -> str:
    """Return the cure for a misspelt argument of one of headrace's own classes."""
    match = re.fullmatch(r"(\w+)\.(\w+)\(\) got an unexpected keyword argument '(\w+)'", message)
    if not match or not hasattr(declare, match[1]):
        return ""
    parameters = inspect.signature(getattr(getattr(declare, match[1]), match[2])).parameters.values()
    return instead_of(
        match[3], [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY], "arguments"
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make the folder's own modules importable; they are loaded fresh each time."""
    before = dict(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if name not in before and _is_of_folder(module, name, folder):
                del sys.modules[name]


def _is_of_folder(module: ModuleType, name: str, folder: Path) -> bool:
    """Return whether a module belongs to the loop: installed packages may be below its folder, too."""
    path = folder.joinpath(*name.split("."))
    return getattr(module, "__file__", None) in (str(path.with_suffix(".py")), str(path / "__init__.py"))


def _default_name(file: Path) -> str:
    stem = file.parent.name if file.stem == "loop" else file.stem
    name = re.sub(r"[^a-z0-9_]+", "_", snake_case(stem)).strip("_")
    return name if name[:1].isalpha() else f"loop_{name}".rstrip("_")
