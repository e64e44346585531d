"""Settings common to all services: the locations of the loop, the broker and the store."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.definition import LoopDefinition
from headrace.errors import InvalidSettings, NewerFormat, Unreadable
from headrace.wire import compiled_loop
from headrace.wording import public_address, quoted

#: A URL with another scheme is refused at startup: waiting for its server would never end.
_SCHEMES = {
    "pulsar_url": ("pulsar://", "pulsar+ssl://", "http://", "https://"),
    "redis_url": ("redis://", "rediss://", "unix://"),
}


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class ServiceSettings(BaseSettings):
    """Settings from the environment, each variable with the prefix ``HEADRACE_``.

    Raises
    ------
    InvalidSettings
        A setting is missing or invalid.
    """

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", extra="ignore")

    loop: Path = Field(description="The compiled loop (`headrace compile loop.py -o loop.json`).")
    pulsar_url: str = Field("pulsar://127.0.0.1:6650", description="The broker.")
    pulsar_token: SecretStr | None = Field(None, description="A token, where the broker asks for one.")
    pulsar_listener: str | None = Field(None, description="Which of the broker's advertised listeners to come in by.")
    pulsar_admin_url: str | None = Field(None, description="The broker's admin API, to set topics up by.")
    namespace: str = Field("public/default", description="Tenant and namespace of the loop's topics.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The online store.")
    bind: str = Field("127.0.0.1:0", description="Host and port of the gRPC server; port 0 takes a free one.")
    data: Path = Field(Path(".headrace"), description="Directory of local state (checkpoints).")
    instance: str = Field(default_factory=_instance, description="This process's name in logs and status.")

    @field_validator("pulsar_url", "redis_url")
    @classmethod
    def _known_scheme(cls, url: str, info: ValidationInfo) -> str:
        schemes = _SCHEMES[str(info.field_name)]
        if not url.startswith(schemes):
            raise ValueError(f"expected a URL that starts with {' or '.join(schemes)}")
        return url

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidSettings(tuple(map(self._mistake, error.errors()))) from None

    def definition(self) -> LoopDefinition:
        """Read the compiled loop.

        Raises
        ------
        InvalidSettings
            The file is missing, or is not a compiled loop.
        """
        try:
            return compiled_loop.decode(self.loop.read_bytes())
        except OSError as error:
            mistake = f"HEADRACE_LOOP is {str(self.loop)!r}, which cannot be read: {error.strerror}"
        except Unreadable as error:
            mistake = (
                f"HEADRACE_LOOP is {str(self.loop)!r}, which is no compiled loop of this headrace: {error.problem}"
            )
            mistake += f", {error.cure}" if isinstance(error, NewerFormat) else ""
        raise InvalidSettings((f"{mistake}. Write it with `headrace compile loop.py -o loop.json`",))

    @classmethod
    def _mistake(cls, error: Any) -> str:
        name = str(error["loc"][0])
        variable = f"HEADRACE_{name.upper()}"
        if error["type"] == "missing":
            return f"{variable} is not set. {cls.model_fields[name].description}"
        value = error["input"]
        text = public_address(value) if isinstance(value, str) else value
        return f"{variable} is {quoted(text)}: {error['msg']}"
