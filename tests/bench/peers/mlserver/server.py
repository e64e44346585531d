"""MLServer with a runtime for ONNX: it has no store, so the request brings the features.

    python server.py DIRECTORY STORE_URL PORT

PORT speaks gRPC. MLServer runs the model in its own process: its pool of workers would add a hop to every request.
"""

import asyncio
import socket
import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        numbers = NumpyCodec.decode_input(payload.inputs[0])
        (scores,) = self._session.run(["score"], {"numbers": numbers})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", scores)])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def serve(directory: str, port: str) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=free_port(),
        grpc_port=int(port),
        metrics_endpoint=None,
        parallel_workers=0,
        load_models_at_startup=True,
    )
    models = [
        ModelSettings(name=file.stem, implementation=OnnxModel, parameters=ModelParameters(uri=str(file)))
        for file in sorted(Path(directory).glob("*.onnx"))
    ]
    await MLServer(settings).start(models)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[3]))
