"""Pulsar's admin REST API: the few calls that set the partitions and the retention of topics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3

from headrace.errors import InvalidRequest, Unavailable

_TIMEOUT_S = 15.0
_JSON = {"Content-Type": "application/json"}
# Statuses that may be different when the request is repeated.
#: The broker may succeed a moment later: a busy one says "internal error" while its own metadata are slow.
_LATER = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)

#: Every call states the intended result, so it may be repeated.
_RETRIES = urllib3.Retry(
    total=4, connect=0, read=0, redirect=4, status_forcelist=_LATER, allowed_methods=None, backoff_factor=0.2,
    raise_on_status=False,
)  # fmt: skip

_FAILED_CHECK = re.compile(r"schema compatibility check with strategy (\w+)")

_Read = TypeVar("_Read")


class Retention(
    msgspec.Struct, frozen=True, rename={"minutes": "retentionTimeInMinutes", "megabytes": "retentionSizeInMB"}
):
    """The retention of messages that all subscriptions of a topic have acknowledged; -1 means without limit.

    Examples
    --------
    >>> Retention(minutes=60)
    Retention(minutes=60, megabytes=-1)
    """

    minutes: int
    megabytes: int = -1


#: Nothing is ever deleted.
UNLIMITED = Retention(-1)


class _BacklogQuota(msgspec.Struct, frozen=True, rename={"size": "limitSize", "seconds": "limitTime"}):
    size: int
    seconds: int = -1
    policy: str = "consumer_backlog_eviction"


class Subscription(msgspec.Struct, frozen=True, rename="camel"):
    """The backlog of a subscription's readers. `msg_backlog` counts entries: batches, not messages."""

    msg_backlog: int = 0
    unacked_messages: int = 0
    type: str = ""


class TopicStats(msgspec.Struct, frozen=True, rename="camel"):
    """Contents and readers of a topic; sums over its partitions."""

    storage_size: int = 0
    msg_in_counter: int = 0
    subscriptions: dict[str, Subscription] = {}


class Compaction(msgspec.Struct, frozen=True, rename="camel"):
    """Result of a compaction: `status` is NOT_RUN, RUNNING, SUCCESS or ERROR."""

    status: str
    last_error: str = ""


class _Schema(msgspec.Struct):
    data: str


class _Compatibility(msgspec.Struct, frozen=True, rename="camel"):
    compatibility: bool
    schema_compatibility_strategy: str = ""


class _Partitions(msgspec.Struct):
    partitions: int


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    @property
    def reason(self) -> str:
        """The broker's answer, in one line."""
        try:
            answer = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            answer = self.body.decode(errors="replace")
        text = answer.get("reason", answer) if isinstance(answer, dict) else answer
        return " ".join(str(text).split())[:300] or f"status {self.status}"


