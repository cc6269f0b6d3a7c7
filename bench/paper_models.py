"""The latent diffusion paper's models and other upscalers at full size, with random weights: time and memory.

    python bench/paper_models.py WORK [MODEL ...] [--backend jax] [--steps 2] [--picture 1000x700] [--keep]

Each model is written into WORK in the layout that its repository has, with its configurations and float32
weights (up to 6 GB), then loaded and drawn with in a process of its own. It prints the seconds of loading and
of two pictures, the first of which compiles, and the peak of the process's memory, or of the accelerator's.
Random weights show nothing. What is enlarged has 128x128 pixels unless --picture says otherwise: 1000x700
times 4 is to fit into 4 GB; so are 320x240, which take as much but for the picture itself and far less time.

Sources of the configurations: the files of the repositories, as diffusers' conversion scripts wrote them, and
CompVis/latent-diffusion's models/ldm/*/config.yaml and configs/latent-diffusion/*.yaml.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "golden")]

Weights = Mapping[str, tuple[str, tuple[int, ...]]]
"""Of tensors by the names under which they are stored: the names by which they are drawn, and shapes."""

STEPS_OF_BETAS = {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "clip_sample": False}
VQ_VAE: dict[str, Any] = {
    "_class_name": "VQModel",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 3,
    "vq_embed_dim": 3,
    "num_vq_embeddings": 8192,
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
KL_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
TEXT_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 1280,
}
BERT: dict[str, Any] = {
    "architectures": ["LDMBertModel"],
    "model_type": "ldmbert",
    "vocab_size": 30522,
    "max_position_embeddings": 77,
    "encoder_layers": 32,
    "encoder_ffn_dim": 5120,
    "encoder_attention_heads": 8,
    "head_dim": 64,
    "d_model": 1280,
}
FACES_UNET: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D"] + ["AttnDownBlock2D"] * 3,
    "up_block_types": ["AttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "layers_per_block": 2,
    "attention_head_dim": 32,
}
LDM_SR_UNET = FACES_UNET | {
    "in_channels": 6,
    "block_out_channels": [160, 320, 320, 640],
    "down_block_types": ["DownBlock2D"] * 3 + ["AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D"] + ["UpBlock2D"] * 3,
}
X4_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 128,
    "in_channels": 7,
    "out_channels": 4,
    "block_out_channels": [256, 512, 512, 1024],
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 1024,
    "num_class_embeds": 1000,
    "only_cross_attention": [True, True, True, False],
    "use_linear_projection": True,
}
X2_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "gelu",
    "attention_head_dim": 64,
    "block_out_channels": [384, 384, 768, 768],
    "conv_in_kernel": 1,
    "conv_out_kernel": 1,
    "cross_attention_dim": 768,
    "down_block_types": ["KDownBlock2D"] + ["KCrossAttnDownBlock2D"] * 3,
    "in_channels": 8,
    "layers_per_block": 4,  # KDownBlock2D's default: no public source says what the file has.
    "mid_block_type": None,
    "norm_num_groups": None,
    "out_channels": 5,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": None,
    "time_cond_proj_dim": 896,
    "time_embedding_type": "fourier",
    "timestep_post_act": "gelu",
    "up_block_types": ["KCrossAttnUpBlock2D"] * 3 + ["KUpBlock2D"],
}
X4_VAE = KL_VAE | {
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "scaling_factor": 0.08333,
    "sample_size": 256,
}
CLASS_UNET = TEXT_UNET | {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [192, 384, 576, 960],
    "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"],
    "attention_head_dim": 1,
    "cross_attention_dim": 512,
}
CLASSES = 1001
OPEN_CLIP: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 49408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
}
CLIP_L = OPEN_CLIP | {
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A repository.

    Attributes:
        index: the pipeline's class and the library and class of each part, as model_index.json has them;
            empty where the repository is one file in the original naming.
        configs: of the networks, by their folders.
        schedulers: by their folders.
        pickled: whether the weights are .bin files, which the older repositories have.
        request: fields of a request that it draws.
    """

    index: Mapping[str, Any]
    configs: Mapping[str, dict[str, Any]]
    schedulers: Mapping[str, dict[str, Any]]
    pickled: bool
    request: Mapping[str, Any]


def ddim(first: float, last: float, **more: Any) -> dict[str, Any]:
    return {"_class_name": "DDIMScheduler", "beta_start": first, "beta_end": last, **STEPS_OF_BETAS, **more}


