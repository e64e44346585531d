"""Limits on the cost of calls: parts of a request, requests and streams in flight, and replies to refused callers."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Overloaded
from headrace.runtime.grpc.call_limits import (
    CallLimits,
    Load,
    TooManyFields,
    decoding,
    has_more_fields,
    retry_delay,
    retry_details,
)
from headrace.runtime.grpc.server import _abort
from headrace.v1 import scoring_pb2
from tests.deadline import scaled
from tests.support.limited_server import serving

BATCH = "/headrace.v1.ScoringService/ScoreBatch"


@given(counts=st.lists(st.integers(0, 3), max_size=6), most=st.integers(0, 12), size=st.integers(0, 300))
def test_fields_are_counted_as_the_decoder_counts_them(counts: list[int], most: int, size: int) -> None:
    request = scoring_pb2.ScoreBatchRequest()
    for count in counts:
        request.requests.extend([scoring_pb2.ScoreRequest(model="m" * size)] * count)
    assert has_more_fields(request.SerializeToString(), most) == (len(request.requests) > most)


@given(st.binary(max_size=60), st.integers(0, 20))
def test_no_bytes_make_counting_fail(data: bytes, most: int) -> None:
    assert has_more_fields(data, most) in (True, False)


def test_a_request_of_too_many_parts_is_not_decoded() -> None:
    decoded: list[bytes] = []
    read = decoding(lambda data: decoded.append(data), 4)
    assert isinstance(read(b"\x0a\x00" * 1_000_000), TooManyFields)
    assert decoded == []
    read(b"\x0a\x00" * 4)
    assert decoded == [b"\x0a\x00" * 4]


def test_a_refused_caller_reads_when_to_send_again() -> None:
    assert retry_delay({"grpc-status-details-bin": retry_details("full", 2.5)}) == 2.5
    assert retry_delay({}) is None


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_requests_beyond_the_bound_are_refused_at_once_with_a_delay() -> None:
    async with serving(CallLimits(held=2)) as (stub, slow):
        waiting = [stub.Score(scoring_pb2.ScoreRequest()) for _ in range(2)]
        for _ in waiting:
            await slow.entered.get()
        error = await refusal(stub.Score(scoring_pb2.ScoreRequest()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_delay(dict(error.trailing_metadata())) == Overloaded("").retry_s  # type: ignore[arg-type]
        slow.go.set()
        await asyncio.gather(*waiting)
        await stub.Score(scoring_pb2.ScoreRequest())


async def test_what_is_refused_was_not_received() -> None:
    async with serving(CallLimits(held=1, message_bytes=1_000)) as (stub, slow):
        first = stub.Score(scoring_pb2.ScoreRequest())
        await slow.entered.get()
        error = await refusal(stub.Score(scoring_pb2.ScoreRequest(event=b"x" * 3_000_000)))
        # The transport would have refused it as larger than the largest.
        assert error.details() == "1 requests of 0 bytes are under way; send again later"
        assert (await refusal(stub.ScoreStream().read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        slow.go.set()
        await first


async def test_a_request_that_waited_to_be_received_is_refused_if_there_is_no_more_room() -> None:
    load = Load(CallLimits(held=1, receiving=1))
    release = await load.receive()
    waiting = asyncio.create_task(load.receive())
    await asyncio.sleep(0)
    with load.holding(10):
        release()
        with pytest.raises(Overloaded):
            await waiting
    (await load.receive())()


async def test_bytes_beyond_the_bound_are_refused_and_one_large_request_is_not() -> None:
    async with serving(CallLimits(held_bytes=1_000)) as (stub, slow):
        large = scoring_pb2.ScoreRequest(event=b"x" * 5_000)
        first = stub.Score(large)
        await slow.entered.get()
        assert (await refusal(stub.Score(large))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        slow.go.set()
        await first


async def test_streams_beyond_the_bound_are_refused() -> None:
    async with serving(CallLimits(streams=1)) as (stub, _):
        first = stub.ScoreStream()
        await first.write(scoring_pb2.ScoreStreamRequest())
        await first.read()
        error = await refusal(stub.ScoreStream().read())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF
        again = stub.ScoreStream()
        await again.write(scoring_pb2.ScoreStreamRequest())
        await again.read()


async def test_streams_of_reflection_count() -> None:
    async with serving(CallLimits(streams=1)) as (_, slow), grpc.aio.insecure_channel(slow.address) as channel:
        reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        first = reflect()
        await first.write(b"\x3a\x00")
        await first.read()
        assert (await refusal(reflect().read())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["headrace.v1.ScoringService/Score", "grpc.health.v1.Health/Check"])
@pytest.mark.parametrize("receiving", [None, 1])
async def test_a_call_without_its_request_ends(method: str, receiving: int | None) -> None:
    limits = CallLimits(calls=1, receiving=receiving, awaited_s=scaled(0.2))
    async with serving(limits) as (stub, slow), grpc.aio.insecure_channel(slow.address) as channel:
        slow.go.set()
        # A stream to the client: it begins the call, and sends nothing.
        silent = channel.stream_unary(f"/{method}")()
        assert await silent.code() is grpc.StatusCode.INVALID_ARGUMENT
        await stub.Score(scoring_pb2.ScoreRequest())


async def test_a_refusal_that_is_being_sent_holds_no_request() -> None:
    class Context:
        def trailing_metadata(self) -> tuple[()]:
            return ()

        async def abort(self, *_: object) -> None:
            held.append(request_ref() is not None)

    class Request:
        pass

    def refuse(request: Request) -> None:
        raise Overloaded("full")

    held: list[bool] = []
    request = Request()
    request_ref = weakref.ref(request)
    error: Exception | None = None
    try:
        refuse(request)
    except Overloaded as raised:
        error = raised
    del request
    assert request_ref() is not None
    assert error is not None
    await _abort(Context(), error)
    assert held == [False]


async def test_calls_without_their_requests_keep_a_quarter_of_the_places() -> None:
    limits = CallLimits(calls=4, awaited_s=scaled(0.2))
    async with serving(limits) as (stub, slow), grpc.aio.insecure_channel(slow.address) as channel:
        slow.go.set()
        begin = channel.stream_unary("/headrace.v1.ScoringService/Score")
        calls = [begin() for _ in range(4)]
        for call in calls:
            await call.wait_for_connection()
        codes = asyncio.as_completed([call.code() for call in calls])
        for _ in range(3):
            assert await next(codes) is grpc.StatusCode.INVALID_ARGUMENT
        for _ in range(3):
            await stub.Score(scoring_pb2.ScoreRequest())
        (late,) = [call for call in calls if not call.done()]
        await late.write(b"")
        await late.done_writing()
        assert await next(codes) is grpc.StatusCode.OK


async def test_a_batch_of_too_many_parts_is_the_callers_mistake() -> None:
    async with serving(CallLimits(fields={BATCH: 3})) as (stub, _):
        requests = [scoring_pb2.ScoreRequest() for _ in range(4)]
        await stub.ScoreBatch(scoring_pb2.ScoreBatchRequest(requests=requests[:3]))
        error = await refusal(stub.ScoreBatch(scoring_pb2.ScoreBatchRequest(requests=requests)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "at most 3" in (error.details() or "")


async def test_requests_are_received_one_after_another_where_that_is_declared() -> None:
    async with serving(CallLimits(receiving=1)) as (stub, slow):
        slow.go.set()
        for _ in range(3):
            await stub.Score(scoring_pb2.ScoreRequest())


async def test_a_request_beyond_the_largest_is_refused_by_the_transport() -> None:
    async with serving(CallLimits(message_bytes=1_000)) as (stub, slow):
        slow.go.set()
        await stub.Score(scoring_pb2.ScoreRequest(model="m" * 900))
        with pytest.raises(grpc.aio.AioRpcError, match=r"larger than max \(\d+ vs. 1000\)"):
            await stub.Score(scoring_pb2.ScoreRequest(model="m" * 1_100))


async def test_a_request_that_cannot_be_decoded_is_the_callers_mistake() -> None:
    async with serving(CallLimits(receiving=1)) as (_, slow), grpc.aio.insecure_channel(slow.address) as channel:
        score = channel.unary_unary("/headrace.v1.ScoringService/Score")
        stream = channel.stream_stream("/headrace.v1.ScoringService/ScoreStream")
        # Each would keep the only place for five seconds.
        async with asyncio.timeout(scaled(20)):
            for _ in range(10):
                error = await refusal(score(b"\xff"))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert error.details() == (
                    "the request is not decodable, expected a message of the method, as protos/headrace declares it"
                )
        assert (await refusal(stream([b"\xff"]).read())).code() is grpc.StatusCode.INVALID_ARGUMENT
