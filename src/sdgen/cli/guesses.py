"""What is meant by a command, an option or a setting that there is not: misspelt, or another tool's name.

The names are those of AUTOMATIC1111, CompVis' and kohya's scripts, diffusers, stable-diffusion.cpp, mflux,
InvokeAI and Midjourney.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Collection, Mapping, Sequence

from sdgen.request import FIELDS

_OPTIONS: Mapping[str, str] = {
    "guidance": "scale true-cfg-scale unconditional-guidance-scale",
    "guidance-rescale": "cfg-rescale cfg-rescale-multiplier rescale-cfg rescale",
    "negative": "neg neg-prompt no uc unconditional-prompt",
    "count": "num num-images n-images images images-per-prompt num-images-per-prompt n-iter iterations "
    "n-samples num-samples samples batch-count num-outputs repeat auto-seeds",
    "steps": "ddim-steps inference-steps num-steps n-steps sampling-steps sample-steps",
    "sampler": "sampling-method sample-method method plms",
    "schedule": "noise-schedule scheduler-type sigmas",
    "seed": "seeds random-seed manual-seed noise-seed global-seed",
    "size": "resolution res dimensions image-size ar aspect aspect-ratio",
    "width": "w",
    "height": "h",
    "model": "ckpt ckpt-path checkpoint model-path model-id base-model diffusion-model repo "
    "pretrained-model-name-or-path",
    "vae": "vae-path",
    "lora": "loras lora-path lora-paths lora-dir lora-model-dir lora-scale lora-scales lora-weight "
    "lora-weights network-weights network-mul",
    "embedding": "embeddings embd-dir embeddings-dir textual-inversion textual-inversion-embeddings",
    "prediction": "prediction-type parameterization v-parameterization v-prediction",
    "dtype": "precision torch-dtype half half-precision no-half fp16 fp32 bf16",
    "device": "cpu gpu gpu-id cuda",
    "backend": "framework",
    "low-memory": "lowvram medvram low-vram low-ram attention-slicing vae-tiling vae-slicing offload "
    "cpu-offload enable-model-cpu-offload vae-on-cpu offload-to-cpu",
    "output": "out outdir out-dir output-dir output-path outpath save-path save-dir",
    "name": "filename file-name filename-pattern prefix name-template",
    "format": "output-format image-format ext extension",
    "no-metadata": "disable-metadata disable-image-metadata",
    "batch-size": "vae-batch-size bs",
    "clip-skip": "clip-stop-at-last-layers",
    "rng": "rand-device randn-source generator",
    "zero-snr": "zero-terminal-snr rescale-betas-zero-snr ztsnr",
    "spacing": "timestep-spacing",
    "eta": "ddim-eta",
    "fast": "deepcache",
    "init-image": "image-path img2img input-image start-image",
    "strength": "image-strength denoise denoising",
    "hires": "hires-fix highres-fix enable-hr upscale upscale-by",
    "hires-method": "upscaler",
    "tiles": "tiled-diffusion multidiffusion panorama",
    "variation": "variation-amount variation-strength subseed-strength",
    "seamless": "tile tileable seamless-tiling",
    "grid": "contact-sheet sheet save-grid",
    "json": "output-json",
    "quiet": "silent",
    "no-input": "yes y non-interactive batch no-prompt",
    "verbose": "debug",
    "config": "config-file settings",
}
"""sdgen's options, each with its names in other tools, beside those that prompts files may use."""

_IN_FILES = {
    name.replace("_", "-"): field.parameter.replace("_", "-")
    for field in FIELDS.values()
    for name in (field.name, *field.aliases)
    if field.option
}
"""What prompts files may call a field, with its option."""

_MEANT = {
    **{name: option for name, option in _IN_FILES.items() if name != option},
    **{name: option for option, names in _OPTIONS.items() for name in names.split()},
}

