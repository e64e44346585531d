"""A stream's events: validation, their form on the topic, and their columns for the kernel."""

from headrace.events.codec import StreamCodec
from headrace.events.columns import EventColumns

__all__ = ["EventColumns", "StreamCodec"]
