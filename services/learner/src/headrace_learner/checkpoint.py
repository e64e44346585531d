"""Checkpoints: a model, its metrics, its waiting predictions and its place in the log, written atomically as one file.

The model is a pickle. The file never leaves this machine and never comes from the network, and
it is unpickled only if its checksum and the hash of the model's definition match.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning, Progress, ServedQuality, WaitingPredictions
from headrace.engine.quality import restore
from headrace.errors import NewerFormat, OlderFormat, Unreadable
from headrace.wire.formats import VERSION, version_text
from headrace.wire.position import Position

_log = structlog.get_logger()

_NAME = b"headrace-checkpoint-"

#: The number of the format. Format 2 has no length, and does not say which version of headrace reads it; format 3 does
#: not tell how many examples were known at a question.
FORMAT = 4

_MAGIC = b"%s%d %s\n" % (_NAME, FORMAT, version_text(VERSION).encode())
_LENGTH = 4
_SIZE = 8
_DIGEST = hashlib.sha256().digest_size
_WHAT = "the checkpoint"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts about a checkpoint, in JSON, readable without loading the model.

    `quality`, `waiting` and `served` are the lengths of the metrics, the waiting predictions and the served
    quality, which precede the pickled model in this order. A metric that cannot be computed is None.
    """

    model: str
    definition: str
    examples: int
    next_seq: int
    position: tuple[int, int, int]
    release_watermark: int | None
    newest: int | None
    published: int
    epochs: dict[str, int]
    metrics: dict[str, float | None]
    quality: int
    waiting: int
    served: int

    def progress(self) -> Progress:
        """Return how far the model is in its log."""
        return Progress(
            self.examples,
            self.next_seq,
            Position(*self.position),
            self.release_watermark,
            self.newest,
            self.published,
            dict(self.epochs),
        )


# Created on import: msgspec inspects a type with its first decoder, and crashes if two threads do so at once.
_HEADER = msgspec.json.Decoder(Header)


def encode(learning: Learning) -> bytes:
    """Return a checkpoint's bytes.

    They are a line with the format, the length and SHA-256 of the rest; then header, metrics, waiting predictions,
    served quality and model.
    """
    quality = learning.quality
    metrics, waiting = quality.dump(), learning.waiting.dump()
    served = learning.served.dump() if learning.served is not None else b""
    header = msgspec.json.encode(
        Header(
            model=learning.model.name,
            definition=learning.model.hash,
            metrics=dict(quality.metrics()),
            quality=len(metrics),
            waiting=len(waiting),
            served=len(served),
            **asdict(learning.progress),
        )
    )
    model = pickle.dumps(learning.estimator, protocol=5)
    body = b"".join((len(header).to_bytes(_LENGTH, "big"), header, metrics, waiting, served, model))
    return b"".join((_MAGIC, len(body).to_bytes(_SIZE, "big"), hashlib.sha256(body).digest(), body))


def decode_header(data: bytes) -> tuple[Header, memoryview]:
    """Verify a checkpoint; return its header and what follows it.

    Raises
    ------
    Unreadable
        It is truncated, changed, or in another format.
    """
    start = len(_MAGIC) + _SIZE + _DIGEST
    if not data.startswith(_MAGIC):
        raise _refused(data)
    body, size = memoryview(data)[start:], data[len(_MAGIC) : len(_MAGIC) + _SIZE]
    if len(data) < start or len(body) != int.from_bytes(size, "big"):
        raise Unreadable(_WHAT, f"it has {len(body)} bytes, and says {int.from_bytes(size, 'big')}")
    digest, expected = hashlib.sha256(body).hexdigest(), data[start - _DIGEST : start].hex()
    if digest != expected:
        raise Unreadable(_WHAT, f"it has SHA-256 {digest}, expected {expected}")
    end = _LENGTH + int.from_bytes(body[:_LENGTH], "big")
    try:
        header = _HEADER.decode(body[_LENGTH:end])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(_WHAT, f"its header does not fit its format: {error}") from error
    return header, body[end:]


def decode(model: ModelDefinition, data: bytes) -> Learning | None:
    """Decode what `encode` returned; return None, and load nothing, if it is of another definition.

    Raises
    ------
    Unreadable
        As in `decode_header`; or the installed River cannot load the model.
    """
    header, rest = decode_header(data)
    waiting_at = header.quality
    served_at = waiting_at + header.waiting
    model_at = served_at + header.served
    if (header.model, header.definition) != (model.name, model.hash):
        return None
    try:
        estimator: Any = pickle.loads(rest[model_at:])
    except Exception as error:  # a pickle of another River may raise anything
        raise Unreadable(_WHAT, f"its model cannot be loaded: {error!r}") from error
    try:
        return Learning(
            model,
            estimator,
            restore(model, bytes(rest[:waiting_at])),
            header.progress(),
            waiting=WaitingPredictions.load(bytes(rest[waiting_at:served_at]), model.waiting_bytes),
            served=_served(model, bytes(rest[served_at:model_at])),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(_WHAT, f"its metrics do not fit its format: {error}") from error


def _served(model: ModelDefinition, data: bytes) -> ServedQuality:
    return ServedQuality.load(model, data) if data else ServedQuality(model)


def _refused(data: bytes) -> Unreadable:
    name, _, _ = data[:60].partition(b"\n")
    if not name.startswith(_NAME):
        return Unreadable(_WHAT, f"it begins with {data[: len(_MAGIC)]!r}, expected {_MAGIC!r}")
    number, _, version = name.removeprefix(_NAME).decode(errors="replace").partition(" ")
    problem = f"it has format {number}, this learner reads format {FORMAT}"
    if number.isdecimal() and len(number) < 10 and int(number) > FORMAT:
        return NewerFormat(_WHAT, problem, f"use headrace {version}, or learn the model again from its log")
    return OlderFormat(_WHAT, problem, "nothing: the model is learned again from its log")


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read: an opener for `open`."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class Checkpoints:
    """The checkpoints of one model: the newest, and the one before.

    An older checkpoint is never wrong: the log from there on is learned again, with the same result.
    """

    def __init__(self, directory: Path, model: ModelDefinition) -> None:
        self._model = model
        self.path = directory / f"{model.name}.ckpt"
        self._previous = directory / f"{model.name}.ckpt.previous"

    def save(self, data: bytes) -> None:
        """Replace the newest checkpoint: a crash at any moment leaves the old or the new one, complete.

        Raises
        ------
        OSError
            It cannot be written; the previous one remains.
        """
        directory = self.path.parent
        # Not its parents: a data directory that was removed must not come back with a checkpoint of the old log.
        directory.mkdir(0o700, exist_ok=True)
        # Two owners may overlap for a moment (one is fenced): they must not write the same file.
        draft = directory / f"{self.path.name}.{os.getpid()}.tmp"
        try:
            with open(draft, "wb", opener=_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                os.replace(self.path, self._previous)
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def load(self, beyond: int = -1) -> Learning | None:
        """Return the newest usable checkpoint of this definition with more than `beyond` examples learned.

        A corrupt one is refused, and the log says why.
        """
        for path in (self.path, self._previous):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            try:
                if decode_header(data)[0].examples <= beyond:
                    return None
                learning = decode(self._model, data)
            except Unreadable as error:
                _log.error("checkpoint_refused", model=self._model.name, path=str(path), reason=str(error))
                continue
            if learning is not None:
                return learning
            _log.warning("checkpoint_of_another_definition", model=self._model.name, path=str(path))
        return None
