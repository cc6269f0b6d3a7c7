"""Writes ldm.npz: what diffusers' latent diffusion pipelines draw with the models of ldm_models.py.

    pip install -e '.[reference]' && python tests/golden/make_ldm.py

Float32 on the CPU.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import ldm_models as ldm
import make_bert_tokenizer
import numpy as np
import torch
import transformers
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from make_small_networks import fill


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def text_to_image() -> np.ndarray:
    """The pictures of TEXT_CASES, uint8 (cases, 64, 64, 3)."""
    bert = {name: value for name, value in ldm.BERT.items() if name not in ("architectures", "model_type")}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = transformers.BertTokenizer.from_pretrained(
            str(make_bert_tokenizer.write(Path(folder) / "t"))
        )
    pipe = diffusers.LDMTextToImagePipeline(
        vqvae=fill(diffusers.AutoencoderKL(**_plain(ldm.VAE))),
        bert=fill(LDMBertModel(LDMBertConfig(**bert))),
        tokenizer=tokenizer,
        unet=fill(diffusers.UNet2DConditionModel(**_plain(ldm.TEXT_UNET))),
        scheduler=diffusers.DDIMScheduler.from_config(ldm.SCHEDULER),
    )
    pipe.set_progress_bar_config(disable=True)
    found = []
    step = pipe.scheduler.step
    for case in ldm.TEXT_CASES:
        # The pipeline leaves the noise of eta to torch's global generator; here the picture's own goes on.
        generator = torch.Generator("cpu").manual_seed(case["seed"])
        pipe.scheduler.step = functools.partial(step, generator=generator)
        picture = pipe(
            case["prompt"],
            height=64,
            width=64,
            num_inference_steps=case["steps"],
            guidance_scale=case["guidance"],
            eta=case["eta"],
            generator=generator,
        ).images[0]
        found.append(np.asarray(picture))
    return np.stack(found)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    found = {"text": text_to_image()}
    np.savez_compressed(Path(__file__).parent / "ldm.npz", **found)
    print({name: (values.shape, float(values.std())) for name, values in found.items()})
