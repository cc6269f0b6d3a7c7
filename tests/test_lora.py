"""LoRAs merged into weights."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import checkpoint_files as files
import lora_files
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdgen.checkpoints import Checkpoint, open_checkpoint
from sdgen.checkpoints.lora import apply_loras
from sdgen.errors import CheckpointError, ModelUnavailable

TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "down_blocks.0.resnets.0.conv1"
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def mini() -> Checkpoint:
    return open_checkpoint(files.MINI)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.1, shape).astype(np.float32)


def change(
    mini: Checkpoint, tmp_path: Path, tensors: dict[str, np.ndarray], name: str, scale: float = 1.0
) -> np.ndarray:
    """By how much a LoRA file with these tensors changes a weight of the UNet."""
    save_file(tensors, tmp_path / "lora.safetensors")
    merged = apply_loras(mini, [(tmp_path / "lora.safetensors", scale)])
    return merged.unet.tensors[f"{name}.weight"] - mini.unet.tensors[f"{name}.weight"].astype(np.float32)


@pytest.mark.parametrize("name", lora_files.WRITERS)
def test_merged_weights_are_those_that_diffusers_fuses(mini: Checkpoint, tmp_path: Path, name: str) -> None:
    path = lora_files.WRITERS[name](tmp_path / "lora.safetensors")
    merged = apply_loras(mini, [(path, lora_files.SCALE)])
    assert merged.warnings == ()
    golden = np.load(files.GOLDEN / "lora.npz")
    expected = {
        key.removeprefix(f"{name}/"): golden[key] for key in golden.files if key.startswith(f"{name}/")
    }
    changed = {
        f"{part}.{key}"
        for part in ("unet", "text_encoder")
        for key in getattr(mini, part).tensors
        if getattr(mini, part).tensors.lazy(key) is not getattr(merged, part).tensors.lazy(key)
    }
    assert changed == set(expected)
    for key, weight in expected.items():
        part, _, tensor = key.partition(".")
        np.testing.assert_allclose(
            getattr(merged, part).tensors[tensor][::16, ::16], weight, rtol=0, atol=2e-6
        )


def test_merged_weights_are_float32_and_of_the_same_shape(mini: Checkpoint, tmp_path: Path) -> None:
    merged = apply_loras(mini, [(lora_files.kohya(tmp_path / "lora.safetensors"), 1.0)])
    weight = merged.unet.tensors[f"{CONV}.weight"]
    assert weight.dtype == np.float32
    assert merged.unet.tensors.shapes() == mini.unet.tensors.shapes()


@pytest.mark.parametrize(
    ("original", "module"),
    [
        ("input_blocks.1.1.transformer_blocks.0.attn1.to_q", TO_Q),
        ("input_blocks.1.0.in_layers.2", CONV),
        ("input_blocks.2.0.op", "down_blocks.0.downsamplers.0.conv"),
        ("middle_block.1.proj_in", "mid_block.attentions.0.proj_in"),
        ("output_blocks.1.1.conv", "up_blocks.0.upsamplers.0.conv"),
        (
            "output_blocks.2.1.transformer_blocks.0.ff.net.2",
            "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
        ),
        ("time_embed.0", "time_embedding.linear_1"),
        ("out.2", "conv_out"),
    ],
)
@pytest.mark.parametrize("roles", [("lora_down", "lora_up"), ("lora_A", "lora_B")])
@pytest.mark.parametrize("writer", ["kohya", "ComfyUI"])
def test_original_module_names(
    mini: Checkpoint, tmp_path: Path, writer: str, roles: tuple[str, str], original: str, module: str
) -> None:
    key = f"diffusion_model.{original}" if writer == "ComfyUI" else f"lora_unet_{original.replace('.', '_')}"
    shape = mini.unet.tensors.shapes()[f"{module}.weight"]
    down, up = lora_files.factors(module, shape)
    tensors = {f"{key}.{roles[0]}.weight": down, f"{key}.{roles[1]}.weight": up}
    delta = (up.reshape(len(up), -1) @ down.reshape(len(down), -1)).reshape(shape)
    np.testing.assert_allclose(change(mini, tmp_path, tensors, module), delta, atol=1e-6)
    tensors[f"{key}.alpha"] = np.array(1.0, np.float32)
    np.testing.assert_allclose(change(mini, tmp_path, tensors, module), delta / 4, atol=1e-6)


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_adapters_of_peft_are_merged_as_the_same_in_one_file(
    mini: Checkpoint, tmp_path: Path, prefix: str
) -> None:
    unet = lora_files.peft_adapter(tmp_path / "unet", lora_files.UNET | lora_files.UNET_MORE)
    modules = lora_files.TEXT_ENCODER | lora_files.TEXT_ENCODER_MORE
    text_encoder = lora_files.peft_adapter(tmp_path / "text_encoder", modules, prefix)
    apart = apply_loras(mini, [(unet, lora_files.SCALE), (text_encoder, lora_files.SCALE)])
    together = apply_loras(mini, [(lora_files.peft(tmp_path / "lora.safetensors"), lora_files.SCALE)])
    assert apart.warnings == ()
    for part in ("unet", "text_encoder"):
        expected = getattr(together, part).tensors
        for key in expected:
            np.testing.assert_array_equal(getattr(apart, part).tensors[key], expected[key], key)


def test_alpha_of_an_adapter_of_peft(mini: Checkpoint, tmp_path: Path) -> None:
    """It is in adapter_config.json; without that file it counts as the rank, 4."""
    path = lora_files.peft_adapter(tmp_path, {TO_Q: (96, 96)})
    config = tmp_path / "adapter_config.json"
    down, up = lora_files.factors(TO_Q, (96, 96))

    def merged() -> Checkpoint:
        return apply_loras(mini, [(path, 1.0)])

    def factor() -> float:
        delta = merged().unet.tensors[f"{TO_Q}.weight"] - mini.unet.tensors[f"{TO_Q}.weight"]
        return round(float((delta / (up @ down)).mean()), 3)

    assert (factor(), merged().sha256() == merged().sha256()) == (0.5, True)
    identity = merged().sha256()
    config.write_text(json.dumps({"lora_alpha": 8, "use_rslora": True, "alpha_pattern": {}}))
    assert factor() == 4.0
    assert merged().sha256() != identity
    config.write_text(json.dumps({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 1}}))
    assert factor() == 0.25
    config.write_text(json.dumps({"alpha_pattern": {"to_q": 2, "attn1.to_q": 1, "text_model.to_q": 8}}))
    assert factor() == 0.5
    config.write_text(json.dumps({"alpha_pattern": [1]}))
    with pytest.raises(CheckpointError, match=r"adapter_config.json has an unreadable lora_alpha"):
        merged()
    config.write_text(json.dumps({"lora_alpha": "much"}))
    with pytest.raises(CheckpointError, match=r"adapter_config.json has an unreadable lora_alpha"):
        merged()
    config.unlink()
    assert factor() == 1.0


def test_adapter_config_of_another_file_does_not_count(mini: Checkpoint, tmp_path: Path) -> None:
    down, up = lora_files.factors(TO_Q, (96, 96))
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 400}')
    tensors = {f"unet.{TO_Q}.lora_A.weight": down, f"unet.{TO_Q}.lora_B.weight": up}
    np.testing.assert_allclose(change(mini, tmp_path, tensors, TO_Q), up @ down, atol=1e-6)


def test_alpha_over_rank_scales_and_is_1_by_default(mini: Checkpoint, tmp_path: Path) -> None:
    down, up = lora_files.factors(TO_Q, (96, 96), rank=8)
    key = f"unet.{TO_Q}"
    tensors = {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    np.testing.assert_allclose(change(mini, tmp_path, tensors, TO_Q, 0.5), 0.5 * up @ down, atol=1e-6)
    tensors[f"{key}.alpha"] = np.array(2.0, np.float32)
    np.testing.assert_allclose(change(mini, tmp_path, tensors, TO_Q, 0.5), 0.125 * up @ down, atol=1e-6)


def test_several_loras_add_up(mini: Checkpoint, tmp_path: Path) -> None:
    one = lora_files.kohya(tmp_path / "one.safetensors")
    two = lora_files.attention_processors(tmp_path / "two.safetensors")
    name = f"{TO_Q}.weight"
    base = mini.unet.tensors[name].astype(np.float32)
    apart = [apply_loras(mini, [(path, 0.3)]).unet.tensors[name] - base for path in (one, two)]
    both = apply_loras(mini, [(one, 0.3), (two, 0.3)])
    np.testing.assert_allclose(both.unet.tensors[name] - base, sum(apart), atol=1e-6)


def test_linear_layer_given_as_convolution(mini: Checkpoint, tmp_path: Path) -> None:
    down, up = lora_files.factors(TO_Q, (96, 96))
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": down[..., None, None], f"{key}.lora_up.weight": up[..., None, None]}
    np.testing.assert_allclose(change(mini, tmp_path, tensors, TO_Q), up @ down, atol=1e-6)


def convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A convolution without padding: (in, height, width), (out, in, kh, kw)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight)


def test_locon_is_its_convolutions_in_a_row(mini: Checkpoint, tmp_path: Path) -> None:
    down, mid, up = random(4, 96, 1, 1), random(4, 4, 3, 3), random(96, 4, 1, 1)
    key = "lora_unet_" + CONV.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up}
    delta = change(mini, tmp_path, tensors, CONV)
    x = random(96, 6, 7)
    expected = convolve(convolve(convolve(x, down), mid), up)
    np.testing.assert_allclose(convolve(x, delta), expected, atol=1e-4)


def test_loha_is_the_product_of_two_low_rank_matrices(mini: Checkpoint, tmp_path: Path) -> None:
    a1, b1, a2, b2 = random(96, 4), random(4, 864), random(96, 4), random(4, 864)
    key = "lora_unet_" + CONV.replace(".", "_")
    tensors = dict(
        zip(
            (f"{key}.hada_{role}" for role in ("w1_a", "w1_b", "w2_a", "w2_b")), (a1, b1, a2, b2), strict=True
        )
    )
    tensors[f"{key}.alpha"] = np.array(1.0, np.float32)
    delta = change(mini, tmp_path, tensors, CONV)
    np.testing.assert_allclose(delta, ((a1 @ b1) * (a2 @ b2) / 4).reshape(96, 96, 3, 3), atol=1e-6)


def test_loha_in_tucker_form(mini: Checkpoint, tmp_path: Path) -> None:
    """LyCORIS' make_weight_cp: contract the core's second axis with b, then its first with a."""
    halves = [(random(2, 2, 3, 3), random(2, 96), random(2, 96)) for _ in range(2)]
    key = "lora_unet_" + CONV.replace(".", "_")
    tensors = {}
    full = np.ones((96, 96, 3, 3), np.float32)
    for number, (core, a, b) in enumerate(halves, 1):
        tensors |= {f"{key}.hada_t{number}": core, f"{key}.hada_w{number}_a": a, f"{key}.hada_w{number}_b": b}
        half = np.zeros_like(full)
        for i, j in itertools.product(range(2), range(2)):
            half += core[i, j] * a[i][:, None, None, None] * b[j][None, :, None, None]
        full *= half
    np.testing.assert_allclose(change(mini, tmp_path, tensors, CONV), full, atol=1e-6)


def test_unknown_keys_are_reported(mini: Checkpoint, tmp_path: Path) -> None:
    path = lora_files.kohya(tmp_path / "lora.safetensors")
    extra = {f"lora_unet_nowhere_{number}.lora_down.weight": random(4, 4) for number in range(5)}
    save_file(load_file(path) | extra, path)
    (warning,) = apply_loras(mini, [(path, 1.0)]).warnings
    assert warning.startswith("lora.safetensors: 5 of its 35 keys fit nothing in sd-mini")
    assert "lora_unet_nowhere_0" in warning and warning.endswith("and 2 more")


def test_half_of_a_pair_is_reported(mini: Checkpoint, tmp_path: Path) -> None:
    path = lora_files.kohya(tmp_path / "lora.safetensors")
    tensors = load_file(path)
    key = "lora_unet_" + CONV.replace(".", "_")
    del tensors[f"{key}.lora_up.weight"]
    save_file(tensors, path)
    merged = apply_loras(mini, [(path, 1.0)])
    assert f"{key}.lora_down.weight" in merged.warnings[0]
    assert merged.unet.tensors.lazy(f"{CONV}.weight") is mini.unet.tensors.lazy(f"{CONV}.weight")


def test_lora_for_another_model_names_key_and_shapes(mini: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": random(4, 320), f"{key}.lora_up.weight": random(320, 4)}
    with pytest.raises(
        CheckpointError, match=r"to_q.weight by a tensor of shape \(320, 320\), .* \(96, 96\)"
    ):
        change(mini, tmp_path, tensors, TO_Q)


def test_parts_that_do_not_fit_each_other(mini: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": random(4, 96), f"{key}.lora_up.weight": random(96, 5)}
    with pytest.raises(CheckpointError, match=r"the parts for .*to_q.weight do not fit together"):
        change(mini, tmp_path, tensors, TO_Q)


@pytest.mark.parametrize(
    ("role", "shape"),
    [("alpha", (0,)), ("alpha", (2,)), ("lora_down.weight", (96,)), ("lora_up.weight", (96, 0))],
)
def test_malformed_part_is_named(mini: Checkpoint, tmp_path: Path, role: str, shape: tuple[int, ...]) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": random(4, 96), f"{key}.lora_up.weight": random(96, 4)}
    tensors[f"{key}.{role}"] = np.zeros(shape, np.float32)
    with pytest.raises(CheckpointError, match=r"of shape \(.*\) for .*to_q.weight"):
        change(mini, tmp_path, tensors, TO_Q)


def test_parts_of_another_kind_are_left_out(mini: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    loha = {"w1_a": (96, 2), "w1_b": (2, 96), "w2_a": (96, 2), "w2_b": (2, 96)}
    tensors = {f"{key}.hada_{role}": random(*shape) for role, shape in loha.items()}
    expected = change(mini, tmp_path, tensors, TO_Q)
    tensors |= {f"{key}.lora_up.weight": random(96, 4)}
    np.testing.assert_array_equal(change(mini, tmp_path, tensors, TO_Q), expected)
    (warning,) = apply_loras(mini, [(tmp_path / "lora.safetensors", 1.0)]).warnings
    assert "1 of its 5 keys" in warning and "lora_up" in warning


def test_a_second_spelling_of_a_module_is_reported(mini: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": random(4, 96), f"{key}.lora_up.weight": random(96, 4)}
    tensors |= {f"unet.{TO_Q}.lora_A.weight": random(4, 96), f"unet.{TO_Q}.lora_B.weight": random(96, 4)}
    save_file(tensors, tmp_path / "lora.safetensors")
    (warning,) = apply_loras(mini, [(tmp_path / "lora.safetensors", 1.0)]).warnings
    assert "2 of its 4 keys" in warning and f"unet.{TO_Q}.lora_A.weight" in warning


@pytest.mark.parametrize("role", ["lora_down.weight", "alpha"])
def test_numbers_that_are_not_finite_are_refused(mini: Checkpoint, tmp_path: Path, role: str) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    tensors = {f"{key}.lora_down.weight": random(4, 96), f"{key}.lora_up.weight": random(96, 4)}
    tensors[f"{key}.{role}"] = np.full((4, 96) if "down" in role else (), np.nan, np.float32)
    with pytest.raises(CheckpointError, match=r"to_q.weight by numbers that are not finite"):
        change(mini, tmp_path, tensors, TO_Q)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".dora_scale", "DoRA"), (".lora_magnitude_vector.weight", "DoRA"), (".lokr_w1", "LoKr")],
)
def test_other_kinds_are_refused(mini: Checkpoint, tmp_path: Path, suffix: str, kind: str) -> None:
    path = lora_files.kohya(tmp_path / "lora.safetensors")
    save_file(load_file(path) | {"lora_unet_" + TO_Q.replace(".", "_") + suffix: random(1, 96)}, path)
    with pytest.raises(CheckpointError, match=f"is a {kind} .* not supported"):
        apply_loras(mini, [(path, 1.0)])


def test_file_that_changes_nothing_is_an_error(mini: Checkpoint, tmp_path: Path) -> None:
    save_file({"something": random(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"changes nothing in sd-mini .*'something'"):
        apply_loras(mini, [(tmp_path / "x.safetensors", 1.0)])


def test_a_file_that_is_no_weights_is_told(mini: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match=r"neither a \.safetensors file nor a pickle"):
        apply_loras(mini, [(tmp_path / "x.pt", 1.0)])


def test_missing_file(mini: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no LoRA at"):
        apply_loras(mini, [(tmp_path / "x.safetensors", 1.0)])


def test_folder_is_refused(mini: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder; give the .safetensors file in it"):
        apply_loras(mini, [(tmp_path, 1.0)])


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_unreadable_metadata_is_an_error(mini: Checkpoint, tmp_path: Path, text: str) -> None:
    path = lora_files.peft(tmp_path / "lora.safetensors")
    save_file(load_file(path), path, {"lora_adapter_metadata": text})
    with pytest.raises(CheckpointError, match="unreadable lora_adapter_metadata"):
        apply_loras(mini, [(path, 1.0)])


def test_identity_depends_on_lora_and_scale(mini: Checkpoint, tmp_path: Path) -> None:
    path = lora_files.kohya(tmp_path / "lora.safetensors")
    digests = {apply_loras(mini, [(path, scale)]).sha256() for scale in (0.5, 1.0)} | {mini.sha256()}
    assert len(digests) == 3


@pytest.mark.parametrize("kind", lora_files.lycoris_parts())
def test_merged_weights_are_those_of_lycoris(mini: Checkpoint, tmp_path: Path, kind: str) -> None:
    path = lora_files.lycoris(tmp_path / "lora.safetensors", kind)
    merged = apply_loras(mini, [(path, lora_files.SCALE)])
    golden = np.load(files.GOLDEN / "lycoris.npz")
    expected = {key.partition("/")[2]: golden[key] for key in golden.files if key.startswith(f"{kind}/")}
    changed = {
        key for key in mini.unet.tensors if mini.unet.tensors.lazy(key) is not merged.unet.tensors.lazy(key)
    }
    assert (merged.warnings, changed) == ((), set(expected))
    for key, weight in expected.items():
        found = merged.unet.tensors[key]
        found = found[::13, ::13] if found.ndim > 1 else found[::13]
        np.testing.assert_allclose(found, weight, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", lora_files.lycoris_parts())
def test_a_scale_of_0_leaves_weights_as_they_are(mini: Checkpoint, tmp_path: Path, kind: str) -> None:
    merged = apply_loras(mini, [(lora_files.lycoris(tmp_path / "lora.safetensors", kind), 0.0)])
    assert all(mini.unet.tensors.lazy(key) is merged.unet.tensors.lazy(key) for key in mini.unet.tensors)


def test_oft_of_kohya_is_that_of_lycoris(mini: Checkpoint, tmp_path: Path) -> None:
    path = lora_files.lycoris(tmp_path / "lycoris.safetensors", "oft, bounded")
    stored = load_file(path)
    kohya = tmp_path / "kohya.safetensors"
    save_file({key.replace("lora_unet_", "oft_unet_"): tensor for key, tensor in stored.items()}, kohya)
    one, two = (apply_loras(mini, [(file, 0.7)]).unet.tensors for file in (path, kohya))
    np.testing.assert_array_equal(one[f"{CONV}.weight"], two[f"{CONV}.weight"])


def test_glora_with_its_factors_the_other_way_round(mini: Checkpoint, tmp_path: Path) -> None:
    path = lora_files.lycoris(tmp_path / "new.safetensors", "glora")
    key = "lora_unet_" + TO_Q.replace(".", "_")
    stored = {name: tensor for name, tensor in load_file(path).items() if name.startswith(key)}
    new = change(mini, tmp_path, stored, TO_Q)
    swap = {"a1": "a2", "a2": "a1", "b1": "b2", "b2": "b1"}
    old = {
        name: stored[name.replace(role, swap[role])] if (role := name[-9:-7]) in swap else stored[name]
        for name in stored
    }
    np.testing.assert_array_equal(change(mini, tmp_path, old, TO_Q), new)


def test_a_lora_of_eight_bits_is_merged(mini: Checkpoint, tmp_path: Path) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    down, up = (array.astype(ml_dtypes.float8_e4m3fn) for array in (random(4, 96), random(96, 4)))
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
    expected = up.astype(np.float32) @ down.astype(np.float32)
    np.testing.assert_allclose(change(mini, tmp_path, tensors, TO_Q), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ("oft_blocks", (12, 8, 7)),
        ("oft_blocks", (11, 8, 8)),
        ("oft_blocks", (9, 16, 6, 6)),
        ("diff", (96, 95)),
        ("diff", (95,)),
        ("w_norm", (95,)),
    ],
)
def test_parts_that_do_not_fit_the_weight(mini: Checkpoint, tmp_path: Path, part: str, shape) -> None:
    key = "lora_unet_" + TO_Q.replace(".", "_")
    with pytest.raises(CheckpointError, match=r"do not fit its shape|by a tensor of shape"):
        change(mini, tmp_path, {f"{key}.{part}": random(*shape)}, TO_Q)


@pytest.mark.parametrize("part", [".dora_scale", ".lora_A", "_lora", ".hada_", ".weight"])
def test_a_key_that_repeats_itself_is_read_at_once(mini: Checkpoint, tmp_path: Path, part: str) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({part * 100_000 + "\n": random(1)}, path)
    started = time.process_time()
    with pytest.raises(CheckpointError, match="a tensor whose name has"):
        apply_loras(mini, [(path, 1.0)])
    assert time.process_time() - started < 5


@pytest.mark.parametrize("part", [".dora_scal", ".lora_A", "_lora", ".hada_w1", ".weight", ".a1", "x"])
def test_many_long_keys_are_read_in_bounded_time(mini: Checkpoint, tmp_path: Path, part: str) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({(part * 500)[:480] + f"{n}\n": random(1) for n in range(5000)}, path)
    started = time.process_time()
    with pytest.raises(CheckpointError, match="changes nothing"):
        apply_loras(mini, [(path, 1.0)])
    assert time.process_time() - started < 5


def test_many_patterns_of_alpha_are_read_in_bounded_time(mini: Checkpoint, tmp_path: Path) -> None:
    modules = {
        name.removesuffix(".weight"): shape
        for name, shape in mini.unet.tensors.shapes().items()
        if name.endswith("weight") and len(shape) == 2
    }
    path = lora_files.peft_adapter(tmp_path, modules)
    patterns = {f"to_q{n}": n for n in range(500_000)}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "alpha_pattern": patterns}))
    started = time.process_time()
    apply_loras(mini, [(path, 1.0)])
    assert time.process_time() - started < 5
