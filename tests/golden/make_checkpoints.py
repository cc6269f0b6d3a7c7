"""Makes checkpoints.json.gz and lora.npz: what other programs read out of checkpoint files.

Two stages, as keras_cv under Keras 2 and today's PyTorch libraries do not share an environment:

1. ``python make_checkpoints.py keras WORK`` with tensorflow, tf-keras and keras-cv 0.9.0 installed writes
   keras_cv's networks at small width to WORK/*.h5, with inputs and outputs.
2. ``python make_checkpoints.py reference WORK`` with torch, diffusers, transformers, peft and sdgen installed
   checks that diffusers' networks give the same outputs with the weights that sdgen reads from these files,
   puts single files through diffusers' own converters, fuses LoRAs with diffusers, and stores the results.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from keras_cv_networks import NETWORKS, make_keras, output_error, vae_config

HERE = Path(__file__).parent
MINI = HERE.parents[1] / "src/sdgen/models/data/sd-mini"

UPSCALER = {
    "in_channels": 7,
    "attention_head_dim": 8,
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "num_class_embeds": 1000,
    "only_cross_attention": [True, True, True, False],
}


def check_keras(work: Path) -> dict:
    """Layers of each file and digests of what sdgen reads, once diffusers' outputs agree with keras_cv's."""
    import checkpoint_files as files
    import h5py

    from sdgen.checkpoints import keras_cv_h5

    result = {}
    for name in NETWORKS:
        error = output_error(work, name)
        print(f"{name}: keras_cv against diffusers, relative error {error:.1e}")
        assert error < 2e-5, name
        with h5py.File(work / f"{name}.h5") as file:
            layers = [
                [
                    layer,
                    [
                        [weight, list(file[layer][weight].shape)]
                        for weight in file[layer].attrs["weight_names"]
                    ],
                ]
                for layer in file.attrs["layer_names"]
            ]
        with tempfile.TemporaryDirectory() as folder:
            copy = keras_cv_h5.read_h5(files.write_keras_h5(Path(folder) / "x.h5", layers))
            result[name] = {"layers": layers, "expected": files.digests(copy.tensors)}
    return result


def make_single_files() -> dict:
    """Names in single files, and digests of what diffusers' converters make of them."""
    import checkpoint_files as files
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as convert
    from transformers import CLIPTextConfig, CLIPTextModel

    from sdgen.checkpoints import convert as sdgen_convert
    from sdgen.checkpoints import families, module_lists, single_file
    from sdgen.checkpoints.tensors import Tensors, merge

    result = {}
    for family, cross, own in (
        (families.SD1, 48, {"in_channels": 4, "attention_head_dim": 8}),
        (families.SD2, 64, {"in_channels": 9, "attention_head_dim": [1, 1, 2, 2]}),
        (families.X4_UPSCALER, 48, UPSCALER),
    ):
        unet_config = {
            **family.config("unet"),
            "block_out_channels": [32, 64, 128, 128],
            "cross_attention_dim": cross,
            "use_linear_projection": family is not families.SD1,
            **own,
        }
        text_config = {
            **family.config("text_encoder"),
            "hidden_size": cross,
            "intermediate_size": 4 * cross,
            "num_attention_heads": 1,
            "num_hidden_layers": 3,
            "vocab_size": 49408,
        }
        unet = UNet2DConditionModel.from_config(unet_config)
        own = vae_config(128)
        if family is families.X4_UPSCALER:
            levels = ("block_out_channels", "down_block_types", "up_block_types")
            own |= {key: own[key][:3] for key in levels}
        vae = AutoencoderKL.from_config({**family.config("vae"), **own})
        text = CLIPTextModel(CLIPTextConfig(**text_config))
        tensors = {
            key: Tensors.from_arrays(
                {
                    name: np.zeros(value.shape, np.float32)
                    for name, value in model.state_dict().items()
                    if not name.endswith("position_ids")
                }
            )
            for key, model in (("unet", unet), ("vae", vae), ("text_encoder", text))
        }
        text_names = sdgen_convert._clip if family is families.SD1 else sdgen_convert._open_clip
        whole = merge(
            [
                sdgen_convert._to_ldm(
                    tensors["unet"],
                    module_lists.unet_modules(module_lists.unet_layout(tensors["unet"])),
                    single_file.UNET,
                ),
                sdgen_convert._to_ldm(
                    tensors["vae"], module_lists.vae_modules(tensors["vae"]), single_file.VAE
                ),
                text_names(tensors["text_encoder"]),
            ]
        )
        stored = [[name, list(shape)] for name, shape in whole.shapes().items()]
        if family is families.SD1:
            stored.append(["cond_stage_model.transformer.text_model.embeddings.position_ids", [1, 77]])
        else:
            stored += [["cond_stage_model.model." + name, shape] for name, shape in _open_clip_extras(cross)]
        stored += [["model_ema.decay", []], ["alphas_cumprod", [1000]]]
        arrays = {
            name: torch.from_numpy(files.pattern(index, shape)) for index, (name, shape) in enumerate(stored)
        }
        if family is families.SD1:
            text_state = convert.convert_ldm_clip_checkpoint(dict(arrays))
            text_state.pop("text_model.embeddings.position_ids")
        else:
            text_state = convert.convert_open_clip_checkpoint(text, dict(arrays))
        converted = {
            "unet": convert.convert_ldm_unet_checkpoint(dict(arrays), unet.config),
            "vae": convert.convert_ldm_vae_checkpoint(dict(arrays), vae.config),
            "text_encoder": {key.removeprefix("text_model."): value for key, value in text_state.items()},
        }
        for key, model in (("unet", unet), ("vae", vae), ("text_encoder", text)):
            model.load_state_dict(converted[key])
        result[family.name] = {
            "stored": stored,
            "expected": {
                key: files.digests({name: value.numpy() for name, value in state.items()})
                for key, state in converted.items()
            },
        }
    return result


