"""Packs trained weights as a diffusers folder in float16."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from training import models


def export(work: Path, base: Path, out: Path, channels: int = models.LATENT_CHANNELS) -> None:
    """Writes ``out`` from the weights in ``work``; tokenizer, index and SOURCES.md come from ``base``."""
    tokens = models.tokenizer(base)
    parts = {
        "unet": models.unet(channels),
        "vae": models.vae(channels),
        "text_encoder": models.text_encoder(tokens),
    }
    for name, model in parts.items():
        models.load(model, work / f"{name}.safetensors")
        model.to(torch.float16).save_pretrained(str(out / name))
        weights = {key.removeprefix("text_model."): tensor for key, tensor in model.state_dict().items()}
        weights.pop("embeddings.position_ids", None)
        models.save(weights, models.weights_of(out, name))
    models.scheduler().save_pretrained(str(out / "scheduler"))
    shutil.copytree(base / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    for name in ("SOURCES.md", "model_index.json"):
        shutil.copy(base / name, out / name)
    config = json.loads((out / "text_encoder" / "config.json").read_text())
    assert config["vocab_size"] == len(tokens)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--base", type=Path, required=True, help="diffusers folder with the tokenizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channels", type=int, default=models.LATENT_CHANNELS)
    arguments = parser.parse_args()
    export(arguments.work, arguments.base, arguments.out, arguments.channels)


if __name__ == "__main__":
    main()
