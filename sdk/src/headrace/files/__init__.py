"""Reading events from files (CSV, JSON Lines, Parquet; gzipped or not) in bounded memory."""

from headrace.files.reading import read
from headrace.files.rows import Fault, Rows

__all__ = ["Fault", "Rows", "read"]
