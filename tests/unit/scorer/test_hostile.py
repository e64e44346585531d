"""Requests and versions that are made to do harm: each is refused before it costs more than its bound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headrace.definition import ModelDefinition
from headrace.engine.model_version import Version
from headrace.errors import CorruptState, Implausible, InvalidRequest, Overloaded
from headrace.inference import grpc_service_pb2 as pb
from headrace.v1 import models_pb2
from headrace_scorer.grpc.inference import InferenceHandler
from headrace_scorer.grpc.tensors import MOST_VALUES
from headrace_scorer.scorer import Answer, Request
from headrace_scorer.version_trial import VersionTrial
from headrace_scorer.versions import Versions
from tests.unit.scorer.support import FRAUD, LOOP, NUMBERS, WORTH, FakeLog, Notes, event, scorer, version, versions

WIDTH = len(NUMBERS)


def asked(rows: int = 1, outputs: int = 1) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="worth")
    tensor = request.inputs.add(name="numbers", datatype="FP64", shape=[rows, WIDTH])
    tensor.contents.fp64_contents.extend([0.0] * min(rows * WIDTH, 100))
    request.outputs.extend([pb.ModelInferRequest.InferRequestedOutputTensor(name="score")] * outputs)
    return request


def inference() -> InferenceHandler:
    registry = versions(version(WORTH))
    return InferenceHandler(registry, scorer(registry))


async def test_an_output_is_given_once() -> None:
    await inference().ModelInfer(asked(), None)
    with pytest.raises(InvalidRequest, match="200,000 names, some of them twice"):
        await inference().ModelInfer(asked(outputs=200_000), None)


async def test_more_values_than_a_request_may_have_are_refused_before_any_is_made() -> None:
    with pytest.raises(InvalidRequest, match=f"at most {MOST_VALUES:,} values"):
        await inference().ModelInfer(asked(rows=2**40), None)


async def test_an_error_names_no_more_than_a_few_of_a_callers_names() -> None:
    request = asked()
    for number in range(5_000):
        request.inputs.add(name=f"n{number}", datatype="FP64", shape=[1] * 5_000)
    with pytest.raises(InvalidRequest) as caught:
        await inference().ModelInfer(request, None)
    assert len(str(caught.value)) < 1_000
    request = asked()
    request.inputs[0].shape.extend([1] * 100_000)
    with pytest.raises(InvalidRequest) as caught:
        await inference().ModelInfer(request, None)
    assert len(str(caught.value)) < 1_000


async def test_a_batch_counts_as_many_as_it_holds() -> None:
    service = scorer(versions(version(WORTH)), max_in_flight=10)
    requests = [Request("worth", event())] * 6
    assert len(await service.score_many(requests)) == 6
    with service.room(5), pytest.raises(Overloaded, match="5 of 10 requests under way, no room for 6"):
        await service.score_many(requests)
    with pytest.raises(InvalidRequest, match="of 11 requests, expected at most 10"):
        await service.score_many([Request("worth", event())] * 11)
    assert len(await service.score_many(requests)) == 6


def made_by(node: list[onnx.NodeProto], *constants: onnx.TensorProto, examples: int = 60) -> models_pb2.ModelVersion:
    """Return a version of `worth` with this graph; its output is the tensor `score`."""
    inputs = [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, [None, WIDTH])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.DOUBLE, [None])]
    graph = helper.make_graph(node, "g", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    data = model.SerializeToString()
    return version(WORTH, examples, onnx=data, sha256=hashlib.sha256(data).digest())


def constant(value: float, of: ModelDefinition = WORTH, examples: int = 90) -> models_pb2.ModelVersion:
    """Return a version that answers `value`, unless each of its numbers is missing, 0 or 1."""
    number = helper.make_tensor("number", TensorProto.DOUBLE, [], [value])
    half = helper.make_tensor("half", TensorProto.DOUBLE, [], [0.5])
    two = helper.make_tensor("two", TensorProto.DOUBLE, [], [2.0])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMax", ["numbers", "axis"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "two"], ["odd"]),
        helper.make_node("Where", ["odd", "number", "half"], ["score"]),
    ]
    forged = made_by(nodes, number, half, two, axis, examples=examples)
    if of is not WORTH:
        result = version(of, examples)
        result.onnx, result.sha256 = forged.onnx, forged.sha256
        return result
    return forged


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_version_with_an_implausible_answer_is_followed_by_the_one_before(value: float) -> None:
    registry = versions(version(WORTH))
    registry.offer([constant(value)])
    notes, log = Notes(), FakeLog()
    registry._note = notes
    asking = scorer(registry, log=log)
    assert registry.examples()["worth"] == 90
    answer = await asking.score(Request("worth", event(), "q1"))
    assert (answer.batch.version.examples, registry.examples()["worth"]) == (60, 60)
    assert [what for what, _ in notes.told] == ["version_implausible"]
    assert "expected a finite number" in notes.reasons
    # It does not come back, however often it is on the topic; the next one does.
    assert registry.offer([constant(value)]) == {}
    assert registry.offer([version(WORTH, 120)]) != {}


async def test_without_one_before_there_is_no_answer() -> None:
    registry = versions(constant(float("nan")))
    with pytest.raises(Implausible, match="version 90 has no answer"):
        await scorer(registry).score(Request("worth", event()))
    assert registry.examples() == {}


async def test_a_number_too_large_is_its_callers_mistake_and_the_version_stays() -> None:
    registry = versions(version(WORTH))
    log = FakeLog()
    asking = scorer(registry, log=log)
    huge = json.dumps({"card": "c1", "shop": "s1", "amount": 1e308, "kind": "web"}).encode()
    found = await asking.score_many([Request("worth", event(), "a"), Request("worth", huge, "b")])
    assert isinstance(found[0], Answer)
    if not isinstance(found[1], Answer):
        assert isinstance(found[1], Implausible)
        assert ("worth", "b") not in log.entries
    assert registry.examples()["worth"] == 60


@pytest.mark.parametrize("value", [42.0, -0.1, float("nan"), float("inf")])
def test_no_version_answers_that_is_implausible_when_it_is_tried(value: float) -> None:
    notes = Notes()
    number = helper.make_tensor("number", TensorProto.DOUBLE, [], [value])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMax", ["numbers", "axis"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "largest"], ["ignored"]),
        helper.make_node("Where", ["odd", "number", "number"], ["score"]),
        helper.make_node("IsNaN", ["ignored"], ["odd"]),
    ]
    nodes[2], nodes[3] = nodes[3], nodes[2]
    forged = made_by(nodes, number, axis)
    binary = ModelDefinition("worth", "paid", "is_fraud", FRAUD.task, NUMBERS, "x", vectors="requests")
    forged.task, forged.definition = binary.task.value, binary.hash
    with pytest.raises(CorruptState, match="expected a probability"):
        Version(binary, forged)
    assert notes.told == []


def test_nobody_has_learned_more_examples_than_the_log_has_entries() -> None:
    notes = Notes()
    registry = Versions(LOOP, notes, entries=lambda model: 100)
    forged = version(FRAUD, 60)
    forged.examples = 2**62
    assert registry.offer([version(FRAUD, 60), forged]) != {}
    assert registry.examples() == {"fraud": 60}
    assert "the log of its model has had 100 entries" in notes.reasons
    registry.offer([version(FRAUD, 80)])
    assert registry.examples() == {"fraud": 80}


def test_the_learner_corrects_a_version_that_it_has_not_learned() -> None:
    forged, right = version(FRAUD, 99), version(FRAUD, 70, corrects=True)
    for messages in ([[forged], [right]], [[forged, right]]):
        registry = Versions(LOOP, Notes())
        for batch in messages:
            registry.offer(batch)
        assert registry.examples() == {"fraud": 70}


@pytest.fixture
def trial() -> Iterator[VersionTrial]:
    trial = VersionTrial(seconds=10.0, extra_bytes=2**28)
    yield trial
    trial.close()


def outer(width: int) -> models_pb2.ModelVersion:
    """Return a few megabytes that multiply to a table of width × width."""
    nodes = [
        helper.make_node("MatMul", ["column", "row"], ["table"]),
        helper.make_node("ReduceMax", ["table"], ["most"], keepdims=0),
        helper.make_node("ReduceSum", ["numbers", "axis"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "most"], ["score"]),
    ]
    column = helper.make_tensor("column", TensorProto.DOUBLE, [width, 1], np.zeros(width))
    row = helper.make_tensor("row", TensorProto.DOUBLE, [1, width], np.zeros(width))
    return made_by(nodes, column, row, helper.make_tensor("axis", TensorProto.INT64, [1], [1]))


def test_a_version_that_takes_too_much_memory_harms_its_trial_only(trial: VersionTrial) -> None:
    with pytest.raises(CorruptState):
        trial.try_version(WORTH, outer(40_000))
    trial.try_version(WORTH, version(WORTH))
    trial.try_version(FRAUD, version(FRAUD))


def table_of(*width: onnx.NodeProto, constants: list[onnx.TensorProto], examples: int = 90) -> models_pb2.ModelVersion:
    """Return a version that makes a table of `size` and answers 0.5, unless that fails."""
    zero = helper.make_tensor("zero", TensorProto.DOUBLE, [], [0.0])
    half = helper.make_tensor("half", TensorProto.DOUBLE, [], [0.5])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numbers"], ["values"]),
        helper.make_node("ReduceMax", ["values", "axis"], ["largest"], keepdims=0),
        *width,
        helper.make_node("ConstantOfShape", ["size"], ["table"]),
        helper.make_node("ReduceSum", ["table"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["nothing"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["largest", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "half"], ["halves"]),
        helper.make_node("Add", ["halves", "nothing"], ["score"]),
    ]
    return made_by(nodes, zero, half, axis, *constants, examples=examples)


def wide(width: int) -> models_pb2.ModelVersion:
    """Return a version that makes a table of `width` numbers for each vector."""
    size = [
        helper.make_node("Shape", ["largest"], ["rows"]),
        helper.make_node("Concat", ["rows", "width"], ["size"], axis=0),
    ]
    return table_of(*size, constants=[helper.make_tensor("width", TensorProto.INT64, [1], [width])])


def test_a_version_whose_memory_grows_with_the_vectors_is_refused(trial: VersionTrial) -> None:
    trial.try_version(WORTH, wide(1_000))
    with pytest.raises(CorruptState, match="no answers to 1,000 vectors at once"):
        trial.try_version(WORTH, wide(10_000_000))


async def test_a_value_that_a_version_makes_a_table_of_costs_the_version() -> None:
    size = [
        helper.make_node("ReduceMax", ["largest"], ["most"], keepdims=1),
        helper.make_node("Cast", ["most"], ["size"], to=TensorProto.INT64),
    ]
    registry = versions(version(WORTH))
    registry.offer([table_of(*size, constants=[])])
    asking = scorer(registry)
    assert (await asking.score(Request("worth", event(amount=1e3)))).score == 0.5
    answer = await asking.score(Request("worth", event(amount=1e13)))
    assert (answer.batch.version.examples, registry.examples()["worth"]) == (60, 60)


def test_a_child_that_was_started_early_tries_the_first_version(trial: VersionTrial) -> None:
    trial.start()
    started = trial._child
    assert started is not None
    trial.start()
    trial.try_version(WORTH, version(WORTH))
    assert trial._child is started


def test_a_version_that_takes_too_long_is_refused() -> None:
    trial = VersionTrial(seconds=0.0)
    try:
        with pytest.raises(CorruptState, match="took more than 0 s"):
            trial.try_version(WORTH, version(WORTH))
    finally:
        trial.close()


def test_no_version_holds_a_loop() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, [])],
    )
    forever = helper.make_node("Loop", ["", "yes"], [], body=body)
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    forged = made_by([forever, helper.make_node("ReduceSum", ["numbers", "axis"], ["score"], keepdims=0)], yes, axis)
    with pytest.raises(CorruptState, match="'Loop': loops, branches"):
        Version(WORTH, forged)
