"""Prompts files: text, JSONL, JSON, CSV, TSV and YAML, from a file or a stream, to requests.

``read`` is lazy: an entry of a stream of text, JSONL, CSV or TSV is handed on when its line is there. What is
wrong with an entry is handed on as well, never raised, so that a caller can report all of it at once.
docs/prompts-files.md describes the formats.
"""

from sdgen.prompts.entries import Line, Problem
from sdgen.prompts.reading import FORMATS, read

__all__ = ["FORMATS", "Line", "Problem", "read"]
