"""What every service is told from outside: where its loop, its broker and its store are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace import definition
from headrace.definition import LoopDefinition


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class ServiceSettings(BaseSettings):
    """Settings from the environment, each variable with the prefix ``HEADRACE_``."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", extra="ignore")

    loop: Path = Field(description="The compiled loop (`headrace compile loop.py -o loop.json`).")
    pulsar_url: str = Field("pulsar://127.0.0.1:6650", description="The broker.")
    pulsar_token: SecretStr | None = Field(None, description="A token, where the broker asks for one.")
    namespace: str = Field("public/default", description="Tenant and namespace of the loop's topics.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The online store.")
    bind: str = Field("127.0.0.1:0", description="Host and port of the gRPC server; port 0 takes a free one.")
    data: Path = Field(Path(".headrace"), description="Directory of local state (checkpoints).")
    instance: str = Field(default_factory=_instance, description="This process's name in logs and status.")

    def definition(self) -> LoopDefinition:
        """Read the compiled loop.

        Raises
        ------
        OSError, msgspec.ValidationError
            The file is missing, or is no compiled loop.
        """
        return definition.decode(self.loop.read_bytes())
