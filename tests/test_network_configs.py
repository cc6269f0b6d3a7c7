"""config.json files of networks: types and bounds first, then shapes, before anything is built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import checkpoint_files as files
import pytest

import sdgen
from sdgen.checkpoints import open_checkpoint
from sdgen.cli.benchmark.random_models import configurations
from sdgen.errors import CheckpointError
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.pipeline import weight_shapes as shapes

MINI = {
    part: json.loads((files.MINI / part / "config.json").read_text())
    for part in ("unet", "text_encoder", "vae")
}
KINDS = {"unet": UNetConfig, "text_encoder": TextEncoderConfig, "vae": VAEConfig}


def read(part: str, **changes: Any) -> Any:
    return KINDS[part].from_config(MINI[part] | changes)


FIELDS = [
    ("unet", "in_channels"),
    ("unet", "out_channels"),
    ("unet", "block_out_channels"),
    ("unet", "layers_per_block"),
    ("unet", "transformer_layers_per_block"),
    ("unet", "attention_head_dim"),
    ("unet", "cross_attention_dim"),
    ("unet", "norm_num_groups"),
    ("unet", "norm_eps"),
    ("unet", "freq_shift"),
    ("unet", "flip_sin_to_cos"),
    ("unet", "use_linear_projection"),
    ("unet", "down_block_types"),
    ("unet", "sample_size"),
    ("text_encoder", "vocab_size"),
    ("text_encoder", "hidden_size"),
    ("text_encoder", "intermediate_size"),
    ("text_encoder", "num_hidden_layers"),
    ("text_encoder", "num_attention_heads"),
    ("text_encoder", "max_position_embeddings"),
    ("text_encoder", "hidden_act"),
    ("text_encoder", "layer_norm_eps"),
    ("vae", "in_channels"),
    ("vae", "out_channels"),
    ("vae", "latent_channels"),
    ("vae", "block_out_channels"),
    ("vae", "layers_per_block"),
    ("vae", "norm_num_groups"),
    ("vae", "mid_block_add_attention"),
    ("vae", "use_quant_conv"),
    ("vae", "use_post_quant_conv"),
    ("vae", "scaling_factor"),
    ("vae", "shift_factor"),
]
VALUES = {
    "text": "x",
    "list": [[1]],
    "map": {"a": 1},
    "small": -1e300,
    "nan": float("nan"),
    "infinite": float("inf"),
    "billion": 10**9,
    "huge": 10**400,
}


@pytest.mark.parametrize(
    "value", VALUES.values(), ids=["text", "list", "map", "small", "nan", "inf", "billion", "huge"]
)
@pytest.mark.parametrize(("part", "field"), FIELDS)
def test_a_field_of_another_type_or_size_is_named(part: str, field: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"{field}|a block of type") as caught:
        read(part, **{field: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("part", "field"),
    [("unet", "layers_per_block"), ("unet", "norm_eps"), ("vae", "scaling_factor"), ("unet", "in_channels")],
)
def test_null_where_a_number_belongs_is_named(part: str, field: str) -> None:
    with pytest.raises(CheckpointError, match=field):
        read(part, **{field: None})


def test_the_values_of_published_models_are_read() -> None:
    for name in ("random-sd1.5", "random-sd2.1"):
        unet, text_encoder, vae = configurations(name)
        assert UNetConfig.from_config(unet).sample_size == (64, 64)
        assert TextEncoderConfig.from_config(text_encoder).vocab_size == 49408
        assert VAEConfig.from_config(vae).scaling_factor == 0.18215
    assert read("vae", shift_factor=None).shift_factor == 0


@pytest.mark.parametrize(
    ("size", "version", "expected"),
    [
        (32, "0.8.1", (64, 64)),
        (32, "0.6.0", (64, 64)),
        (32, "0.9.0", (32, 32)),
        (32, "0.9.0.dev0", (32, 32)),
        (32, "0.27.2", (32, 32)),
        (32, None, (32, 32)),
        (96, "0.8.0", (96, 96)),
        ([32, 48], "0.8.0", (32, 48)),
        ([32, 48], "0.30.0", (32, 48)),
        (None, "0.8.0", (64, 64)),
    ],
)
def test_size_of_latents(size: Any, version: str | None, expected: tuple[int, int]) -> None:
    """Diffusers' StableDiffusionPipeline takes 64 for a smaller number that was written before 0.9."""
    assert read("unet", sample_size=size, _diffusers_version=version).sample_size == expected


def test_networks_are_described_without_keras() -> None:
    script = (
        "import sys; from sdgen.checkpoints import open_checkpoint;"
        "from sdgen.pipeline.weight_shapes import check_weights;"
        f"check_weights(open_checkpoint(__import__('pathlib').Path({str(files.MINI)!r})));"
        "assert not {'keras', 'tensorflow', 'jax'} & sys.modules.keys()"
    )
    source = str(Path(sdgen.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": source})


def copy_of_mini(folder: Path, part: str, **changes: Any) -> Path:
    shutil.copytree(files.MINI, folder)
    (folder / part / "config.json").write_text(json.dumps(MINI[part] | changes))
    return folder


def test_weights_of_the_bundled_model_fit() -> None:
    shapes.check_weights(open_checkpoint(files.MINI))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"layers_per_block": 16, "transformer_layers_per_block": 32}),
        ("text_encoder", {"num_hidden_layers": 128}),
        ("vae", {"layers_per_block": 16}),
        ("unet", {"cross_attention_dim": 8}),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_built(
    tmp_path: Path, part: str, changes: dict[str, Any]
) -> None:
    checkpoint = open_checkpoint(copy_of_mini(tmp_path / "model", part, **changes))
    started = time.process_time()
    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        shapes.check_weights(checkpoint)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"layers_per_block": 10**9}),
        ("unet", {"norm_eps": "x"}),
        ("vae", {"scaling_factor": "x"}),
        ("unet", {"freq_shift": [1]}),
        ("text_encoder", {"num_hidden_layers": 10**9}),
        ("text_encoder", {"vocab_size": 100}),
    ],
)
def test_the_command_refuses_a_config_with_status_4_and_without_keras(
    tmp_path: Path, part: str, changes: dict[str, Any]
) -> None:
    folder = copy_of_mini(tmp_path / "model", part, **changes)
    code = (
        "import sys; from sdgen.__main__ import main\n"
        f"sys.argv = ['sdgen', 'a fox', '--model', {str(folder)!r}, '-o', {str(tmp_path / 'x.png')!r}]\n"
        "try: main()\n"
        "finally: sys.stderr.write(repr(sorted({'keras', 'tensorflow', 'jax'} & set(sys.modules))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (4, "[]"), done.stderr
    assert "error: the " in done.stderr and "Traceback" not in done.stderr
