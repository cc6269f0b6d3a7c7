"""Measures SSIM with scikit-image: ``metrics.json``.

    python tests/golden/make_metrics.py

Its arguments are those that Wang et al. 2004 have; its mean leaves out where the window is not within.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

sys.path.insert(0, str(Path(__file__).parents[1]))
from golden import metric_cases


def main() -> None:
    """Write ``metrics.json``."""
    rows = []
    for case in metric_cases.CASES:
        first, second = metric_cases.pictures(case)
        ssim = structural_similarity(
            first,
            second,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        psnr = peak_signal_noise_ratio(first.astype(np.float64), second.astype(np.float64), data_range=255)
        rows.append({"case": case, "ssim": float(ssim), "psnr": float(psnr)})
    text = json.dumps({"scikit-image": skimage.__version__, "rows": rows}, indent=1)
    Path(__file__).with_name("metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