MODELS = {
    "ldm-text2im-large-256": Model(
        {
            "_class_name": "LDMTextToImagePipeline",
            "bert": ["latent_diffusion", "LDMBertModel"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "tokenizer": ["transformers", "BertTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vqvae": ["diffusers", "AutoencoderKL"],
        },
        {"unet": TEXT_UNET, "bert": BERT, "vqvae": KL_VAE},
        {"scheduler": ddim(0.00085, 0.012)},
        True,
        {"prompt": "a painting of a red fox", "guidance": 10.0, "eta": 1.0},
    ),
    "ldm-celebahq-256": Model(
        {
            "_class_name": "LDMPipeline",
            "scheduler": ["diffusers", "DDIMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
            "vqvae": ["diffusers", "VQModel"],
        },
        {"unet": FACES_UNET, "vqvae": VQ_VAE},
        {"scheduler": ddim(0.0015, 0.0195)},
        True,
        {"prompt": ""},
    ),
    "ldm-cin256": Model(
        {}, {"unet": CLASS_UNET, "vqvae": VQ_VAE}, {}, True, {"prompt": "goldfish", "guidance": 3.0}
    ),
    "ldm-sr": Model(
        {
            "_class_name": "LDMSuperResolutionPipeline",
            "scheduler": ["diffusers", "DDIMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
            "vqvae": ["diffusers", "VQModel"],
        },
        {"unet": LDM_SR_UNET, "vqvae": VQ_VAE},
        {"scheduler": ddim(0.0015, 0.0155)},
        True,
        {"prompt": "", "upscale": 4},
    ),
    "sd-x2-latent-upscaler": Model(
        {
            "_class_name": "StableDiffusionLatentUpscalePipeline",
            "scheduler": ["diffusers", "EulerDiscreteScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        {"unet": X2_UNET, "text_encoder": CLIP_L, "vae": KL_VAE},
        {
            "scheduler": ddim(
                0.00085, 0.012, _class_name="EulerDiscreteScheduler", prediction_type="original_sample"
            )
        },
        False,
        {"prompt": "a red fox", "upscale": 2},
    ),
    "sd-x4-upscaler": Model(
        {
            "_class_name": "StableDiffusionUpscalePipeline",
            "low_res_scheduler": ["diffusers", "DDPMScheduler"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        {"unet": X4_UNET, "text_encoder": OPEN_CLIP, "vae": X4_VAE},
        {
            "scheduler": ddim(0.0001, 0.02, prediction_type="v_prediction", set_alpha_to_one=False),
            "low_res_scheduler": ddim(0.0001, 0.02, _class_name="DDPMScheduler", clip_sample=True),
        },
        False,
        {"prompt": "a red fox", "upscale": 4},
    ),
}


def write(model: Model, folder: Path) -> None:
    """The repository's folder."""
    folder.mkdir(parents=True)
    if not model.index:
        write_pickle(folder / "model.ckpt", class_weights(model), "state_dict")
        return
    (folder / "model_index.json").write_text(json.dumps(dict(model.index), indent=1))
    for part, config in model.configs.items():
        place = folder / part
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config, indent=1))
        stem = "diffusion_pytorch_model" if "_class_name" in config else "model"
        if model.pickled:
            stem = "pytorch_model" if stem == "model" else stem
            write_pickle(place / f"{stem}.bin", weights_of(config))
        else:
            write_safetensors(place / f"{stem}.safetensors", weights_of(config))
    for part, settings in model.schedulers.items():
        (folder / part).mkdir()
        (folder / part / "scheduler_config.json").write_text(json.dumps(settings, indent=1))
    kind = model.index.get("tokenizer", (None, None))[1]
    if kind == "CLIPTokenizer":
        shutil.copytree(ROOT / "src/sdgen/models/data/sd-mini/tokenizer", folder / "tokenizer")
    elif kind == "BertTokenizer":
        import make_bert_tokenizer

        make_bert_tokenizer.write(folder / "tokenizer")


def weights_of(config: dict[str, Any]) -> Weights:
    """Every tensor of the network that a config.json describes."""
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.networks.text_networks import text_config
    from sdgen.pipeline import weight_shapes

    kind = config.get("_class_name", "")
    if kind.startswith("UNet"):
        shapes = weight_shapes.unet_shapes(UNetConfig.from_config(config))
    elif kind:
        vae = VAEConfig.from_config(config)
        shapes = {**weight_shapes.encoder_shapes(vae), **weight_shapes.decoder_shapes(vae)}
    else:
        shapes = weight_shapes.text_encoder_shapes(text_config(config))
    return {name: (name, tuple(shape)) for name, shape in shapes.items()}


def class_weights(model: Model) -> Weights:
    """Every tensor of CompVis's class-conditional model, under its original name."""
    from sdgen.checkpoints import module_lists

    unet, vae = weights_of(model.configs["unet"]), weights_of(model.configs["vqvae"])
    found = {
        "cond_stage_model.embedding.weight": (
            "classes",
            (CLASSES, model.configs["unet"]["cross_attention_dim"]),
        )
    }
    for prefix, weights, modules in (
        ("model.diffusion_model.", unet, module_lists.unet_modules(module_lists.unet_layout(unet))),
        ("first_stage_model.", vae, module_lists.vae_modules(vae)),
    ):
        layers = {layer.diffusers: layer for module in modules for layer in module_lists.layers(module)}
        for name, (_, shape) in weights.items():
            module, _, kind = name.rpartition(".")
            layer = layers.get(module, module_lists.Layer(module, module, "embedding"))
            pointwise = layer.kind == "pointwise" and kind == "weight"
            found[f"{prefix}{layer.ldm}.{kind}"] = name, (*shape, 1, 1) if pointwise else shape
    return found


def drawn(weights: Weights) -> Iterator[np.ndarray]:
    """The tensors, one after the other: uniform with variance 1 / inputs, norms the identity, biases 0."""
    for name, shape in weights.values():
        if len(shape) == 1:
            yield np.full(shape, float("norm" in name and name.endswith(".weight")), np.float32)
            continue
        generator = np.random.Generator(np.random.SFC64(zlib.crc32(name.encode())))
        values = generator.random(shape, np.float32)
        values -= 0.5
        values *= math.sqrt(12 / math.prod(shape[1:]))
        yield values


def write_pickle(path: Path, weights: Weights, within: str | None = None) -> None:
    """As ``torch.save`` does, a tensor at a time; ``within`` is a key of a dictionary around them."""
    from pickled_files import Program  # nosec B403: the tests' writer, which runs nothing

    program = Program()
    # Of these the pickle has the shapes alone.
    empty = {name: np.broadcast_to(np.float32(0), shape) for name, (_, shape) in weights.items()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program.dump(empty if within is None else {within: empty}))
        archive.writestr("archive/byteorder", "little")
        for key, values in enumerate(drawn(weights)):
            with archive.open(f"archive/data/{key}", "w", force_zip64=True) as file:
                file.write(values.data)
        archive.writestr("archive/version", "3\n")


def write_safetensors(path: Path, weights: Weights) -> None:
    """As the format's specification has it, a tensor at a time."""
    header: dict[str, Any] = {}
    end = 0
    for name, (_, shape) in weights.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in drawn(weights):
            file.write(values.data)


def picture(width: int, height: int) -> np.ndarray:
    """Something like a photograph, uint8 (height, width, 3): gradients, an edge, and grain."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 90 + channel) * np.cos(y / 70 - channel) for channel in range(3)]
    pixels = 128 + 80 * np.stack(waves, -1) + 30 * (x + y > width)[..., None]
    pixels += np.random.default_rng(0).normal(0, 6, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def draw(name: str, args: argparse.Namespace) -> str:
    """Load and draw; a line of figures."""
    import sdgen
    from sdgen import backend

    began = time.perf_counter()
    folder = args.work / name
    file = folder if MODELS[name].index else folder / "model.ckpt"
    engine = sdgen.load(str(file), backend=args.backend, device=args.device, low_memory=args.low_memory)
    loaded, held = time.perf_counter() - began, memory(backend.peak_memory(engine.device))
    fields = dict(MODELS[name].request)
    if "upscale" in fields:
        fields["init_image"] = picture(*args.picture)
    seconds = []
    for seed in range(args.pictures):
        began = time.perf_counter()
        (image,) = engine.generate([sdgen.Request(**fields, seed=seed, steps=args.steps)])
        seconds.append(f"{time.perf_counter() - began:.1f}")
        # A picture of noise may be refused for what it shows; it was computed all the same.
        print(f"{name}: {image.error or image.pixels.shape}", file=sys.stderr)
    peak = memory(backend.peak_memory(engine.device))
    return (
        f"{name} on {engine.device} with {engine.backend}, {engine.dtype}: loaded in {loaded:.1f} s, "
        f"peak memory {held}; pictures of {args.steps} steps in {', '.join(seconds)} s, peak memory {peak}"
    )


def memory(peak: int | None) -> str:
    return "unknown" if peak is None else f"{peak / 2**30:.2f} GiB"


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    """Each model in a process of its own, or the one that a process was started for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--picture", type=size, default=(128, 128), metavar="WxH", help="what is enlarged")
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--low-memory", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next time")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.models) - set(MODELS):
        parser.error(f"the models are {', '.join(MODELS)}, not {', '.join(sorted(unknown))}")
    if args.here:
        print(draw(args.models[0], args), flush=True)
        return
    for name in args.models or MODELS:
        folder = args.work / name
        if not folder.exists():
            began = time.perf_counter()
            write(MODELS[name], folder)
            written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            print(f"{name}: {written / 1e9:.2f} GB in {time.perf_counter() - began:.0f} s", flush=True)
        given = [str(args.work), name, "--here", *(word for word in sys.argv[2:] if word not in MODELS)]
        run = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True)
        print(run.stdout.strip() or f"{name} failed: {run.stderr.strip()[-600:]}", flush=True)
        if not args.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