class Admin:
    """A client of one broker's (or cluster's) admin API.

    All methods raise `Unavailable` if the broker does not answer, or says that it cannot now, and
    `InvalidRequest` if it refuses.

    Parameters
    ----------
    url
        Its address: ``http://127.0.0.1:8080``.
    token
        A token, if the broker requires one.

    Examples
    --------
    ::

        admin = Admin("http://127.0.0.1:8080")
        admin.create_topic("persistent://public/default/flights-departed", partitions=4)
        admin.set_topic_retention("persistent://public/default/flights-departed", Retention(minutes=43_200))
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise InvalidRequest("the admin URL", repr(url), "one such as http://broker:8080")
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            timeout=timeout_s, retries=_RETRIES, headers={"Authorization": f"Bearer {token}"} if token else {}
        )

    def healthy(self) -> bool:
        """Return whether the broker can write and read messages now."""
        try:
            return self._ask("GET", "brokers/health").status == HTTPStatus.OK
        except Unavailable:
            return False

    def clusters(self) -> list[str]:
        """Return the names of the clusters that the broker knows."""
        return self._read(list[str], "clusters")

    def has_namespace(self, namespace: str) -> bool:
        """Return whether a namespace exists."""
        answer = self._ask("GET", f"namespaces/{namespace}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return False
        self._check(answer, f"namespace {namespace}")
        return True

    def create_namespace(self, namespace: str) -> bool:
        """Create a namespace of an existing tenant; return False if it existed already."""
        done = self._ask("PUT", f"namespaces/{namespace}", {"replication_clusters": self.clusters()})
        if done.status == HTTPStatus.CONFLICT:
            return False
        self._check(done, f"namespace {namespace}")
        return True

    def delete_namespace(self, namespace: str) -> None:
        """Delete a namespace and all its topics, if the broker allows that; a missing one is fine."""
        done = self._ask("DELETE", f"namespaces/{namespace}?force=true")
        if done.status != HTTPStatus.NOT_FOUND:
            self._check(done, f"namespace {namespace}")

    def partitions(self, topic: str) -> int | None:
        """Return the number of partitions of a topic: 0 for a plain one, None for a missing one."""
        path = _path(topic)
        answer = self._ask("GET", f"{path}/partitions?checkAllowAutoCreation=false")
        if answer.status != HTTPStatus.NOT_FOUND:
            self._check(answer, topic)
            if count := msgspec.json.decode(answer.body, type=_Partitions).partitions:
                return count
        # An older broker answers 0 for a missing topic as well.
        return 0 if topic in self.topics(_namespace(topic)) else None

    def topics(self, namespace: str) -> list[str]:
        """Return the plain topics of a namespace, including each partition of a partitioned one."""
        return self._read(list[str], f"persistent/{namespace}")

    def create_topic(self, topic: str, partitions: int = 1) -> bool:
        """Create a topic: a plain one for one partition; return False if it existed already, with as many partitions.

        Raises
        ------
        InvalidRequest
            It exists with another number of partitions.
        """
        count = 0 if partitions == 1 else partitions
        path = _path(topic)
        answer = self._ask("PUT", f"{path}/partitions", count) if count else self._ask("PUT", path)
        if answer.status != HTTPStatus.CONFLICT:
            self._check(answer, topic)
            return True
        existing = self.partitions(topic)
        if existing == count or (existing == 1 and partitions == 1):
            return False
        state = "a plain topic (1 partition)" if existing == 0 else f"there with {existing} partitions"
        raise InvalidRequest(
            topic,
            state,
            f"{partitions} partition{'s' if count else ''}: declare as many as there are, or delete it first",
        )

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its contents, even if it is being read; a missing one is fine."""
        existing = self.partitions(topic)
        if existing is not None:
            path = _path(topic)
            done = self._ask("DELETE", f"{path}/partitions?force=true" if existing else f"{path}?force=true")
            if done.status != HTTPStatus.NOT_FOUND:
                self._check(done, topic)

    def schema(self, topic: str) -> str | None:
        """Return the newest schema of a topic, as Avro's JSON; None if there is none."""
        answer = self._ask("GET", f"{_schema_path(topic)}/schema")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        self._check(answer, topic)
        return msgspec.json.decode(answer.body, type=_Schema).data

    def refuses_schema(self, topic: str, schema: str) -> str:
        """Return the compatibility rule by which the broker would refuse a topic's JSON schema; empty if none does."""
        path = f"{_schema_path(topic)}/compatibility"
        answer = self._ask("POST", path, {"type": "JSON", "schema": schema, "properties": {}})
        # Pulsar 4.0 answers an incompatible schema with the failure of its check.
        if match := _FAILED_CHECK.search(answer.reason):
            return match[1]
        self._check(answer, topic)
        verdict = msgspec.json.decode(answer.body, type=_Compatibility)
        return "" if verdict.compatibility else verdict.schema_compatibility_strategy or "its rules"

    def topic_retention(self, topic: str) -> Retention | None:
        """Return a topic's own retention; None if that of its namespace applies."""
        return self._read_if_set(Retention, f"{_path(topic)}/retention")

    def set_topic_retention(self, topic: str, retention: Retention) -> None:
        """Keep the contents of a topic for this long, whether or not they have been read."""
        self._do("POST", f"{_path(topic)}/retention", topic, retention)

    def set_backlog_limit(self, topic: str, size: int) -> None:
        """Let subscriptions of a topic that are more than this many bytes behind continue with newer messages.

        A broker keeps a backlog regardless of its retention, so it refuses a retention that is not above this limit.
        """
        # Set both kinds: the default of the other one would be compared with the retention, too.
        for kind in ("destination_storage", "message_age"):
            self._do("POST", f"{_path(topic)}/backlogQuota?backlogQuotaType={kind}", topic, _BacklogQuota(size))

    def namespace_retention(self, namespace: str) -> Retention | None:
        """Return a namespace's own retention; None if the broker's default applies."""
        return self._read_if_set(Retention, f"namespaces/{namespace}/retention")

    def set_namespace_retention(self, namespace: str, retention: Retention) -> None:
        """Set the retention of all topics of a namespace that have none of their own."""
        self._do("POST", f"namespaces/{namespace}/retention", f"namespace {namespace}", retention)

    def compaction_threshold(self, topic: str) -> int | None:
        """Return the bytes after which the broker compacts a topic by itself; None if its namespace decides."""
        return self._read_if_set(int, f"{_path(topic)}/compactionThreshold")

    def set_compaction_threshold(self, topic: str, size: int) -> None:
        """Let the broker compact a topic by itself each time that this many bytes have been added; 0: never."""
        self._do("POST", f"{_path(topic)}/compactionThreshold", topic, size)

    def compact(self, topic: str) -> None:
        """Start compacting a topic; this has no effect if compaction is under way."""
        done = self._ask("PUT", f"{_path(topic)}/compaction")
        if done.status != HTTPStatus.CONFLICT:
            self._check(done, topic)

    def compaction(self, topic: str) -> Compaction:
        """Return the result of the last compaction of a topic."""
        return self._read(Compaction, f"{_path(topic)}/compaction")

    def stats(self, topic: str) -> TopicStats:
        """Return the contents and the readers of a topic."""
        return self._read(TopicStats, f"{_path(topic)}/{'partitioned-stats' if self.partitions(topic) else 'stats'}")

    def backlog(self, topic: str, subscription: str) -> int:
        """Return how many entries (batches, not messages) a subscription has not acknowledged yet."""
        stats = self.stats(topic).subscriptions.get(subscription)
        return stats.msg_backlog if stats else 0

    def close(self) -> None:
        """Close the client's connections."""
        self._pool.clear()

    def _read(self, kind: type[_Read], path: str) -> _Read:
        return msgspec.json.decode(self._get(path), type=kind)

    def _read_if_set(self, kind: type[_Read], path: str) -> _Read | None:
        body = self._get(path)
        return msgspec.json.decode(body, type=kind) if body and body != b"null" else None

    def _get(self, path: str) -> bytes:
        answer = self._ask("GET", path)
        self._check(answer, path)
        return answer.body

    def _do(self, method: str, path: str, subject: str, body: object) -> None:
        self._check(self._ask(method, path, body), subject)

    def _check(self, answer: _Answer, subject: str) -> None:
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return
        if answer.status in _LATER:
            raise Unavailable(f"broker: {self.url} cannot now ({subject}): {answer.reason}")
        raise InvalidRequest(subject, f"refused by the broker at {self.url} ({answer.status})", answer.reason)

    def _ask(self, method: str, path: str, body: object = None) -> _Answer:
        data = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._pool.request(
                method,
                f"{self.url}/admin/v2/{path}",
                body=data,
                headers={**self._pool.headers, **_JSON},
                redirect=True,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"broker: its admin API at {self.url} does not answer: {_cause(error)}") from error
        return _Answer(answer.status, answer.data)


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    """Return why the API does not answer, without the description of urllib3's own objects before it."""
    reason = getattr(error, "reason", None) or error
    cause = reason.__cause__ or reason
    return getattr(cause, "strerror", None) or str(cause).rpartition("): ")[2]


def _path(topic: str) -> str:
    """Return the path of a topic in the API: ``persistent/public/default/flights-departed``."""
    scheme, separator, rest = topic.partition("://")
    parts = rest.split("/", 2)
    if not separator or len(parts) != 3 or not all(parts):
        raise InvalidRequest("topic", repr(topic), "a whole name such as persistent://public/default/flights-departed")
    return "/".join([scheme, parts[0], parts[1], quote(parts[2], safe="")])


def _schema_path(topic: str) -> str:
    return f"schemas/{_path(topic).partition('/')[2]}"


def _namespace(topic: str) -> str:
    return "/".join(_path(topic).split("/")[1:3])
