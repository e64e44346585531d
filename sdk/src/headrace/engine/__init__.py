"""Pure computation: events, kernel, learning, quality and export. It does no I/O and reads no clock; internal."""
