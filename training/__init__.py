"""Trains, scores and packs the bundled model, ``sd-mini``. Not installed with the package; see README.md."""
