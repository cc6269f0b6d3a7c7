"""A process that draws one picture, as ``sdgen`` does, and says on stdout where its time went.

    python -m sdgen.cli.benchmark.first_picture SETTINGS FILE

SETTINGS is ``measure.Settings`` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Draw, write, print."""
    began = time.perf_counter()
    from sdgen.cli.benchmark.measure import Settings, load
    from sdgen.images.metadata import encode

    values = json.loads(sys.argv[1])
    settings = Settings(**{**values, "batch_sizes": tuple(values["batch_sizes"])})
    pipeline = load(settings)
    opened = time.perf_counter()  # Under JAX the weights may still be on their way.
    (image,) = pipeline.generate([settings.request(0)])
    if image.error is not None:
        raise image.error
    assert image.pixels is not None
    Path(sys.argv[2]).write_bytes(encode(image.pixels, "png", image.request, image.details))
    done = time.perf_counter()
    details = image.details
    print(
        json.dumps(
            {
                "imports_and_opening": opened - began,
                "text": details["encode_seconds"],
                "denoise": details["denoise_seconds"],
                "decode": details["decode_seconds"],
                "after_opening": done - opened,
            }
        ),
        flush=True,
    )
    os._exit(0)  # The frameworks take two seconds to take themselves apart.


if __name__ == "__main__":
    main()
