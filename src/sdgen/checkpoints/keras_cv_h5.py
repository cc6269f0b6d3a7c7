"""keras_cv's weight files: HDF5 as Keras 2 wrote it, one file a network.

Only the order of layers and weights says which is which (``keras_hdf5``). keras_cv's layers come in the
order in which ``names`` walks the networks. Keras has convolutions as HWIO and dense layers as (in, out).
Scale factors (0.18215) are layers without weights, so none are lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdgen.checkpoints import module_lists
from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.families import REGISTRY, Family, Registry
from sdgen.checkpoints.families.shape_config import (
    shown_of_unet,
    text_encoder_config,
    unet_config,
    vae_config,
)
from sdgen.checkpoints.keras_hdf5 import Layers, read_files, read_layers
from sdgen.checkpoints.tensors import LazyTensor, Tensors, merge
from sdgen.errors import CheckpointError

UNET, TEXT_ENCODER, DECODER, ENCODER = "diffusion model", "text encoder", "decoder", "image encoder"
"""keras_cv's four networks."""


def open_h5(
    path: Path, prediction_type: str | None = None, own_vae: bool = True, families: Registry = REGISTRY
) -> Checkpoint:
    """keras_cv's files as a checkpoint, their weights unread.

    Args:
        path: a folder with the files of one model, or a diffusion model's file, the others being beside
            it. Which is which shows in their contents, not in their names. The image encoder may be
            missing; the VAE then has its decoder alone.
        prediction_type: "epsilon" (the default), "v_prediction" or "sample".
        own_vae: whether there must be a decoder; see ``open_checkpoint``.
        families: those that it may be of.

    Raises:
        CheckpointError: a file is missing, damaged, or not one that keras_cv wrote under Keras 2.
    """
    folder = path if path.is_dir() else path.parent
    files, faults = _scan(folder)
    if not path.is_dir():
        given = [file for file in files if file.path.name == path.name]
        if not given or given[0].network != UNET:
            raise faults.get(path.name) or CheckpointError(
                f"{path} is not keras_cv's diffusion model; give the file that is"
            )
        files = given + [file for file in files if file.network != UNET]
    # A cache folder may hold any model's files; one that cannot be read matters only if one is missing.
    fault = next(iter(faults.values()), None)
    unet = _only(path, UNET, files, fault)
    context = unet.width("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    readers = [file for file in files if file.width("embeddings.token_embedding.weight") == context]
    text_encoder = _only(path, TEXT_ENCODER, readers, fault)
    family = families.of_networks(str(path), {"unet": shown_of_unet(unet.tensors.shapes())})
    return Checkpoint(
        name=unet.path.stem,
        family=family,
        components={
            "unet": unet.component(unet_config(family, unet.tensors.shapes())),
            "text_encoder": text_encoder.component(
                text_encoder_config(family, text_encoder.tensors.shapes())
            ),
            "vae": _vae(path, family, files, fault, own_vae),
        },
        tokenizers=family.packaged_tokenizers(),
        scheduler={**family.scheduler, "prediction_type": prediction_type or "epsilon"},
        source=str(path),
    )


def _vae(
    path: Path,
    family: Family,
    files: Sequence[H5File],
    fault: CheckpointError | None,
    own_vae: bool,
) -> Component:
    if not own_vae and all(file.network != DECODER for file in files):
        return Component.missing(family.config("vae"), f"{path} (VAE)")
    halves = [_only(path, DECODER, files, fault)]
    if any(file.network == ENCODER for file in files):
        halves.append(_only(path, ENCODER, files, fault))
    tensors = merge(half.tensors for half in halves)
    return Component(
        vae_config(family, tensors.shapes()),
        tensors,
        tuple(half.path for half in halves),
        " and ".join(str(half.path) for half in halves),
    )


class H5File:
    """One of keras_cv's files: which network it is, and its tensors under diffusers names."""

    def __init__(self, path: Path, network: str, tensors: Tensors) -> None:
        self.path = path
        self.network = network
        self.tensors = tensors

    def width(self, name: str) -> int | None:
        """The last dimension of a tensor, None where there is no such tensor."""
        return self.tensors.lazy(name).shape[-1] if name in self.tensors else None

    def component(self, config: Mapping[str, Any]) -> Component:
        """The network with its configuration."""
        return Component(config, self.tensors, (self.path,), str(self.path))


def read_h5(path: Path) -> H5File | None:
    """One of keras_cv's four networks; None if the file holds something else.

    Raises:
        CheckpointError: the file is damaged, or its layers are not those of keras_cv's network.
    """
    return _read_h5(path, read_layers(path))


def _read_h5(path: Path, stored: Layers) -> H5File | None:
    network = _network([name for name, _ in stored])
    if network is None:
        return None
    modules = list(_modules(network, len(stored)))
    if len(modules) != len(stored):
        raise CheckpointError(
            f"{path} has {len(stored)} layers with weights where keras_cv's {network} has {len(modules)}"
        )
    entries: dict[str, LazyTensor] = {}
    for module, (name, weights) in zip(modules, stored, strict=True):
        slots = list(_slots(module))
        # The last layer of a residual block is its shortcut, there only where the width changes.
        if module.kind.endswith("resnet") and len(weights) == len(slots) - 2:
            slots = slots[:-2]
        if len(slots) != len(weights):
            raise CheckpointError(f"{path}: layer {name} has {len(weights)} weights instead of {len(slots)}")
        for (tensor, kind), weight in zip(slots, weights, strict=True):
            entry = _from_keras(kind, weight)
            if entry is None:
                raise CheckpointError(
                    f"{path}: layer {name} has a weight of shape {weight.shape} where {tensor} belongs"
                )
            entries[tensor] = entry
    return H5File(path, network, Tensors(entries))


def keras_cv_weights(network: str, tensors: Tensors) -> list[list[LazyTensor]]:
    """A network's tensors as keras_cv's own layers take them.

    Args:
        network: ``UNET``, ``TEXT_ENCODER``, ``DECODER`` or ``ENCODER``.
        tensors: under diffusers names; others than the network's are passed over.

    Returns:
        For each layer of the Keras model that has weights, in the order of ``model.layers``, its weights in
        the order of ``layer.weights``, in Keras' layouts.

    Raises:
        CheckpointError: a tensor is missing.
    """
    blocks = sum(name.endswith(".layer_norm1.weight") for name in tensors)
    result = []
    for module in _modules(network, blocks + 2):
        slots = list(_slots(module))
        if module.kind.endswith("resnet") and slots[-1][0] not in tensors:
            slots = slots[:-2]
        missing = [name for name, _ in slots if name not in tensors]
        if missing:
            raise CheckpointError(f"the weights lack {missing[0]}, which keras_cv's {network} needs")
        result.append([_to_keras(kind, tensors.lazy(name)) for name, kind in slots])
    return result


def _network(layer_names: Sequence[str]) -> str | None:
    """Which network layers belong to; Keras names a layer after its class."""
    if any(name.startswith("spatial_transformer") for name in layer_names):
        return UNET
    if any(name.startswith("clip_encoder_layer") for name in layer_names):
        return TEXT_ENCODER
    kinds = [re.sub(r"_\d+$", "", name) for name in layer_names]
    if "attention_block" not in kinds:
        return None
    # The decoder begins with two convolutions and one residual block, the encoder ends with two.
    return DECODER if kinds.index("attention_block") < len(kinds) / 2 else ENCODER


def _modules(network: str, layer_count: int) -> Iterator[module_lists.Module]:
    if network == UNET:
        yield from module_lists.unet_modules(module_lists.UNetLayout())
    elif network == DECODER:
        yield from module_lists.vae_decoder_modules()
    elif network == ENCODER:
        yield from module_lists.vae_encoder_modules()
    else:
        yield module_lists.Module("embeddings", "", "text embeddings")
        for number in range(layer_count - 2):
            yield module_lists.Module(f"encoder.layers.{number}", "", "text block")
        yield module_lists.Module("final_layer_norm", "", "norm")


_TEXT_SLOTS = {
    "text embeddings": (
        ("token_embedding.weight", "table"),
        ("position_embedding.weight", "table"),
    ),
    "text block": tuple(
        (f"{layer}.{kind}", "vector" if kind == "bias" or "norm" in layer else "linear")
        for layer in (
            "layer_norm1",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
            "layer_norm2",
            "mlp.fc1",
            "mlp.fc2",
        )
        for kind in ("weight", "bias")
    ),
}


def _slots(module: module_lists.Module) -> Iterator[tuple[str, str]]:
    """The tensors of a module in Keras' order: diffusers name and layout."""
    if module.kind in _TEXT_SLOTS:
        yield from ((f"{module.diffusers}.{name}", kind) for name, kind in _TEXT_SLOTS[module.kind])
        return
    for layer in module_lists.layers(module):
        yield f"{layer.diffusers}.weight", "vector" if layer.kind == "norm" else layer.kind
        if layer.bias:
            yield f"{layer.diffusers}.bias", "vector"


def _from_keras(kind: str, weight: LazyTensor) -> LazyTensor | None:
    """A Keras weight in diffusers' layout, as a view; None where its rank does not fit the layer."""
    rank = len(weight.shape)
    if kind == "vector":
        return weight if rank == 1 else None
    if kind == "table":
        return weight if rank == 2 else None
    if rank == 2 and kind in ("linear", "projection"):
        return weight.transpose(1, 0)
    if rank == 4 and kind in ("conv", "projection"):
        return weight.transpose(3, 2, 0, 1)
    if rank == 4 and kind == "pointwise" and weight.shape[:2] == (1, 1):
        return weight.reshape(weight.shape[2:]).transpose(1, 0)
    return None


def _to_keras(kind: str, tensor: LazyTensor) -> LazyTensor:
    """A diffusers tensor in Keras' layout, as a view."""
    if kind in ("vector", "table"):
        return tensor
    if kind == "pointwise":
        return tensor.transpose(1, 0).reshape((1, 1, *tensor.shape[::-1]))
    return tensor.transpose(1, 0) if len(tensor.shape) == 2 else tensor.transpose(2, 3, 1, 0)


def _scan(folder: Path) -> tuple[list[H5File], dict[str, CheckpointError]]:
    """keras_cv's files in a folder, and what is wrong with .h5 files there that cannot be read, by name."""
    files: list[H5File] = []
    faults: dict[str, CheckpointError] = {}
    for path, layers in read_files(sorted(folder.glob("*.h5"))).items():
        try:
            if isinstance(layers, CheckpointError):
                raise layers
            file = _read_h5(path, layers)
        except CheckpointError as error:
            faults[path.name] = error
        else:
            files += [file] if file else []
    return files, faults


def _only(path: Path, network: str, files: Sequence[H5File], fault: CheckpointError | None) -> H5File:
    fitting = [file for file in files if file.network == network]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        advice = f"perhaps it is this one: {fault}" if fault else "fetch it into the same folder"
        raise CheckpointError(f"{path}: keras_cv's {network} that goes with it (.h5) is missing; {advice}")
    found = ", ".join(file.path.name for file in fitting)
    if network == UNET:
        raise CheckpointError(f"{path} has several diffusion models ({found}); give the path of one of them")
    raise CheckpointError(f"{path}: several files hold keras_cv's {network} ({found}); move all but one away")
