"""Fold and assemble into the store with one worker, beside a bare consumer that only decodes, in one run.

The worker is the real process with role fold: the flights loop's twelve views, a vector of 24 features for each
scheduled flight, and every write durable in its order. Both read the same topics of a local broker, filled beforehand.

    python tests/bench/bench_feature.py [events]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pulsar

from headrace import compiler, embedded
from headrace.client.merging import merge, sources_of
from headrace.definition import LoopDefinition
from headrace.demo.dataset import prepare
from headrace.engine.events import StreamCodec
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.stream_schema import StreamSchema
from headrace.wire import compiled_loop
from headrace.wire.topics import END, Topics

LOOP = Path(__file__).parents[2] / "sdk/src/headrace/demo/loop.py"


def fill(client: pulsar.Client, loop: LoopDefinition, files: dict[str, Path]) -> int:
    """Write the events to their topics in order of event time; return how many."""
    topics = Topics(loop.name)
    producers = [
        Producer(client, topics.stream(stream.name), batching=True, schema=StreamSchema(stream))
        for stream in loop.streams
    ]
    count = 0
    for row in merge(sources_of(loop, [(path, stream) for stream, path in files.items()])):
        producers[row.rank].send(row.event)
        count += 1
    for producer in producers:
        producer.send(b"", properties={END: "1"})
        producer.flush()
    return count


def bare(client: pulsar.Client, loop: LoopDefinition, events: int) -> float:
    """Return the seconds taken by a consumer that only decodes."""
    topics = Topics(loop.name)
    codecs = [StreamCodec(stream) for stream in loop.streams]
    # Without a report of an owner, a consumer does not look further if the embedded broker forgets it.
    consumers = [
        PartitionConsumer(client, topics.stream(stream.name), "bare", owner_progress=OwnerProgress)
        for stream in loop.streams
    ]
    left, started, owned = events, time.perf_counter(), set()
    while left:
        for codec, consumer in zip(codecs, consumers, strict=True):
            batch = consumer.receive()
            if batch and consumer not in owned:
                batch = consumer.start_here(batch)
                owned.add(consumer)
            payloads = [payload for payload in batch.payloads if payload]
            if payloads:
                left -= len(codec.columns(payloads)[0])
    took = time.perf_counter() - started
    for consumer in consumers:
        consumer.close()
    return took


def worker(client: pulsar.Client, loop: LoopDefinition, environment: dict[str, str]) -> tuple[float, int]:
    """Return the seconds from the worker's first message to its last vector, and the number of vectors."""
    (model,) = loop.models
    reader = LogReader(client, Topics(loop.name).features(model.name))
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace_feature", "--role", "fold"], env={**os.environ, **environment}
    )
    started, vectors, ended = 0.0, 0, False
    try:
        while not ended:
            batch = reader.receive(timeout_ms=50)
            started = started or (time.perf_counter() if batch else 0.0)
            vectors += sum(1 for payload in batch.payloads if payload)
            ended = ended or any(properties.get("release_watermark") == "ended" for properties in batch.properties)
        return time.perf_counter() - started, vectors
    finally:
        process.terminate()
        process.wait()


def main(events: int) -> dict[str, float]:
    """Measure both."""
    loop = compiler.load(LOOP).definition
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        files = prepare(data / "files", events)
        (data / "loop.json").write_bytes(compiled_loop.encode(loop))
        with embedded.broker(data / "broker") as broker, embedded.store(data / "store") as store:
            client = pulsar.Client(broker.url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
            count = fill(client, loop, files)
            decoding = bare(client, loop, count)
            environment = {
                "HEADRACE_PULSAR_URL": broker.url,
                "HEADRACE_REDIS_URL": store.url,
                "HEADRACE_LOOP": str(data / "loop.json"),
                "HEADRACE_DATA": str(data),
            }
            working, _ = worker(client, loop, environment)
            client.close()
    return {
        "events": count,
        "fold_events_per_s": round(count / working),
        "decode_only_events_per_s": round(count / decoding),
        "fold_to_decode": round(decoding / working, 3),
        "goal_events_per_s": 30_000,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)))
