"""The contracts between services: well-formed, compatible with the published ones, and in step with generated code."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.contract.repository import ROOT, TOOLS, run, said

PROTOS = ROOT / "protos"
BUF = TOOLS / "buf"

#: The published contracts; `make publish-protos` updates them.
PUBLISHED = PROTOS / "baseline.binpb"


def test_the_protos_follow_the_rules() -> None:
    assert said(run(BUF, "lint", at=PROTOS)) == ""


def test_a_published_contract_changes_compatibly_only() -> None:
    assert said(run(BUF, "breaking", "--against", PUBLISHED, at=PROTOS)) == ""


@pytest.mark.parametrize(
    ("file", "before", "after", "notice"),
    [
        ("scoring.proto", "double score = ", "float score = ", 'from "double" to "float"'),
        ("ingest.proto", "rpc Publish(", "rpc Send(", 'Previously present RPC "Publish"'),
        ("vector.proto", "string name = 1;", "string name = 9;", 'Previously present field "1"'),
    ],
)
def test_what_would_break_a_client_is_noticed(tmp_path: Path, file: str, before: str, after: str, notice: str) -> None:
    changed = shutil.copytree(PROTOS, tmp_path / "protos")
    contract = changed / "headrace" / "v1" / file
    text = contract.read_text()
    assert before in text
    contract.write_text(text.replace(before, after))
    assert notice in run(BUF, "breaking", "--against", PUBLISHED, at=changed).stdout


def test_the_generated_code_is_that_of_the_protos(tmp_path: Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert said(run(sys.executable, "-m", "grpc_tools.protoc", "-I", PROTOS, *outputs, *sources)) == ""

    committed = ROOT / "sdk" / "src"
    generated = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    rooms = {path.parent for path in generated}
    there = {path.relative_to(committed) for room in rooms for path in (committed / room).glob("*_pb2*.py*")}
    assert there == set(generated)
    assert [path for path, text in generated.items() if (committed / path).read_text() != text] == []
