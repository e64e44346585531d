"""A stream's events: validation, their form on the topic, and their columns for the kernel; internal."""

from headrace.engine.events.codec import StreamCodec
from headrace.engine.events.columns import EventColumns

__all__ = ["EventColumns", "StreamCodec"]
