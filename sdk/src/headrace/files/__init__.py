"""Reading events from files (CSV, JSON Lines, Parquet; gzipped or not) in bounded memory; internal."""

from headrace.files.cells import cells_of
from headrace.files.names import field_name
from headrace.files.reading import read
from headrace.files.rows import Fault, Rows

__all__ = ["Fault", "Rows", "cells_of", "field_name", "read"]
