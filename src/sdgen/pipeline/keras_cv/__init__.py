"""keras_cv's StableDiffusionV2: on sdgen's networks, and its stock engine."""