_ADVICE: Mapping[str, str] = {
    "prompt text p": 'the prompt needs no option: sdgen "a red fox"',
    "prompt-file prompts-file from-file prompts batch-prompts-file": "sdgen batch FILE draws those of a file",
    "config-from-metadata": "sdgen replay IMAGE draws an image again",
    "scheduler": "did you mean --sampler or --schedule?",
    "upscale-model upscale-repeats": "sdgen upscale IMAGE enlarges it; --hires 2 enlarges and refines",
    "control-net control-image controlnet controlnet-image-path": "ControlNet is not supported",
    "restore-faces gfpgan facetool codeformer": "sdgen restores no faces",
    "subseed variations": "--variation-of SEED --seed 1 draws a variation of that seed's picture",
    "quantize type quantization": "weights are not quantised; --dtype float16 or bfloat16 takes less memory",
    "xformers sdp opt-sdp-attention flash-attention diffusion-fa compile torch-compile channels-last": (
        "leave it out: sdgen compiles and uses fused attention by itself"
    ),
    "threads": "taskset -c 0-3 sdgen ... keeps it to four processors",
    "safety-checker disable-safety-checker nsfw": "sdgen has no safety checker",
}
"""Options of other tools that no option corresponds to, and what to do instead."""

_INSTEAD = {name: advice for names, advice in _ADVICE.items() for name in names.split()}

_COMMANDS: Mapping[str, str] = {
    "generate": "draw",
    "txt2img": "draw",
    "text2image": "draw",
    "img2img": "draw",
    "pull": "models pull",
    "download": "models pull",
    "list": "models list",
    "convert": "models convert",
    "verify": "models verify",
    "info": "show",
    "settings": "config",
    "metadata": "show",
    "benchmark": "bench",
    "version": "--version",
}
"""First words that other tools' users type, and the command that they mean."""

_PROMPTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml")
_PICTURES = (".png", ".webp", ".jpg", ".jpeg")


def command(arguments: Sequence[str], commands: Collection[str]) -> str | None:
    """The question to ask where the first of the arguments looks like a command, not like a prompt.

    Args:
        arguments: of sdgen, the first being no command.
        commands: those that there are.
    """
    word = arguments[0]
    end = os.path.splitext(word)[1].lower()
    if end in (*_PROMPTS, *_PICTURES) and os.path.isfile(word):
        verb = "show" if end in _PICTURES else "batch"
        return f"{word} is a file; {_question(f'{verb} {shlex.quote(word)}', arguments)}"
    near = _COMMANDS.get(word.lower()) or _near(word.lower(), commands)
    return f"there is no command {word}; {_question(near, arguments)}" if near else None


def option(name: str, known: Collection[str]) -> str | None:
    """What to do about an option or a setting that there is not; None if nothing comes to mind.

    Args:
        name: as it was written, with or without dashes.
        known: those that there are, without dashes.
    """
    written = name.lstrip("-")
    dashes = name[: -len(written) or None]
    if (candidate := meant(written, known)) is not None:
        return f"did you mean {dashes}{candidate}?"
    return _INSTEAD.get(_plain(written))


def meant(name: str, known: Collection[str]) -> str | None:
    """The one of the ``known`` names, without dashes in front, that a name is likely to mean; or None."""
    plain = _plain(name)
    if plain in _INSTEAD:
        return None
    for candidate in (plain, _MEANT.get(plain), *difflib.get_close_matches(plain, known, n=1, cutoff=0.7)):
        if candidate in known and candidate != name:
            return candidate
    return None


def _plain(name: str) -> str:
    return name[:60].replace("_", "-").lower()


def _near(word: str, names: Collection[str]) -> str | None:
    """The name that differs by two letters changing places, or else little."""
    for name in names:
        if any(word == name[:at] + name[at : at + 2][::-1] + name[at + 2 :] for at in range(len(name))):
            return name
    near = difflib.get_close_matches(word[:60], names, n=1, cutoff=0.81)
    return near[0] if near else None


def _question(command: str, arguments: Sequence[str]) -> str:
    # Drawing needs no command; what comes after the word is the prompt.
    words = [shlex.quote(word) for word in arguments[1:]] if command == "draw" else [command]
    return (
        f"did you mean {' '.join(['sdgen', *words])}? to draw it: {shlex.join(['sdgen', 'draw', *arguments])}"
    )
