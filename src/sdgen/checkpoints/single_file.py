"""Single files, ``.safetensors`` or pickles, in the naming of the original code (LDM, with CLIP or OpenCLIP).

Layout: ``model.diffusion_model.*`` (UNet), ``first_stage_model.*`` (VAE) and
``cond_stage_model.transformer.*`` (SD 1: CLIP as transformers has it), ``cond_stage_model.model.*``
(SD 2: OpenCLIP, of which the last of the 24 layers is not used), ``cond_stage_model.embedding.weight`` (a
class embedder) or nothing more (models without text). The result equals that of diffusers' converters
(loaders/single_file_utils.py), as far as they read such files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sdgen.checkpoints import module_lists
from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.families import REGISTRY, Config, Family, Registry, TextEncoding
from sdgen.checkpoints.families.networks import CLASS_EMBEDDER
from sdgen.checkpoints.families.shape_config import (
    shown_of_unet,
    text_encoder_config,
    unet_config,
    vae_config,
)
from sdgen.checkpoints.original_unets import averaged, with_attention_apart
from sdgen.checkpoints.tensors import LazyTensor, Tensors
from sdgen.checkpoints.weight_file import read_texts, read_weights
from sdgen.errors import CheckpointError

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
CLASSES = "cond_stage_model.embedding."


def open_single_file(
    path: Path, prediction_type: str | None = None, own_vae: bool = True, families: Registry = REGISTRY
) -> Checkpoint:
    """A single-file checkpoint, its weights unread.

    Args:
        path: a ``.safetensors`` file, or a pickle (``.ckpt``).
        prediction_type: "epsilon", "v_prediction" or "sample", in place of what the file suggests.
        own_vae: whether it must have a VAE; see ``open_checkpoint``.
        families: those that it may be of.

    Raises:
        CheckpointError: the file is damaged, or is no whole model of a family that has such files.
    """
    stored = read_weights(path)
    _check_kind(path, stored, own_vae)
    unet = unet_tensors(_part(stored, UNET))
    family = families.of_networks(str(path), _shown(stored, unet))
    if family.averaged:
        unet = unet_tensors(averaged(stored, UNET))
    if prediction_type is None:
        prediction_type = _prediction_type(stored, read_texts(path), unet, family)
    scheduler = {**family.scheduler, "prediction_type": prediction_type}
    if "ztsnr" in stored:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    components = {
        "unet": Component(unet_config(family, unet.shapes()), unet, (path,), f"{path} (UNet)"),
        **{text.component: _text_encoder(path, family, text, stored) for text in family.text},
        **_class_embedder(path, family, stored),
        family.autoencoder: _vae(path, family, _part(stored, VAE)),
    }
    return Checkpoint(
        name=path.stem,
        family=family,
        components=components,
        tokenizers=family.packaged_tokenizers(),
        scheduler=scheduler,
        source=str(path),
        low_res_scheduler=family.low_res_scheduler,
    )


def _shown(stored: Tensors, unet: Tensors) -> dict[str, Config]:
    """The configurations by which a family recognises its model, as far as tensors show them."""
    shown: dict[str, Config] = {"unet": shown_of_unet(unet.shapes())}
    if f"{CLASSES}weight" in stored:
        shown["class_embedder"] = {"_class_name": CLASS_EMBEDDER.class_name}
    return shown


def _class_embedder(path: Path, family: Family, stored: Tensors) -> dict[str, Component]:
    name = family.class_embedder
    if not name:
        return {}
    tensors = _part(stored, CLASSES).renamed("embedding.{}".format)
    return {name: Component(family.config(name), tensors, (path,), f"{path} (class embedder)")}


def _text_encoder(path: Path, family: Family, text: TextEncoding, stored: Tensors) -> Component:
    if text.original == "clip":
        tensors = clip_tensors(_part(stored, CLIP))
    else:
        tensors = open_clip_tensors(_part(stored, OPEN_CLIP), text.layers)
    config = text_encoder_config(family, tensors.shapes())
    return Component(config, tensors, (path,), f"{path} (text encoder)")


def _vae(path: Path, family: Family, stored: Tensors) -> Component:
    source = f"{path} (VAE)"
    if not stored:
        return Component.missing(family.config(family.autoencoder), source)
    tensors = vae_tensors(stored)
    return Component(vae_config(family, tensors.shapes()), tensors, (path,), source)


def unet_tensors(stored: Tensors) -> Tensors:
    """A UNet's tensors, from LDM names without prefix to diffusers names."""
    layout = module_lists.ldm_unet_layout(stored)
    renamed = _renamed(stored, module_lists.ldm_to_diffusers(module_lists.unet_modules(layout)))
    return with_attention_apart(renamed) if layout.alone else renamed


def vae_tensors(stored: Tensors) -> Tensors:
    """A VAE's tensors, from LDM names without prefix to diffusers names.

    LDM has 1x1 convolutions in the attention block where diffusers has linear layers. Files that went
    through other programs' converters may have diffusers' names and shapes there, in the midst of LDM's.
    """
    stored = stored.renamed(lambda name: _ldm_attention(name) if name.startswith(VAE_PARTS) else None)
    renamed = _renamed(stored, module_lists.ldm_to_diffusers(module_lists.vae_modules(stored)))
    attention = {
        name: entry.reshape(entry.shape[:2])
        for name, entry in renamed.items_lazy()
        if ".attentions." in name and entry.shape[2:] == (1, 1)
    }
    return renamed.replaced(attention)


VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.")
"""A VAE's tensors; files of a trained VAE may hold its discriminator beside them."""


_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
"""Layers of the VAE's attention as diffusers names them, since 0.15 and before, -> LDM."""


def _ldm_attention(name: str) -> str:
    block, mark, rest = name.partition(".mid.attn_1.")
    layer, _, kind = rest.rpartition(".")
    return f"{block}{mark}{_ATTENTION.get(layer, layer)}.{kind}" if mark and layer else name


def clip_tensors(stored: Tensors) -> Tensors:
    """A CLIP text encoder's tensors under transformers 5's names."""
    renamed = stored.renamed(lambda name: name.removeprefix("text_model."))
    return renamed.renamed(lambda name: name if name.startswith(CLIP_PARTS) else None)


CLIP_PARTS = ("embeddings.token", "embeddings.position_embedding", "encoder.layers.", "final_layer_norm.")


def open_clip_tensors(stored: Tensors, layers: int | None) -> Tensors:
    """An OpenCLIP text encoder's tensors, without prefix, under transformers 5's names.

    OpenCLIP keeps queries', keys' and values' projections in one tensor, in this order. Its projection into
    the space shared with images is left out.

    Args:
        stored: the tensors.
        layers: how many layers are run; the next one is left out.
    """
    entries: dict[str, LazyTensor] = {
        name: stored.lazy(original) for name, original in module_lists.TEXT_ENDS.items() if original in stored
    }
    layer_names = {original: name for name, original in module_lists.TEXT_LAYER.items()}
    for original, entry in stored.items_lazy():
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", original)
        if not match or original.startswith(f"transformer.resblocks.{layers}."):
            continue
        number, layer, kind = match.groups()
        block = f"encoder.layers.{number}"
        if layer == "attn.in_proj" and entry.shape:
            width = entry.shape[0] // 3
            for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
                rows = entry.rows(index * width, (index + 1) * width)
                entries[f"{block}.self_attn.{part}.{kind}"] = rows
        elif layer in layer_names:
            entries[f"{block}.{layer_names[layer]}.{kind}"] = entry
    return Tensors(entries)


def _part(stored: Tensors, prefix: str) -> Tensors:
    return stored.renamed(lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None)


def _renamed(stored: Tensors, layer_names: Mapping[str, str]) -> Tensors:
    """Tensors whose layers have names in the table; others stay as they are, for a check to report."""

    def rename(name: str) -> str:
        layer, _, kind = name.rpartition(".")
        return f"{layer_names.get(layer, layer)}.{kind}"

    return stored.renamed(rename)


_CONDITIONS = (CLIP, OPEN_CLIP, CLASSES)


def _check_kind(path: Path, stored: Tensors, own_vae: bool) -> None:
    if f"{CLIP}token_emb.weight" in stored:
        raise CheckpointError(
            f"{path} is latent diffusion's text model without the word pieces that it reads; take the folder "
            "of it, ldm-text2im-large-256"
        )
    needed = {"UNet": (UNET,), "VAE": (VAE,), "text encoder": _CONDITIONS}
    if f"{UNET}middle_block.1.qkv.weight" in stored:  # It attends to itself alone.
        del needed["text encoder"]
    missing = [
        part for part, prefixes in needed.items() if not any(name.startswith(prefixes) for name in stored)
    ]
    if not missing or (missing == ["VAE"] and not own_vae):
        return
    kinds = [
        (r"lora_|.*\.lora_|.*\.hada_", "a LoRA, which is given with --lora beside a model"),
        (r"conditioner\.embedders\.", "an SDXL model; only Stable Diffusion 1 and 2 are read"),
        (r"(model\.diffusion_model\.)?(joint|double)_blocks\.", "a model of Stable Diffusion 3 or Flux"),
        (r"control_model\.", "a ControlNet, not a whole model"),
        (r"(encoder|decoder)\.", "a VAE, which is given with --vae beside a model"),
        (r"emb_params|string_to_param", "a textual inversion embedding, not a model"),
    ]
    for pattern, kind in kinds:
        if any(re.match(pattern, name) for name in stored):
            raise CheckpointError(f"{path} is {kind}")
    if missing == ["VAE"]:
        raise CheckpointError(f"{path} has no VAE; give one with --vae, that of another model of its family")
    raise CheckpointError(
        f"{path} has no {' and no '.join(missing)} under the original names of Stable Diffusion; "
        "a whole model is needed, as one file or as a diffusers folder"
    )


def _prediction_type(stored: Tensors, metadata: Mapping[str, str], unet: Tensors, family: Family) -> str:
    """What the network predicts: as the file says, else as its weights tell, else as the family does."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    if said.startswith("v"):
        return "v_prediction"
    if said in ("epsilon", "sample"):
        return said
    marked = metadata.get("ss_v_parameterization", "").lower()
    if "v_pred" in stored or marked == "true" or metadata.get("modelspec.architecture", "").endswith("768-v"):
        return "v_prediction"
    if marked != "false" and family.predicts_v is not None and family.predicts_v(unet):
        return "v_prediction"
    return str(family.scheduler["prediction_type"])