def _open_clip_extras(width: int) -> list:
    """What OpenCLIP's text model has beside what is used: its last layer and its projection."""
    block = "transformer.resblocks.23."
    return [
        [block + "ln_1.weight", [width]],
        [block + "attn.in_proj_weight", [3 * width, width]],
        [block + "mlp.c_fc.bias", [4 * width]],
        ["text_projection", [width, width]],
        ["logit_scale", []],
    ]


def make_old_vae() -> dict:
    """Names of the VAE's attention before diffusers 0.15, and digests of what diffusers makes of them."""
    import checkpoint_files as files
    import torch
    from diffusers import AutoencoderKL
    from safetensors.torch import save_file

    vae = AutoencoderKL.from_config({**vae_config(128), "layers_per_block": 1})
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    stored = []
    for name, value in vae.state_dict().items():
        for new, before in old.items():
            name = name.replace(f".attentions.0.{new}.", f".attentions.0.{before}.")
        stored.append([name, list(value.shape)])
    with tempfile.TemporaryDirectory() as folder:
        vae.save_config(folder)
        arrays = {
            name: torch.from_numpy(files.pattern(index, shape)) for index, (name, shape) in enumerate(stored)
        }
        save_file(arrays, Path(folder) / "diffusion_pytorch_model.safetensors", {"format": "pt"})
        loaded = AutoencoderKL.from_pretrained(folder)
    return {
        "config": {**vae_config(128), "layers_per_block": 1},
        "stored": stored,
        "expected": files.digests({name: value.numpy() for name, value in loaded.state_dict().items()}),
    }


def make_loras() -> None:
    """Weights of the mini model after diffusers fused LoRAs into them (every sixteenth row and column)."""
    import lora_files
    import torch
    from diffusers import StableDiffusionPipeline

    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in lora_files.WRITERS.items():
            path = write(Path(folder) / f"{name}.safetensors")
            pipe = StableDiffusionPipeline.from_pretrained(MINI, torch_dtype=torch.float32)
            before = _weights(pipe)
            pipe.load_lora_weights(path.parent, weight_name=path.name)
            pipe.fuse_lora(lora_scale=lora_files.SCALE)
            after = _weights(pipe)
            changed = [key for key in before if not np.array_equal(before[key], after[key])]
            print(name, len(changed), "weights changed")
            for key in changed:
                result[f"{name}/{key}"] = after[key][::16, ::16]
            pipe.unload_lora_weights()
    np.savez_compressed(HERE / "lora.npz", **result)


def _weights(pipe) -> dict[str, np.ndarray]:
    return {
        f"{part}.{name.replace('.base_layer', '').removeprefix('text_model.')}": value.detach()
        .float()
        .numpy()
        .copy()
        for part, model in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder))
        for name, value in model.state_dict().items()
        if ".lora_" not in name
    }


def main() -> None:
    stage, work = sys.argv[1], Path(sys.argv[2])
    work.mkdir(exist_ok=True)
    if stage == "keras":
        make_keras(work)
        return
    sys.path.insert(0, str(HERE.parent))
    golden = {"keras_cv": check_keras(work), "single_file": make_single_files(), "old_vae": make_old_vae()}
    packed = gzip.compress(json.dumps(golden, separators=(",", ":")).encode(), mtime=0)
    (HERE / "checkpoints.json.gz").write_bytes(packed)
    make_loras()


if __name__ == "__main__":
    main()
