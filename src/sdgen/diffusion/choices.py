"""What has a fixed set of names: prediction types, timestep spacings, noise generators, tasks."""

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
"""What a network puts out: the noise, v (Salimans and Ho 2022, section 4) or the image."""

KARRAS = "karras"
"""The network puts out F of Karras et al. 2022, equation 7, with sigma_data 1, and is told log(sigma) / 4."""

SPACINGS = ("leading", "linspace", "trailing")
"""How timesteps are spaced (Lin et al. 2024, table 2)."""

RNGS = ("philox", "torch")
"""Noise generators: NumPy's Philox, or PyTorch's CPU generator as diffusers uses it."""

WHOLE_PICTURES = ("text-to-image", "class-to-image", "unconditional")
"""What models are trained for that draw pictures from noise: of a text, of a class, or with neither."""

WITHOUT_PROMPT = ("unconditional",)
"""What models are trained for that no prompt is given to."""

WITHOUT_TEXT = ("class-to-image", *WITHOUT_PROMPT)
"""What models are trained for that have no text encoder, as far as they draw pictures from noise."""

TASKS = (*WHOLE_PICTURES, "inpainting", "upscaling", "depth-to-image", "instructed-editing")
"""What models are trained for."""

DRAWN_TASKS = (*WHOLE_PICTURES, "inpainting", "upscaling")
"""The tasks of ``TASKS`` that sdgen carries out."""

SERVED_BY = {"text-to-image": WHOLE_PICTURES, "inpainting": ("inpainting", *WHOLE_PICTURES)}
"""What models are for that may carry out a task, where they need not be for it alone."""


def steps_of_strength(steps: int, strength: float) -> int:
    """How many of ``steps`` are run at a denoising strength, 0 to 1: the last ones, steps x strength of them.

    The product is cut off, not rounded, as a float: 50 x 0.58 is 28.999... and runs 28 steps
    (``get_timesteps`` of diffusers' ``StableDiffusionImg2ImgPipeline``).
    """
    return min(int(steps * strength), steps)
