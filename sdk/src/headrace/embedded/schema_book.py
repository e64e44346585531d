"""The schemas of streams' topics, kept beside the data of a broker that keeps no schemas."""

from __future__ import annotations

from pathlib import Path

from headrace.definition import Field, LoopDefinition
from headrace.embedded.data_directory import replace_private
from headrace.engine.events.schema import conflicts
from headrace.errors import IncompatibleSchema
from headrace.wire import compiled_loop
from headrace.wire.document import Document

_Fields = dict[str, tuple[Field, ...]]

_SCHEMAS: Document[_Fields] = Document("schemas", _Fields)


class SchemaBook:
    """A substitute for Apache Pulsar's schema check: it refuses a schema that does not fit a topic's events.

    Parameters
    ----------
    directory
        The data directory of the loop.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "schemas.json"
        self._former = directory / "loop.json"

    def register(self, loop: LoopDefinition) -> None:
        """Note the fields of a loop's streams; keep those of streams that it no longer has.

        Raises
        ------
        IncompatibleSchema
            A stream does not fit the events that its topic holds; no schema is noted.
        Unreadable
            The noted schemas are damaged.
        """
        schemas = self._read()
        problems = [
            conflict
            for stream in loop.streams
            for conflict in conflicts(stream, schemas.get(stream.name, stream.fields))
        ]
        if problems:
            raise IncompatibleSchema(tuple(map(str, problems)))
        fields = schemas | {stream.name: stream.fields for stream in loop.streams}
        replace_private(self._path, _SCHEMAS.encode(fields))

    def _read(self) -> _Fields:
        if self._path.exists():
            return _SCHEMAS.decode(self._path.read_bytes(), str(self._path))
        if self._former.exists():  # a loop that ran before there was this file
            return {stream.name: stream.fields for stream in compiled_loop.decode(self._former.read_bytes()).streams}
        return {}
