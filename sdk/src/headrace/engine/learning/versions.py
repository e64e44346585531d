"""A model's versions in published form: ONNX and its signature."""

from __future__ import annotations

import hashlib

import msgspec

from headrace.engine import export
from headrace.engine.learning.learning import Learning
from headrace.v1 import models_pb2


def version_of(learning: Learning) -> models_pb2.ModelVersion:
    """Return the version that a model is now: data, never code."""
    model, progress = learning.model, learning.progress
    exported = export.to_onnx(learning.estimator, model.features, model.task)
    return models_pb2.ModelVersion(
        model=model.name,
        definition=model.hash,
        examples=progress.examples,
        event_time=progress.newest or 0,
        features=[models_pb2.Feature(name=feature.name, type=feature.type) for feature in model.features],
        classes=exported.classes,
        task=model.task,
        metrics=learning.quality.metrics(),
        onnx=exported.onnx,
        sha256=hashlib.sha256(exported.onnx).digest(),
        model_definition=msgspec.json.encode(model),
    )
