"""Writes ldm.npz: what diffusers' latent diffusion pipelines draw with the models of ldm_models.py.

    pip install -e '.[reference]' && python tests/golden/make_ldm.py

Float32 on the CPU.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import compvis
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
    return _drawn(
        pipe,
        [
            {
                "prompt": case["prompt"],
                "height": 64,
                "width": 64,
                "guidance_scale": case["guidance"],
                **_common(case),
            }
            for case in ldm.TEXT_CASES
        ],
    )


def unconditional() -> np.ndarray:
    """The pictures of UNCONDITIONAL_CASES, uint8 (cases, 64, 64, 3)."""
    pipe = diffusers.LDMPipeline(
        vqvae=fill(diffusers.VQModel(**_plain(ldm.VQ_VAE), scaling_factor=1.0)),
        unet=fill(diffusers.UNet2DModel(**_plain(ldm.UNCONDITIONAL_UNET))),
        scheduler=diffusers.DDIMScheduler.from_config(ldm.SCHEDULER),
    )
    return _drawn(pipe, [_common(case) for case in ldm.UNCONDITIONAL_CASES])


def _original(write: Callable[[Path], Path]) -> compvis.Weights:
    """The tensors of a file of CompVis's, with averages in place of weights (``ema_scope``) if it has any."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = torch.load(write(Path(folder) / "model.ckpt"), weights_only=True)["state_dict"]
    for name in tensors:
        average = "model_ema." + name.removeprefix("model.").replace(".", "")
        if name.startswith("model.") and average in tensors:
            tensors[name] = tensors[average]
    return compvis.Weights(tensors)


def encoded() -> np.ndarray:
    """The latents of a picture by the class-conditional model's VQ-VAE, float32 (1, 8, 12, 3)."""
    pixels = torch.from_numpy(ldm.pixels()).permute(0, 3, 1, 2)
    latents = compvis.encode(_original(ldm.write_class_model)["first_stage_model"], pixels)
    return np.ascontiguousarray(latents.permute(0, 2, 3, 1).numpy())


def class_conditional() -> np.ndarray:
    """The pictures of CLASS_CASES, uint8 (cases, 64, 64, 3), by CompVis's arithmetic, rounded."""
    weights = _original(ldm.write_class_model)
    embeddings = weights["cond_stage_model"]["embedding"].weight
    found = []
    for case in ldm.CLASS_CASES:
        predict = functools.partial(
            _guided,
            weights["model"]["diffusion_model"],
            context=embeddings[case["label"]][None, None],
            unconditional=embeddings[1000][None, None],
            scale=case["guidance"],
        )
        found.append(_picture(weights, predict, case))
    return np.stack(found)


def faces() -> np.ndarray:
    """The pictures of UNCONDITIONAL_CASES from CompVis's file, uint8 (cases, 64, 64, 3)."""
    weights = _original(ldm.write_faces_model)
    predict = functools.partial(compvis.unet, weights["model"]["diffusion_model"])
    return np.stack([_picture(weights, predict, case) for case in ldm.FACES_CASES])


def _picture(
    weights: compvis.Weights, predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], case: Any
) -> np.ndarray:
    """By CompVis's sampler and decoder, rounded: uint8 (64, 64, 3)."""
    generator = torch.Generator("cpu").manual_seed(case["seed"])
    alphas = compvis.alphas_cumprod(0.0015, 0.0195)
    latents = compvis.ddim(predict, alphas, case["steps"], case["eta"], (1, 3, 16, 16), generator)
    pixels = (compvis.decode(weights["first_stage_model"], latents) / 2 + 0.5).clamp(0, 1)
    return (pixels[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


def _guided(
    unet: compvis.Weights,
    x: torch.Tensor,
    timesteps: torch.Tensor,
    context: torch.Tensor,
    unconditional: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """DDIMSampler.p_sample_ddim's e_t."""
    if scale == 1:
        return compvis.unet(unet, x, timesteps, context, heads=1)
    contexts = torch.cat([unconditional, context])
    without, with_class = compvis.unet(
        unet, torch.cat([x] * 2), torch.cat([timesteps] * 2), contexts, heads=1
    ).chunk(2)
    return without + scale * (with_class - without)


def _common(case: Mapping[str, Any]) -> dict[str, Any]:
    generator = torch.Generator("cpu").manual_seed(case["seed"])
    return {"num_inference_steps": case["steps"], "eta": case["eta"], "generator": generator}


def _drawn(pipe: Any, calls: Sequence[dict[str, Any]]) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    found, step = [], pipe.scheduler.step
    for arguments in calls:
        # The pipeline leaves the noise of eta to torch's global generator; here the picture's own goes on.
        pipe.scheduler.step = functools.partial(step, generator=arguments["generator"])
        found.append(np.asarray(pipe(**arguments).images[0]))
    return np.stack(found)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    found = {
        "text": text_to_image(),
        "unconditional": unconditional(),
        "classes": class_conditional(),
        "encoded": encoded(),
        "faces": faces(),
    }
    np.savez_compressed(Path(__file__).parent / "ldm.npz", **found)
    print({name: (values.shape, float(values.std())) for name, values in found.items()})
