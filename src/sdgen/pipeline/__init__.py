"""From requests to pixels: loading a model, encoding prompts, denoising, decoding."""
