"""The former definitions of models that answer until the new ones have learned enough."""

from __future__ import annotations

import pulsar
import structlog

from headrace.definition import LoopDefinition
from headrace.engine.former import Answering, Former, former_of, selection
from headrace.errors import CorruptState
from headrace.runtime.pulsar.log_reader import LogTail
from headrace.runtime.pulsar.model_versions import newest_versions
from headrace.wire.topics import Topics

_log = structlog.get_logger()


class Formers:
    """The former definitions, found on the models topic, that answer with vectors which the loop's own ones lack."""

    def __init__(self, client: pulsar.Client, loop: LoopDefinition, topics: Topics) -> None:
        self._client = client
        self._loop = loop
        self._topic = topics.models
        self._tail = LogTail(client, topics.models)
        self._growths = -1

    def find(self) -> Answering:
        """Return those that answer now.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        self._growths = self._tail.growths()
        formers: dict[str, Former] = {}
        for name, newest in newest_versions(self._client, self._topic, self._loop.models).items():
            if newest.taken_over or newest.former is None:
                continue
            try:
                former = former_of(self._loop, newest.former)
            except CorruptState as error:
                _log.warning("former_version_unusable", model=name, reason=str(error))
                continue
            if former.views or selection(self._loop.model(name), former.model) is None:
                formers[name] = former
        return Answering(self._loop, formers)

    def changed(self) -> bool:
        """Return whether a version has arrived since `find`.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        return self._tail.growths() != self._growths

    def close(self) -> None:
        """Stop following the topic."""
        self._tail.close()
