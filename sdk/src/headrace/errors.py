"""The tree of headrace's errors.

Every error says which field, which value and what was expected. Services map these to gRPC
statuses in one place (`headrace.runtime.grpc.server`), the command line maps them to exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.wording import did_you_mean, quoted, shown

#: How many characters of a value an error repeats.
_VALUE_LENGTH = 500


class HeadraceError(Exception):
    """The root: catch this to catch everything that headrace raises on purpose."""


class DefinitionError(HeadraceError):
    """A loop file is wrong.

    Parameters
    ----------
    where
        The part of the loop, as its author names it: ``"view carrier_delay"``.
    problem
        What is wrong, with the offending name or value.
    cure
        What to write instead.
    """

    def __init__(self, where: str, problem: str, cure: str) -> None:
        super().__init__(f"{where}: {problem}. {cure}")
        self.where = where
        self.problem = problem
        self.cure = cure


class DefinitionErrors(HeadraceError):
    """All the mistakes of one loop file, so that its author can fix them in one go."""

    def __init__(self, errors: tuple[DefinitionError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class InvalidSettings(HeadraceError):
    """The settings of a process are incomplete or wrong: all mistakes, each with the variable's name."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class InvalidEvent(HeadraceError):
    """An event does not fit its stream.

    Parameters
    ----------
    field
        The wrong field, or ``""`` if the event as a whole is wrong.
    value
        The value found, as text, cut to a readable length.
    expected
        What the stream's schema requires.
    """

    def __init__(self, field: str, value: str, expected: str) -> None:
        place = f"field {field!r}" if field else "the event"
        super().__init__(f"{place} is {value}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected

    def detached(self) -> InvalidEvent:
        """Return the error without its traceback, whose frames keep everything that was read with the event."""
        return InvalidEvent(self.field, self.value, self.expected)


#: How many wrong fields of one event an error names.
_NAMED = 10


def all_of(errors: Sequence[InvalidEvent]) -> InvalidEvent:
    """Combine all that is wrong with an event into one error (at least one thing is).

    Examples
    --------
    >>> print(all_of([InvalidEvent("a", "null", "a string"), InvalidEvent("b", "1", "true or false")]))
    field 'a' is null, expected a string; field 'b' is 1, expected true or false
    """
    first, *others = errors
    texts = [str(error) for error in others[: _NAMED - 1]]
    if len(others) > len(texts):
        texts.append(f"and {len(others) - len(texts)} more fields")
    return InvalidEvent(first.field, first.value, "; ".join([first.expected, *texts])) if others else first


class LateEvent(InvalidEvent):
    """An event is before its partition's watermark: late, or resent after its id was forgotten."""


class InvalidRequest(HeadraceError):
    """A request names something that is missing, misspelt or of the wrong type."""

    def __init__(self, field: str, value: str, expected: str) -> None:
        value = shown(value, _VALUE_LENGTH)
        super().__init__(f"{shown(field)} is {value}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class IncompatibleSchema(InvalidRequest):
    """Streams do not fit the events that their topics hold.

    Parameters
    ----------
    conflicts
        The conflicts, each with the field and the cure.
    """

    def __init__(self, conflicts: tuple[str, ...]) -> None:
        HeadraceError.__init__(self, "\n".join(conflicts))
        self.conflicts = conflicts


class UnknownName(InvalidRequest):
    """A stream, model or view that the loop does not declare."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        names = f"one of {', '.join(known) or 'none'}"
        hint = did_you_mean(name, known)
        super().__init__(kind, quoted(name), f"{names}. {hint}" if hint else names)


class NoModelYet(HeadraceError):
    """A model has not published a version yet."""

    def __init__(self, model: str) -> None:
        first = "the first comes after `publish_every` examples, or once its streams fall silent"
        super().__init__(f"model {model!r} has no version yet: {first}")
        self.model = model


class Implausible(HeadraceError):
    """A version gives a vector an impossible answer; another version may have a valid one.

    Parameters
    ----------
    model
        The model's name.
    examples
        The number of the version.
    reason
        What it answered, and what was expected.
    """

    def __init__(self, model: str, examples: int, reason: str) -> None:
        super().__init__(f"model {model!r}: version {examples} has no answer for this vector: {reason}")
        self.model = model
        self.examples = examples


class Unavailable(HeadraceError):
    """A service, a broker or a store does not answer; the same call may succeed later."""


class DeadlineExceeded(Unavailable):
    """A call did not end within its timeout; it may have had its effect."""


class ClientClosed(HeadraceError):
    """A client was used, or was still waiting for an answer, after it had been closed.

    Parameters
    ----------
    service
        The service that it called, with its address.
    """

    def __init__(self, service: str) -> None:
        super().__init__(f"the client of {service} is closed")
        self.service = service


class MissingExtra(HeadraceError, ImportError):
    """A part of headrace was imported whose requirements are not installed.

    Parameters
    ----------
    what
        The name that was imported.
    module
        The module that is missing.
    extra
        The extra of the distribution `headrace` that brings it.
    """

    def __init__(self, what: str, module: str, extra: str) -> None:
        super().__init__(f'{what} needs the module {module}, which is not installed: pip install "headrace[{extra}]"')
        self.what = what
        self.module = module
        self.extra = extra


class WrongPartitions(HeadraceError):
    """A topic has more partitions, or fewer, than the stream that it holds or is made from.

    Parameters
    ----------
    topic
        The full name of the topic.
    found, declared
        How many partitions it has, and how many the loop declares.
    stream
        The stream that declares them.
    cure
        What to do to correct it.
    """

    def __init__(self, topic: str, found: int, declared: int, stream: str, *, cure: str) -> None:
        has = f"{found} partition{'' if found == 1 else 's'}"
        super().__init__(f"{topic} has {has}, but needs {declared}, as stream {stream!r} declares: {cure}")
        self.topic = topic
        self.found = found
        self.declared = declared
        self.stream = stream
        self.cure = cure


class Overloaded(Unavailable):
    """A bounded queue is full; send more slowly, or again later.

    Parameters
    ----------
    retry_s
        The seconds after which it may have room again.
    """

    def __init__(self, message: str, retry_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class Fenced(HeadraceError):
    """The process lost its partition to another owner: it may neither write nor acknowledge anything."""

    def __init__(self, what: str, epoch: int) -> None:
        super().__init__(f"{what}: epoch {epoch} has been superseded by a newer owner")
        self.what = what
        self.epoch = epoch


class CorruptState(HeadraceError):
    """Stored state fails its checksum or contradicts the log; headrace refuses it and never guesses."""


class Unreadable(CorruptState):
    """Bytes from outside are not what is expected: truncated, changed, foreign, or in another format.

    Parameters
    ----------
    what
        What was read, with its name.
    problem
        What is wrong with it.
    cure
        What to do, if anything.
    """

    def __init__(self, what: str, problem: str, cure: str = "") -> None:
        super().__init__(f"{what} cannot be read: {problem}{f'. To go on: {cure}' if cure else ''}")
        self.what = what
        self.problem = problem
        self.cure = cure


class NewerFormat(Unreadable):
    """Something was written by a newer headrace; the cure names the version that can read it."""


class OlderFormat(Unreadable):
    """Something was written by a headrace whose formats are no longer read; the cure is how to upgrade."""


class TooLarge(HeadraceError):
    """A message is larger than a broker accepts, and cannot be split: sending it again cannot succeed.

    Parameters
    ----------
    what
        What the message holds.
    size, limit
        In bytes; the size is None if the broker only says that it is too large.
    """

    def __init__(self, what: str, size: int | None, limit: int) -> None:
        amount = "more bytes than the broker takes" if size is None else f"{size} bytes"
        super().__init__(f"{what} has {amount}, and a message holds at most {limit}")
        self.what = what
        self.size = size
        self.limit = limit


class UnsupportedLearner(HeadraceError):
    """A River estimator that has no ONNX converter."""

    def __init__(self, estimator: str, supported: tuple[str, ...]) -> None:
        super().__init__(f"{estimator} has no ONNX converter; supported: {', '.join(supported)}")
        self.estimator = estimator
        self.supported = supported


class LearnerFailed(HeadraceError):
    """A learner raised on a question or an answer. Learning stops there: the entry is part of the log.

    Parameters
    ----------
    model
        The name of the model.
    seq
        The place of the entry in the model's log.
    question
        The place of its question, which identifies the example; `seq` itself if the entry is the question.
    id
        The id of the example's event.
    error
        What the learner raised.
    """

    def __init__(self, model: str, seq: int, question: int, id: str, *, error: Exception) -> None:
        super().__init__(
            f"model {model!r} fails on entry {seq} of its log ({quoted(id)}): {type(error).__name__}: "
            f"{shown(error, _VALUE_LENGTH)}. Fix its learner, or leave the example out: headrace skip {model} "
            f"{shown(id)}"
        )
        self.model = model
        self.seq = seq
        self.question = question
        self.id = id
        #: The position of the log's message, once known: ledger, entry and batch index.
        self.position: tuple[int, ...] = ()
        self.reason = f"{type(error).__name__}: {shown(error, _VALUE_LENGTH)}"
