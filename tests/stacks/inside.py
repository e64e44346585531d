"""Run inside a container: count what the topics hold, and compare it with the oracle."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from headrace.wire.compiled_loop import decode
from tests.life.recorder import Recorder
from tests.life.verdict import verdict


def main() -> int:
    loop = decode(Path(os.environ["HEADRACE_LOOP"]).read_bytes())
    recorder = Recorder(loop, "public/default")
    recorder.connect(os.environ["HEADRACE_PULSAR_URL"])
    recorder.read()
    result = verdict(loop, recorder)
    ids = {
        name: len({json.loads(message.payload)["payment"] for part in parts for message in part if message.payload})
        for name, parts in recorder.streams.items()
    }
    [model] = loop.models
    counts = {
        **ids,
        "vectors": len({vector.id for vector in recorder.vectors(model.name)}),
        "examples": sum(entry.kind == "answer" for entry in recorder.log(model.name)),
    }
    recorder.close()
    sys.stdout.write(json.dumps({"counts": counts, "differences": result.differences}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
