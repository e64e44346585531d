"""The gRPC endpoint of a scorer: its services, what they need, and the bounds of their calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import grpc

from headrace.inference import grpc_service_pb2 as inference_pb2
from headrace.inference import grpc_service_pb2_grpc
from headrace.runtime.grpc.call_limits import CallLimits
from headrace.runtime.service import Endpoint
from headrace.v1 import features_pb2, features_pb2_grpc, models_pb2, models_pb2_grpc, scoring_pb2, scoring_pb2_grpc
from headrace_scorer.grpc.features import FeatureHandler
from headrace_scorer.grpc.inference import InferenceHandler
from headrace_scorer.grpc.models import ModelHandler
from headrace_scorer.grpc.scoring import ScoringHandler
from headrace_scorer.scorer import Scorer
from headrace_scorer.settings import ScorerSettings, StoreDown
from headrace_scorer.versions import Versions

#: Bytes of requests under way, and fields of one request of the Open Inference Protocol.
_HELD_BYTES, _INFER_FIELDS = 64 * 2**20, 256

#: Seconds that a call may wait for its request: few calls fit.
_AWAITED_S = 5.0

_Add = Callable[[grpc.aio.Server], None]

# Generated code has no types.
_add_scoring: Callable[..., None] = scoring_pb2_grpc.add_ScoringServiceServicer_to_server
_add_feature: Callable[..., None] = features_pb2_grpc.add_FeatureServiceServicer_to_server
_add_model: Callable[..., None] = models_pb2_grpc.add_ModelServiceServicer_to_server
_add_inference: Callable[..., None] = grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server


def endpoint(scorer: Scorer, versions: Versions, settings: ScorerSettings) -> Endpoint:
    """Return the endpoint of a scorer."""
    return Endpoint(_services(scorer, versions), _needs(settings.store_down), _limits(settings))


def _services(scorer: Scorer, versions: Versions) -> dict[str, _Add]:
    return {
        _name(scoring_pb2, "ScoringService"): partial(_add_scoring, ScoringHandler(scorer)),
        _name(features_pb2, "FeatureService"): partial(_add_feature, FeatureHandler(scorer)),
        _name(models_pb2, "ModelService"): partial(_add_model, ModelHandler(versions)),
        _name(inference_pb2, "GRPCInferenceService"): partial(_add_inference, InferenceHandler(versions, scorer)),
    }


def _limits(settings: ScorerSettings) -> CallLimits:
    """Return the bounds of calls: streams and watches never take up all the room."""
    return CallLimits(
        calls=settings.max_calls,
        pending=settings.max_waiting,
        awaited_s=_AWAITED_S,
        streams=settings.max_calls // 2,
        watches=settings.max_calls // 4,
        held_bytes=_HELD_BYTES,
        fields={
            f"/{_name(scoring_pb2, 'ScoringService')}/ScoreBatch": settings.max_in_flight,
            f"/{_name(inference_pb2, 'GRPCInferenceService')}/ModelInfer": _INFER_FIELDS,
        },
    )


def _needs(store_down: StoreDown) -> dict[str, list[str]]:
    """Return what each gRPC service cannot answer without: never the broker; the store, unless the settings say so."""
    store = ["store"] if store_down is StoreDown.FAIL else []
    return {_name(scoring_pb2, "ScoringService"): store, _name(features_pb2, "FeatureService"): ["store"]}


def _name(module: object, service: str) -> str:
    return str(module.DESCRIPTOR.services_by_name[service].full_name)  # type: ignore[attr-defined]
