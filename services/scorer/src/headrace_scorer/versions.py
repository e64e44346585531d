"""The versions that answer, swapped while the scorer serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.errors import CorruptState, NoModelYet, UnknownName
from headrace.v1 import models_pb2
from headrace.version import Version


class Versions:
    """The version that answers for each model of a loop.

    `offer` is for one background thread, the rest for all: a swap is one assignment, so a request works
    with one version from its start to its end.
    """

    def __init__(self, loop: LoopDefinition, note: Callable[..., Any]) -> None:
        self._models = {model.name: model for model in loop.models}
        self._names = {model.title: model.name for model in loop.models}
        self._hashes = {name: model.hash for name, model in self._models.items()}
        self._current: dict[str, Version] = {}
        self._note = note

    def current(self, model: str) -> Version:
        """The version that answers.

        Raises
        ------
        UnknownName
            The loop has no such model.
        NoModelYet
            It has published nothing.
        """
        found = self._current.get(model) or self._current.get(self.model(model).name)
        if found is None:
            raise NoModelYet(model)
        return found

    def find(self, model: str) -> Version | None:
        """The version that answers, None before the first."""
        return self._current.get(model)

    def model(self, name: str) -> ModelDefinition:
        """A model of the loop, by its name or its title: callers of a renamed model need not change at once.

        Raises
        ------
        UnknownName
            The loop has none of this name.
        """
        found = self._models.get(self._names.get(name, name))
        if found is None:
            raise UnknownName("model", name, tuple(self._names))
        return found

    def hash(self, name: str) -> str:
        """The hash of a model's definition."""
        return self._hashes[name]

    @property
    def models(self) -> Sequence[ModelDefinition]:
        """All models, in the order of the loop."""
        return tuple(self._models.values())

    def examples(self) -> dict[str, int]:
        """For each model that has a version: how many examples it learned."""
        return {name: version.examples for name, version in self._current.items()}

    def offer(self, payloads: Sequence[bytes]) -> dict[str, bytes]:
        """Take what the models topic brought: of each model the newest that fits; returns those taken.

        The newest has learned the most examples, wherever it stands: a learner that was followed by another one may
        still send an older one.
        """
        offered: dict[str, list[tuple[models_pb2.ModelVersion, bytes]]] = {}
        taken: dict[str, bytes] = {}
        for payload in payloads:
            published = self._parse(payload)
            if published is not None:
                offered.setdefault(published.model, []).append((published, payload))
        for name, own in offered.items():
            own.sort(key=lambda one: one[0].examples)
            # Of two of one number the later one: a damaged one may have been sent again.
            for published, payload in reversed(own):
                current = self._current.get(name)
                if current is not None and published.examples < current.examples:
                    break
                if self._swap_in(name, published):
                    taken[name] = payload
                    break
        return taken

    def _swap_in(self, name: str, published: models_pb2.ModelVersion) -> bool:
        """Let a version answer; False where it is refused."""
        try:
            self._current[name] = Version(self._models[name], published)
        except CorruptState as error:
            self._note("version refused", model=name, examples=published.examples, reason=str(error))
            return False
        self._note("version swapped in", model=name, examples=published.examples)
        return True

    def _parse(self, payload: bytes) -> models_pb2.ModelVersion | None:
        if not payload:
            return None  # The tombstone of a compacted key.
        try:
            published = models_pb2.ModelVersion.FromString(payload)
        except DecodeError:
            self._note("version refused", reason="not a ModelVersion")
            return None
        if published.model not in self._models:
            self._note("version ignored", model=published.model, reason="the loop has no such model")
            return None
        if published.definition != self._hashes[published.model]:
            self._note(
                "version ignored",
                model=published.model,
                examples=published.examples,
                reason=f"made of definition {published.definition}, not {self._hashes[published.model]}",
            )
            return None
        return published
