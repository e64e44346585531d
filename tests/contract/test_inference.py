"""The Open Inference Protocol, called by its public client, `tritonclient`, unmodified.

The client runs in its own process: its messages have the same names as ours, and one process can
hold only one of each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from headrace import embedded
from headrace.inference import grpc_service_pb2 as pb
from headrace.inference import grpc_service_pb2_grpc
from tests.brokers import on_the_small
from tests.deadline import scaled
from tests.integration.scoring import Running, running
from tests.unit.scorer.support import FRAUD, SORT, asked_of_river, learner, version

NUMBERS = [[3.5, 1.0, float("nan"), 12.5, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
TEXTS = [["web"], [""]]
NAMES = [feature.name for feature in FRAUD.features if feature.type == "float"]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("inference")
    with (
        embedded.broker(directory) as broker,
        embedded.store(directory) as store,
        running(directory, on_the_small(broker), store) as service,
    ):
        service.publish(version(FRAUD), version(SORT))
        yield service


@pytest.fixture(scope="module")
def stub(scorer: Running) -> grpc_service_pb2_grpc.GRPCInferenceServiceStub:
    return grpc_service_pb2_grpc.GRPCInferenceServiceStub(scorer.channel)  # type: ignore[no-untyped-call]


def with_tritonclient(address: str, script: str) -> Any:
    """Run a script with a connected `client`, `grpcclient`, `np` and the vectors; return what it prints."""
    program = f"""
import json, sys
import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException
nan = float("nan")
NUMBERS, TEXTS = {NUMBERS!r}, {TEXTS!r}
client = grpcclient.InferenceServerClient({address!r})
def inputs(numbers=NUMBERS, texts=TEXTS):
    made = []
    if numbers is not None:
        made.append(grpcclient.InferInput("numbers", np.shape(numbers), "FP64"))
        made[-1].set_data_from_numpy(np.array(numbers, np.float64))
    if texts is not None:
        made.append(grpcclient.InferInput("categories", np.shape(texts), "BYTES"))
        made[-1].set_data_from_numpy(np.array(texts, object))
    return made
{script}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=scaled(60), check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expected() -> list[float]:
    pipeline = learner(FRAUD)
    vectors = [
        dict(zip(NAMES, numbers, strict=True)) | {"kind": texts[0] or None}
        for numbers, texts in zip(NUMBERS, TEXTS, strict=True)
    ]
    return [asked_of_river(FRAUD, pipeline, vector) for vector in vectors]


def test_tritonclient_finds_the_server_and_its_models(scorer: Running) -> None:
    found = with_tritonclient(
        scorer.address,
        """
metadata = client.get_model_metadata("fraud", as_json=True)
print(json.dumps({
    "live": client.is_server_live(), "ready": client.is_server_ready(), "name": client.get_server_metadata().name,
    "models": [client.is_model_ready(name) for name in ("fraud", "worth", "none")],
    "versions": [client.is_model_ready("fraud", "60"), client.is_model_ready("fraud", "61")],
    "metadata": metadata, "sort": client.get_model_metadata("sort", as_json=True)["outputs"],
}))
""",
    )
    assert found["live"] is True
    assert found["ready"] is False, "model `worth` has no version yet"
    assert found["name"] == "headrace"
    assert found["models"] == [True, False, False]
    assert found["versions"] == [True, False]
    metadata = found["metadata"]
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("fraud", ["60"], "onnxruntime_onnx")
    assert metadata["inputs"] == [
        {"name": "numbers", "datatype": "FP64", "shape": ["-1", "5"]},
        {"name": "categories", "datatype": "BYTES", "shape": ["-1", "1"]},
    ]
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP64", "shape": ["-1"]}]
    assert [(tensor["name"], tensor["shape"]) for tensor in found["sort"]] == [
        ("probabilities", ["-1", "3"]),
        ("label", ["-1"]),
    ]


def test_tritonclient_infers(scorer: Running) -> None:
    found = with_tritonclient(
        scorer.address,
        """
whole = client.infer("fraud", inputs(), request_id="7")
named = client.infer("fraud", inputs(), model_version="60", outputs=[grpcclient.InferRequestedOutput("score")])
sort = client.infer("sort", inputs(texts=None))
print(json.dumps({
    "score": whole.as_numpy("score").tolist(), "named": named.as_numpy("score").tolist(),
    "id": whole.get_response().id, "version": whole.get_response().model_version,
    "raw": len(whole.get_response().raw_output_contents),
    "probabilities": sort.as_numpy("probabilities").tolist(),
    "label": [label.decode() for label in sort.as_numpy("label")],
}))
""",
    )
    assert found["score"] == pytest.approx(expected(), rel=1e-12)
    assert found["named"] == found["score"]
    assert (found["id"], found["version"], found["raw"]) == ("7", "60", 1)
    pipeline = learner(SORT)
    for row, numbers in enumerate(NUMBERS):
        probabilities = asked_of_river(SORT, pipeline, dict(zip(NAMES, numbers, strict=True)))
        assert dict(zip("abc", found["probabilities"][row], strict=True)) == pytest.approx(probabilities, rel=1e-12)
        assert found["label"][row] == max(probabilities, key=probabilities.get)


