"""`inference.GRPCInferenceService`: the Open Inference Protocol, where the caller gives the vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.definition import FieldType, ModelDefinition, Task
from headrace.engine.model_version import CATEGORIES, NUMBERS, PROBABILITIES, SCORE, Scores, Version
from headrace.errors import HeadraceError, InvalidRequest
from headrace.inference import grpc_service_pb2 as pb
from headrace.inference import grpc_service_pb2_grpc
from headrace_scorer.grpc.tensors import BYTES, FP64, MOST_VALUES, check_outputs, read_inputs, write_outputs
from headrace_scorer.scorer import Scorer
from headrace_scorer.versions import Versions

#: The predicted class: an output of multiclass models only.
LABEL = "label"

_VERSION = "0.1.0"

#: This many rows count as one request: they need no read from the store.
_ROWS_A_REQUEST = 32


class InferenceHandler(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """See `protos/headrace/inference/grpc_service.proto`.

    A model's version is named by the number of examples it learned; only the one that answers is available.
    """

    def __init__(self, versions: Versions, scorer: Scorer) -> None:
        self._versions = versions
        self._scorer = scorer

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=all(self._versions.find(model.name) for model in self._versions.models))

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:  # noqa: N802
        try:
            self._version(request.name, request.version)
        except HeadraceError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="headrace", version=_VERSION)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        version = self._version(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self._versions.model(version.model.name).title,
            versions=[str(version.examples)],
            platform="onnxruntime_onnx",
            inputs=[
                tensor(name=name, datatype=datatype, shape=[-1, width])
                for name, (datatype, width) in _inputs(version.model).items()
            ],
            outputs=[
                tensor(name=name, datatype=datatype, shape=shape)
                for name, datatype, shape in _outputs(version.model, len(version.classes))
            ],
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        version = self._version(request.model_name, request.model_version)
        names = [output.name for output in request.outputs]
        check_outputs(names, [name for name, _, _ in _outputs(version.model, 0)])
        inputs, raw = read_inputs(request, _inputs(version.model))
        numbers, texts = inputs.get(NUMBERS), inputs.get(CATEGORIES)
        size = len(next(iter(inputs.values())))
        _check_work(size, version)
        response = pb.ModelInferResponse(
            model_name=self._versions.model(version.model.name).title,
            model_version=str(version.examples),
            id=request.id,
        )
        with self._scorer.room(size // _ROWS_A_REQUEST + 1):
            scores = await self._scorer.score_given(version, np.empty((size, 0)) if numbers is None else numbers, texts)
        write_outputs(response, _named(version, scores), names, raw)
        return response

    def _version(self, model: str, version: str) -> Version:
        current = self._versions.current(model)
        if version not in ("", str(current.examples)):
            raise InvalidRequest(
                "model_version", repr(version), f"{str(current.examples)!r}, which answers now, or none"
            )
        return current


def _inputs(model: ModelDefinition) -> dict[str, tuple[str, int]]:
    texts = sum(feature.type is FieldType.STRING for feature in model.features)
    widths = {NUMBERS: (FP64, len(model.features) - texts), CATEGORIES: (BYTES, texts)}
    return {name: (datatype, width) for name, (datatype, width) in widths.items() if width}


def _outputs(model: ModelDefinition, classes: int) -> list[tuple[str, str, list[int]]]:
    if model.task is Task.MULTICLASS:
        return [(PROBABILITIES, FP64, [-1, classes]), (LABEL, BYTES, [-1])]
    return [(SCORE, FP64, [-1])]


def _check_work(rows: int, version: Version) -> None:
    """Refuse a request whose answer would be larger, or take more memory, than allowed."""
    width = len(version.model.features) + max(len(version.classes), 1)
    if rows * width > MOST_VALUES:
        cap = f"at most {MOST_VALUES // width:,}: {len(version.model.features)} features and the outputs of each count"
        raise InvalidRequest("inputs", f"{rows:,} rows", f"{cap} towards {MOST_VALUES:,} values")


def _named(version: Version, scores: Scores) -> dict[str, npt.NDArray[Any]]:
    if scores.winners is None or scores.probabilities is None:
        return {SCORE: scores.score}
    labels = np.empty(len(scores.winners), object)
    labels[:] = [version.classes[winner].encode() for winner in scores.winners]
    return {PROBABILITIES: scores.probabilities, LABEL: labels}
