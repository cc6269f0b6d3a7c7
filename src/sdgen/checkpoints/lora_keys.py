"""The keys of LoRA files: which tensor of which network they change, and what part they play in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sdgen.checkpoints import module_lists
from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.families import Family
from sdgen.checkpoints.lora_changes import KINDS, Kind, Parts
from sdgen.checkpoints.tensors import Tensors
from sdgen.errors import CheckpointError

PEFT = "base_model.model."
"""What PEFT's own files put in front of a module's name."""


class Change(NamedTuple):
    """One kind of change of one tensor.

    Attributes:
        part: the component.
        module: its diffusers name; the tensor is the module's ``kind.of``.
        kind: what is done.
        parts: what it is done with.
    """

    part: str
    module: str
    kind: Kind
    parts: Parts

    @property
    def tensor(self) -> str:
        """The name of the tensor that is changed."""
        return f"{self.module}.{self.kind.of}"


_ROLE = re.compile(
    r"""(?:
        \.lora_(?P<a>down|up|mid)\.weight               # kohya, LyCORIS
      | \.lora_(?P<b>A|B)(?:\.\w+)?\.weight             # PEFT, with or without the adapter's name
      | (?:\.lora_linear_layer|\.lora|_lora)\.(?P<c>down|up)\.weight   # diffusers before PEFT
      | \.hada_(?P<d>w1_a|w1_b|w2_a|w2_b|t1|t2)         # LyCORIS LoHa
      | (?:_lora)?\.(?P<e>alpha)
      | \.(?P<f>a1|a2|b1|b2)\.weight                    # LyCORIS GLoRA
      | \.(?P<g>oft_blocks|rescale|diff|diff_b|w_norm|b_norm|on_input)
      | \.(?P<h>weight)                                 # LyCORIS (IA)^3
    )$""",
    re.VERBOSE,
)
"""The end of a key; what comes before is the module's name. Each place is tried in bounded time."""

_NAMES = {"A": "down", "B": "up", "weight": "factors"}

_REFUSED = {".dora_scale": "DoRA", ".lora_magnitude_vector": "DoRA", ".lokr_": "LoKr"}


def adapted(checkpoint: Checkpoint) -> dict[str, Component]:
    """The components of a checkpoint that LoRAs change."""
    networks = checkpoint.family.networks
    return {
        name: component
        for name, component in checkpoint.components.items()
        if name in networks and networks[name].lora_prefixes
    }


def find_changes(
    path: Path, stored: Tensors, components: Mapping[str, Component], family: Family
) -> tuple[list[Change], list[str]]:
    """What a file changes, and its keys that fit nothing.

    Args:
        path: what error messages call the file.
        stored: its tensors.
        components: what it may change, by name.
        family: of which they are.

    Raises:
        CheckpointError: it is of a kind that is not read.
    """
    finder = _Finder(components, family)
    modules: dict[tuple[str, str], dict[str, str]] = {}
    unknown = []
    for key in stored:
        refused = next((kind for mark, kind in _REFUSED.items() if mark in key), None)
        if refused:
            raise CheckpointError(
                f"{path} is a {refused} ({key}), which is not supported; take a LoRA, LoCon or LoHa"
            )
        match = _ROLE.search(key)
        place = finder.find(key[: match.start()]) if match else None
        if match is None or place is None:
            unknown.append(key)
            continue
        role = next(filter(None, match.groups()))
        # Of two spellings of one thing the first counts.
        if modules.setdefault(place, {}).setdefault(_NAMES.get(role, role), key) != key:
            unknown.append(key)
    changes = []
    for (part, module), roles in modules.items():
        found, left = _changes(part, module, roles, stored, components[part].tensors)
        changes += found
        unknown += left
    return changes, unknown


def _changes(
    part: str, module: str, roles: Mapping[str, str], stored: Tensors, tensors: Tensors
) -> tuple[list[Change], list[str]]:
    """The changes of one module and the keys that take no part in them."""
    found: dict[str, Change] = {}
    used: set[str] = set()
    for kind in KINDS:
        tensor = f"{module}.{kind.of}"
        if kind.of in found or not kind.needed <= roles.keys() or tensor not in tensors:
            continue
        if kind.matrix and len(tensors.lazy(tensor).shape) not in (2, 4):
            continue
        taken = (kind.needed | kind.more) & roles.keys()
        found[kind.of] = Change(part, module, kind, {role: stored.lazy(roles[role]) for role in taken})
        used |= taken
    return list(found.values()), [key for role, key in roles.items() if role not in used]


class _Finder:
    """Finds the module of a LoRA key among the modules of the networks."""

    def __init__(self, components: Mapping[str, Component], family: Family) -> None:
        self._modules = {
            part: {name.rpartition(".")[0] for name in component.tensors if name.endswith(".weight")}
            for part, component in components.items()
        }
        # kohya's names have underscores for dots; as module names have both, only a table can undo it.
        self._flat = {
            part: {module.replace(".", "_"): module for module in modules}
            for part, modules in self._modules.items()
        }
        self._prefixes = [
            (prefix, part) for part in components for prefix in family.networks[part].lora_prefixes
        ]
        encoders = [text.component for text in family.text if text.component in components]
        self._encoder = encoders[0] if encoders else None
        if "unet" in components:
            layout = module_lists.unet_layout(components["unet"].tensors)
            for ldm, module in module_lists.ldm_to_diffusers(module_lists.unet_modules(layout)).items():
                self._flat["unet"].setdefault(ldm.replace(".", "_"), module)

    def find(self, name: str) -> tuple[str, str] | None:
        """The component and diffusers module that a key's module name means, or None."""
        for prefix, part in self._prefixes:
            if name.startswith(prefix):
                flat = name.removeprefix(prefix).removeprefix("text_model_").replace(".", "_")
                module = self._flat[part].get(flat)
                return (part, module) if module in self._modules[part] else None
        name = name.removeprefix(PEFT)
        part, _, module = name.partition(".")
        if part not in self._modules:
            # Without the component's name, text encoders begin with one of these.
            bare = name.startswith(("text_model.", "encoder."))
            part, module = (self._encoder or "") if bare else "unet", name
        module = module.removeprefix("text_model.")
        if part == "unet":
            module = re.sub(r"\.to_out$", ".to_out.0", module.replace(".processor.", "."))
        else:
            module = re.sub(r"self_attn\.to_(q|k|v|out)$", r"self_attn.\1_proj", module)
        return (part, module) if module in self._modules.get(part, ()) else None