def test_tritonclient_is_told_what_is_wrong(scorer: Running) -> None:
    found = with_tritonclient(
        scorer.address,
        """
wrong = {
    "width": lambda: client.infer("fraud", inputs(numbers=[[1.0, 2.0]] * 2)),
    "missing": lambda: client.infer("fraud", inputs(texts=None)),
    "lengths": lambda: client.infer("fraud", inputs(texts=[["web"]])),
    "output": lambda: client.infer("fraud", inputs(), outputs=[grpcclient.InferRequestedOutput("scores")]),
    "model": lambda: client.infer("none", inputs()),
    "early": lambda: client.infer("worth", inputs(texts=None)),
    "version": lambda: client.infer("fraud", inputs(), model_version="1"),
}
float32 = grpcclient.InferInput("numbers", [2, 5], "FP32")
float32.set_data_from_numpy(np.zeros((2, 5), np.float32))
wrong["datatype"] = lambda: client.infer("fraud", [float32, *inputs(numbers=None)])
told = {}
for name, call in wrong.items():
    try:
        call()
    except InferenceServerException as error:
        told[name] = [error.status(), error.message()]
print(json.dumps(told))
""",
    )
    argument = "StatusCode.INVALID_ARGUMENT"
    assert {name: status for name, (status, _) in found.items()} == {
        **dict.fromkeys(("width", "missing", "lengths", "output", "version", "datatype"), argument),
        "model": "StatusCode.NOT_FOUND",
        "early": "StatusCode.FAILED_PRECONDITION",
    }
    parts = {
        "width": "input 'numbers': shape is [2, 2], expected [N, 5]",
        "missing": "inputs is 'numbers', expected one each of 'numbers', 'categories'",
        "lengths": "same first dimension",
        "output": "outputs is 'scores', expected one of 'score'",
        "version": "'60'",
        "datatype": "input 'numbers': datatype is 'FP32', expected FP64",
    }
    for name, part in parts.items():
        assert part in found[name][1]


def typed(**changes: Any) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor
    numbers = tensor(name="numbers", datatype="FP64", shape=[2, 5])
    numbers.contents.fp64_contents.extend(value for row in NUMBERS for value in row)
    texts = tensor(name="categories", datatype="BYTES", shape=[2, 1])
    texts.contents.bytes_contents.extend(row[0].encode() for row in TEXTS)
    return pb.ModelInferRequest(**{"model_name": "fraud", "inputs": [texts, numbers], **changes})


def test_typed_contents_are_answered_typed(stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    answer = stub.ModelInfer(typed())
    (score,) = answer.outputs
    assert (score.name, score.datatype, list(score.shape)) == ("score", "FP64", [2])
    assert list(score.contents.fp64_contents) == pytest.approx(expected(), rel=1e-12)
    assert not answer.raw_output_contents


def test_an_empty_batch_is_an_empty_answer(stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor
    inputs = [
        tensor(name="numbers", datatype="FP64", shape=[0, 5]),
        tensor(name="categories", datatype="BYTES", shape=[0, 1]),
    ]
    (score,) = stub.ModelInfer(pb.ModelInferRequest(model_name="fraud", inputs=inputs)).outputs
    assert list(score.shape) == [0]


def raw(numbers: bytes | None = None, texts: bytes = b"\x03\0\0\0web\0\0\0\0", count: int = 2) -> list[bytes]:
    return [texts, np.array(NUMBERS).tobytes() if numbers is None else numbers][:count]


@pytest.mark.parametrize(
    ("contents", "names"),
    [
        (raw(numbers=bytes(79)), "79 bytes long, expected 80 bytes"),
        (raw(texts=b"\x03\0\0\0web"), "of 1 elements, expected 2"),
        (raw(texts=b"\x09\0\0\0web\0\0\0\0"), "cut off"),
        (raw(texts=b"\x03\0\0\0web\x01\0\0\0\xff"), "not UTF-8"),
        (raw(count=1), "raw_input_contents is of 1 entries"),
    ],
)
def test_raw_contents_that_do_not_fit_are_refused(
    stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub, contents: list[bytes], names: str
) -> None:
    request = typed()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend(raw())
    assert len(stub.ModelInfer(request).raw_output_contents) == 1
    request.ClearField("raw_input_contents")
    request.raw_input_contents.extend(contents)
    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(request)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert names in failure.value.details()


def test_contents_given_twice_or_too_few_are_refused(stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    both = typed()
    both.raw_input_contents.extend(raw())
    few = typed()
    few.inputs[1].contents.fp64_contents.pop()
    huge = typed()
    huge.inputs[1].shape[:] = [2**62, 5]
    for request, names in ((both, "given twice"), (few, "of 9 elements"), (huge, "at most 2,097,152 values")):
        with pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(request)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert names in failure.value.details()


def test_the_messages_have_the_numbers_of_the_public_client() -> None:
    script = """
import json
import tritonclient.grpc.service_pb2 as pb
def fields(message):
    members = {field.name: [field.number, field.type] for field in message.fields}
    return members | {inner.name: fields(inner) for inner in message.nested_types}
print(json.dumps({name: fields(message) for name, message in pb.DESCRIPTOR.message_types_by_name.items()}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(60), check=True
    )
    theirs = json.loads(done.stdout)

    def fields(message: Any) -> dict[str, Any]:
        members: dict[str, Any] = {field.name: [field.number, field.type] for field in message.fields}
        return members | {inner.name: fields(inner) for inner in message.nested_types}

    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        for field, number in fields(message).items():
            assert theirs[name][field] == number, f"{name}.{field}"
