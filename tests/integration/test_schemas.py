"""Streams that do not fit the schema of their topic are refused before anything is changed: on the official broker."""

from __future__ import annotations

from collections.abc import Iterator

import pulsar
import pytest
from msgspec import structs

from headrace.definition import Field, FieldType, LoopDefinition, StreamDefinition
from headrace.errors import IncompatibleSchema
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.provisioning import provision
from headrace.runtime.pulsar.stream_schema import StreamSchema
from tests.brokers import Place
from tests.support.departed_stream import STREAM

pytestmark = pytest.mark.official

LOOP = LoopDefinition("airport", (STREAM,), (), (), ())


@pytest.fixture
def admin(official_place: Place) -> Iterator[Admin]:
    """Yield the broker's admin API, with a topic that has the stream's schema."""
    admin = Admin(str(official_place.admin_url))
    provision(admin, LOOP, official_place.namespace)
    client = pulsar.Client(official_place.url)
    topic = official_place.topics("airport").stream(STREAM.name)
    Producer(client, topic, schema=StreamSchema(STREAM)).close()
    client.close()
    yield admin
    admin.close()


def with_field(field: Field) -> LoopDefinition:
    """Return the loop with another field, and a new stream, whose topic must not be made if the field is refused."""
    stream: StreamDefinition = structs.replace(STREAM, fields=(*STREAM.fields, field))
    return structs.replace(LOOP, streams=(structs.replace(STREAM, name="cancelled"), stream))


def test_a_new_required_field_is_refused_before_anything_is_changed(official_place: Place, admin: Admin) -> None:
    lines: list[str] = []
    with pytest.raises(IncompatibleSchema, match=r"field 'gate' is new and required.*Declare `gate: str \| None`"):
        provision(admin, with_field(Field("gate", FieldType.STRING)), official_place.namespace, lines.append)
    assert lines == []
    assert admin.partitions(official_place.topics("airport").stream("cancelled")) is None


def test_a_new_optional_field_is_taken(official_place: Place, admin: Admin) -> None:
    loop = with_field(Field("gate", FieldType.STRING, optional=True))
    assert provision(admin, loop, official_place.namespace) > 0
