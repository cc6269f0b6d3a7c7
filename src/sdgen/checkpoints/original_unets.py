"""What UNets without text have in CompVis's original files, and Stable Diffusion's have not.

Queries', keys' and values' projections are one tensor, in which those of a head follow one another
(ldm/modules/diffusionmodules/openaimodel.py, ``QKVAttentionLegacy``). Beside the weights there may be their
averages over training, under names without dots (ldm/modules/ema.py), with which the scripts there draw.
"""

from __future__ import annotations

from sdgen.checkpoints.families.latent_diffusion import HEAD_WIDTH
from sdgen.checkpoints.tensors import LazyTensor, Tensors

AVERAGES = "model_ema."


def with_attention_apart(unet: Tensors) -> Tensors:
    """A UNet's tensors under diffusers' names, each ``attentions.*.qkv`` as its three projections.

    A tensor whose heads are of another width stays as it is, for a check to report.
    """
    entries: dict[str, LazyTensor] = {}
    for name, entry in unet.items_lazy():
        block, mark, kind = name.rpartition(".qkv.")
        if mark and entry.shape and entry.shape[0] % (3 * HEAD_WIDTH) == 0:
            for index, part in enumerate(("to_q", "to_k", "to_v")):
                entries[f"{block}.{part}.{kind}"] = _flat(_projection(entry, index))
        else:
            entries[name] = _flat(entry) if name.endswith(".to_out.0.weight") else entry
    return Tensors(entries)


def averaged(stored: Tensors, prefix: str) -> Tensors:
    """The tensors below a prefix such as ``model.diffusion_model.``; for each its average if there is one."""
    shortened = prefix.removeprefix("model.")
    entries: dict[str, LazyTensor] = {}
    for name, entry in stored.items_lazy():
        if name.startswith(prefix):
            layer = name.removeprefix(prefix)
            average = AVERAGES + f"{shortened}{layer}".replace(".", "")
            entries[layer] = stored.lazy(average) if average in stored else entry
    return Tensors(entries)


def _projection(entry: LazyTensor, index: int) -> LazyTensor:
    """Queries', keys' or values' rows, of all heads."""
    rest = entry.shape[1:]
    shape = (entry.shape[0] // 3, *rest)
    return LazyTensor(
        shape,
        entry.dtype,
        lambda: entry.read().reshape(-1, 3, HEAD_WIDTH, *rest)[:, index].reshape(shape),
    )


def _flat(entry: LazyTensor) -> LazyTensor:
    """Without the last axis of a convolution over one position."""
    return entry.reshape(entry.shape[:2]) if entry.shape[2:] == (1,) else entry
