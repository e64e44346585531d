"""`ModelService`: which models there are, with their descriptions."""

from __future__ import annotations

from typing import Any

from headrace.definition import ModelDefinition
from headrace.v1 import models_pb2 as pb
from headrace.v1 import models_pb2_grpc
from headrace_scorer.versions import Versions


class ModelHandler(models_pb2_grpc.ModelServiceServicer):
    """See `protos/headrace/v1/models.proto`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        return pb.ListModelsResponse(models=[self._summary(model) for model in self._versions.models])

    async def DescribeModel(  # noqa: N802
        self, request: pb.DescribeModelRequest, context: Any
    ) -> pb.DescribeModelResponse:
        model = self._versions.model(request.model)
        version = self._versions.find(model.name)
        # Describe one definition only: that of the answering version, while a changed one learns.
        answering = version.model if version else model
        return pb.DescribeModelResponse(
            summary=self._summary(model),
            learner=answering.learner,
            features=[pb.Feature(name=feature.title, type=feature.type.value) for feature in answering.features],
            classes=version.classes if version else (),
            metrics=version.metrics if version else {},
        )

    def _summary(self, model: ModelDefinition) -> pb.ModelSummary:
        version = self._versions.find(model.name)
        return pb.ModelSummary(
            name=model.title,
            task=model.task.value,
            definition=version.model.hash if version else self._versions.hash(model.name),
            examples=version.examples if version else None,
            takeover=self._takeover(model.name),
        )

    def _takeover(self, name: str) -> pb.Takeover | None:
        takeover = self._versions.takeover(name)
        if takeover is None:
            return None
        return pb.Takeover(**takeover._asdict(), definition=self._versions.hash(name))
