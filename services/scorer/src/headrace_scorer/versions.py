"""The versions that answer, swapped while the scorer is serving."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.former import Former, former_of
from headrace.engine.model_version import Version
from headrace.errors import CorruptState, NoModelYet, UnknownName
from headrace.v1 import models_pb2

#: The bound on examples if that of the log is unknown: no version has learned more.
_MOST_EXAMPLES = 2**48

_Offered: TypeAlias = models_pb2.ModelVersion


class Takeover(NamedTuple):
    """Takeover of a changed model: the definition that answers, and the examples its own has learned and needs."""

    answering: str
    learned: int
    needed: int


class Versions:
    """The version that answers for each model of a loop.

    After a model has changed, a version of its former definition answers until the new one has learned enough. Every
    scorer decides this from the models topic alone: the newest version of its own definition answers once that has
    taken over; until then, the newest one of the definition that took over last; if there is none, its own.

    `offer` is for one background thread, the other methods for all: a swap is one assignment, so a request works
    with one version from its beginning to its end.

    Parameters
    ----------
    note
        Logs the fate of a version.
    entries
        Returns how many entries a model's log has had: no version can have learned more; None if unknown.
    trial
        Tries a version in isolation before it is loaded here; raises `CorruptState`.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        note: Callable[..., Any],
        entries: Callable[[str], int | None] = lambda model: None,
        trial: Callable[[ModelDefinition, models_pb2.ModelVersion], None] = lambda model, published: None,
    ) -> None:
        self._entries = entries
        self._trial = trial
        self._known: dict[str, int] = {}
        self._before: dict[str, Version] = {}
        self._implausible: dict[str, set[bytes]] = {}
        self._swapping = threading.Lock()
        self._loop = loop
        self._models = {model.name: model for model in loop.models}
        self._names = {model.title: model.name for model in loop.models}
        self._hashes = {name: model.hash for name, model in self._models.items()}
        self._newest: dict[str, Version] = {}
        self._former: dict[str, Version] = {}
        self._current: dict[str, Version] = {}
        self._note = note

    def current(self, model: str) -> Version:
        """Return the version that answers.

        Raises
        ------
        UnknownName
            The loop has no such model.
        NoModelYet
            The model has published no version.
        """
        version = self._current.get(model) or self._current.get(self.model(model).name)
        if version is None:
            raise NoModelYet(model)
        return version

    def find(self, model: str) -> Version | None:
        """Return the version that answers; None before the first."""
        return self._current.get(model)

    def model(self, name: str) -> ModelDefinition:
        """Return a model of the loop, by name or title: callers of a renamed model need not change at once.

        Raises
        ------
        UnknownName
            The loop has no model of this name.
        """
        definition = self._models.get(self._names.get(name, name))
        if definition is None:
            raise UnknownName("model", name, tuple(self._names))
        return definition

    def hash(self, name: str) -> str:
        """Return the hash of a model's definition."""
        return self._hashes[name]

    @property
    def models(self) -> Sequence[ModelDefinition]:
        """All models, in the order of the loop's definition."""
        return tuple(self._models.values())

    def reject(self, version: Version, reason: str) -> Version | None:
        """Withdraw a version that has given an impossible answer.

        Return the version that answers from now on; None if there is none.
        """
        name = version.model.name
        with self._swapping:
            self._implausible.setdefault(name, set()).add(version.sha256)
            if self._current.get(name) is version:
                previous = self._before.pop(name, None)
                for table in (self._current, self._newest, self._former):
                    if table.get(name) is version:
                        del table[name]
                if previous is not None:
                    self._current[name] = previous
                    versions = self._newest if previous.model.hash == self._hashes[name] else self._former
                    versions[name] = previous
                self._note(
                    "version_implausible",
                    model=name,
                    examples=version.examples,
                    reason=reason,
                    answers_again=previous.examples if previous else None,
                )
            return self._current.get(name)

    def examples(self) -> dict[str, int]:
        """Return, for each model that has a version, how many examples it has learned."""
        return {name: version.examples for name, version in self._current.items()}

    def takeover(self, name: str) -> Takeover | None:
        """Return how far a changed model is on its way to answering; None if its own definition answers."""
        former, newest = self._current.get(name), self._newest.get(name)
        if former is None or former.model.hash == self._hashes[name]:
            return None
        needed = self._models[name].takeover or (newest.needed if newest else 0) or former.examples
        return Takeover(former.model.hash, newest.examples if newest else 0, needed)

    def offer_cached(self, versions: Sequence[_Offered]) -> dict[str, _Offered]:
        """Take versions that this scorer has accepted before: their examples were checked then, without the log now."""
        for published in versions:
            self._known[published.model] = max(published.examples, self._known.get(published.model, -1))
        return self.offer(versions)

    def offer(self, versions: Sequence[_Offered]) -> dict[str, _Offered]:
        """Take versions from the models topic: for each definition the newest that fits; return those taken.

        The newest one is that with the most examples, wherever it is on the topic: a superseded learner may
        still send an older one. Versions of a model's former definition are returned under its name and "former".
        """
        offered: dict[str, list[_Offered]] = {}
        former: dict[str, list[_Offered]] = {}
        for published in versions:
            if published.model not in self._models:
                self._note("version_ignored", model=published.model, reason="the loop has no such model")
            elif published.definition == self._hashes[published.model]:
                offered.setdefault(published.model, []).append(published)
            elif self._is_former(published):
                former.setdefault(published.model, []).append(published)
        # The model's own definition first: once it has taken over, no former one is built.
        offers = {name: self._take_newest(name, versions) for name, versions in offered.items()}
        offers |= {f"{name}.former": self._take_former(name, versions) for name, versions in former.items()}
        for name in {*offered, *former}:
            self._choose(name)
        return {name: version for name, version in offers.items() if version is not None}

    def _take_newest(self, name: str, versions: list[_Offered]) -> _Offered | None:
        versions, corrected = _corrected(versions)
        newest = self._newest.get(name)
        if corrected is not None and newest is not None and newest.examples > corrected:
            self._note("version_corrected", model=name, examples=newest.examples, to=corrected)
            del self._newest[name]
        for published in _newest_first(versions):
            newest = self._newest.get(name)
            if newest is not None and published.examples < newest.examples:
                break
            version = self._built(self._models[name], published)
            if version is not None:
                self._newest[name] = version
                return published
        return None

    def _take_former(self, name: str, versions: list[_Offered]) -> _Offered | None:
        newest = self._newest.get(name)
        if newest is not None and newest.taken_over:
            return None
        # The definition that took over last is the one that has been answering.
        definition = versions[-1].definition
        for published in _newest_first([version for version in versions if version.definition == definition]):
            former = self._former.get(name)
            if former is not None and former.model.hash == definition and published.examples < former.examples:
                break
            try:
                answering = former_of(self._loop, published)
            except CorruptState as error:
                self._note("former_version_unusable", model=name, definition=definition, reason=str(error))
                self._former.pop(name, None)
                return None
            version = self._built(answering.model, published, answering)
            if version is not None:
                self._former[name] = version
                return published
        return None

    def _choose(self, name: str) -> None:
        """Choose the version that answers."""
        newest, former = self._newest.get(name), self._former.get(name)
        chosen = newest if newest is not None and (newest.taken_over or former is None) else former
        if chosen is None or chosen is self._current.get(name):
            return
        with self._swapping:
            current = self._current.get(name)
            if current is not None and current.model.hash == chosen.model.hash:
                self._before[name] = current
            else:
                self._before.pop(name, None)
            self._current[name] = chosen
        if chosen is newest:
            self._former.pop(name, None)
        self._note("version_swapped_in", model=name, definition=chosen.model.hash, examples=chosen.examples)

    def _built(
        self, model: ModelDefinition, published: models_pb2.ModelVersion, former: Former | None = None
    ) -> Version | None:
        """Build the version; return None if it is refused."""
        try:
            self._check(published)
            self._trial(model, published)
            return Version(model, published, self._models[model.name], former)
        except CorruptState as error:
            self._note("version_refused", model=model.name, examples=published.examples, reason=str(error))
            return None

    def _check(self, published: models_pb2.ModelVersion) -> None:
        """Refuse a version that was found implausible before, or that claims more examples than there can be."""
        name = published.model
        if published.sha256 in self._implausible.get(name, ()):
            raise CorruptState("it has answered what no answer can be")
        if published.examples > self._known.get(name, -1):
            entries = self._entries(name)
            if entries is None:
                entries = _MOST_EXAMPLES
            else:
                self._known[name] = entries
            if published.examples > entries:
                raise CorruptState(
                    f"it says that it has learned {published.examples:,} examples, but the log of its model has had "
                    f"{entries:,} entries: nobody can have learned it from there"
                )

    def _is_former(self, published: models_pb2.ModelVersion) -> bool:
        """Return whether another definition's version may answer until the model's own has learned enough."""
        if published.taken_over and published.model_definition:
            return True
        self._note(
            "version_ignored",
            model=published.model,
            examples=published.examples,
            reason=f"made of definition {published.definition}, not {self._hashes[published.model]}",
        )
        return False


def _corrected(versions: list[_Offered]) -> tuple[list[_Offered], int | None]:
    """Return the versions that no later one corrects, and the number they are corrected to; None if none is."""
    for place in range(len(versions) - 1, -1, -1):
        published = versions[place]
        if published.corrects:
            earlier = [version for version in versions[:place] if version.examples <= published.examples]
            return [*earlier, *versions[place:]], published.examples
    return versions, None


def _newest_first(versions: list[_Offered]) -> list[_Offered]:
    """Sort versions by examples, newest first; among equals the later comes first, as it may replace a damaged one."""
    return sorted(versions, key=lambda version: version.examples)[::-1]
