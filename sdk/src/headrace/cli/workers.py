"""The option ``--workers``: the number of processes of a service."""

from __future__ import annotations

import click


class Workers(click.ParamType):
    """``feature=3``: a service, and the number of its processes."""

    name = "SERVICE=N"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        from headrace.embedded.processes import SERVICES

        if isinstance(value, tuple):
            return value
        service, _, number = value.partition("=")
        if service not in SERVICES:
            self.fail(f"{service!r} is no service; use one of {', '.join(SERVICES)}, as in feature=3", param, ctx)
        if not number.isdecimal() or int(number) == 0:
            self.fail(f"{value!r} does not say how many: write {service}=2", param, ctx)
        return service, int(number)
