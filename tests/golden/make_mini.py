"""Writes mini_networks.npz and mini_pictures/: what diffusers and transformers make of the bundled model.

    pip install -e '.[reference]' && python tests/golden/make_mini.py

Float32 on the CPU. Networks: outputs for the inputs of inputs.py. Pictures: whole pipeline runs with
``torch.Generator("cpu")``, one PNG each; the file name's row in PICTURES says how.
"""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import inputs
import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "src/sdgen/models/data/sd-mini"

SCHEDULERS = {
    "ddim": (diffusers.DDIMScheduler, {}),
    "ddpm": (diffusers.DDPMScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler-a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpmpp-2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp-2m-sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "plms": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {}),
    "deis": (diffusers.DEISMultistepScheduler, {}),
    "dpm2": (diffusers.KDPM2DiscreteScheduler, {}),
    "dpm2-a": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "dpmpp-2s": (diffusers.DPMSolverSinglestepScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
}


def rows() -> list[dict]:
    """Every picture: a request's fields, and what is changed in the scheduler's configuration."""
    big = {"prompt": "a red heart", "steps": 25, "guidance": 5.0, "width": 256, "height": 256}
    pictures = [dict(big, sampler="ddim", seed=7)]
    small = {"prompt": "a panda", "negative_prompt": "a tree", "guidance": 3.0, "width": 64, "height": 96}
    for sampler in SCHEDULERS:
        steps = {"ddim": 10, "lcm": 4}.get(sampler, 6)
        pictures.append(dict(small, sampler=sampler, steps=steps, seed=11))
        pictures.append(dict(small, sampler=sampler, steps=steps, seed=12, prediction_type="epsilon"))
    pictures.append(dict(small, sampler="ddim", eta=0.5, steps=6, seed=13))
    pictures.append(dict(small, sampler="euler", schedule="karras", steps=6, seed=14))
    pictures.append(dict(small, sampler="dpmpp-2m", schedule="karras", steps=6, seed=15))
    pictures.append(dict(small, sampler="ddim", guidance_rescale=0.7, steps=6, seed=16))
    # Without guidance: diffusers skips layers for the prompt alone, AUTOMATIC1111 and sdgen for both prompts.
    pictures.append(dict(small, sampler="ddim", clip_skip=1, guidance=1.0, steps=6, seed=17))
    pictures.append(dict(small, sampler="ddim", guidance=1.0, steps=6, seed=18))
    return pictures


def networks() -> dict[str, np.ndarray]:
    """Thinned outputs of the networks."""
    text = transformers.CLIPTextModel.from_pretrained(MODEL / "text_encoder", dtype=torch.float32).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    unet = diffusers.UNet2DConditionModel.from_pretrained(MODEL / "unet", torch_dtype=torch.float32).eval()
    vae = diffusers.AutoencoderKL.from_pretrained(MODEL / "vae", torch_dtype=torch.float32).eval()

    def nchw(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def nhwc(x: torch.Tensor) -> np.ndarray:
        return x.numpy().transpose(0, 2, 3, 1)

    ids = tokenizer(list(inputs.PROMPTS), padding="max_length", max_length=77, return_tensors="pt").input_ids
    latents, pixels = inputs.normal(1, 2, 32, 24, 8), inputs.picture(64, 96)[None]
    moments = vae.encode(nchw(pixels)).latent_dist
    scale = vae.config.scaling_factor
    outputs = {
        "tokens": ids.numpy(),
        "text_encoder": text(ids).last_hidden_state.numpy(),
        "unet": nhwc(
            unet(
                nchw(latents), torch.tensor(inputs.TIMESTEPS), torch.from_numpy(inputs.normal(2, 2, 77, 256))
            ).sample
        ),
        "decoder": nhwc(vae.decode(nchw(latents[:1]) / scale).sample),
        "encoder_mean": nhwc(moments.mean * scale),
        "encoder_log_variance": nhwc(moments.logvar + 2 * np.log(scale)),
    }
    return {name: inputs.thinned(values) for name, values in outputs.items()}


def draw(row: dict) -> np.ndarray:
    """The picture of a row, uint8 (height, width, 3)."""
    changes = {"prediction_type": row["prediction_type"]} if "prediction_type" in row else {}
    if changes:
        changes |= {"rescale_betas_zero_snr": False}
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    # diffusers 0.42 looks for clip_skip's final norm where transformers before 5 had it.
    type(pipe.text_encoder).text_model = property(lambda encoder: encoder)
    kind, options = SCHEDULERS[row["sampler"]]
    if row.get("schedule") == "karras":
        options = {**options, "use_karras_sigmas": True}
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **options, **changes)
    return pipe(
        row["prompt"],
        negative_prompt=row.get("negative_prompt"),
        num_inference_steps=row["steps"],
        guidance_scale=row["guidance"],
        guidance_rescale=row.get("guidance_rescale", 0.0),
        clip_skip=row.get("clip_skip"),
        eta=row.get("eta", 0.0),
        width=row["width"],
        height=row["height"],
        generator=torch.Generator("cpu").manual_seed(row["seed"]),
    ).images[0]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    np.savez_compressed(HERE / "mini_networks.npz", **networks())
    folder = HERE / "mini_pictures"
    folder.mkdir(exist_ok=True)
    table = {}
    for row in rows():
        name = f"{row['sampler']}-{row['seed']}.png"
        table[name] = row
        draw(row).save(folder / name, optimize=True)
        print(name, flush=True)
    (folder / "rows.json").write_text(json.dumps(table, indent=1) + "\n")
