"""Writes the sidecar's schema anew, after a field of a request has been added or changed.

python tests/golden/make_sidecar_schema.py
"""

from pathlib import Path

from sdgen.images import sidecar_schema

if __name__ == "__main__":
    text = sidecar_schema.text_of(sidecar_schema.current(sidecar_schema.published()))
    Path(str(sidecar_schema.FILE)).write_text(text, encoding="utf-8")
