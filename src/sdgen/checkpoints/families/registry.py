"""The families that are read, and which of them a checkpoint is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from reprlib import repr as short
from typing import Any

from sdgen.checkpoints.families.family import Config, Family
from sdgen.checkpoints.families.ldm_class_conditional import LDM_CLASS_CONDITIONAL
from sdgen.checkpoints.families.ldm_super_resolution import LDM_SUPER_RESOLUTION
from sdgen.checkpoints.families.ldm_text_to_image import LDM_TEXT_TO_IMAGE
from sdgen.checkpoints.families.ldm_unconditional import LDM_UNCONDITIONAL
from sdgen.checkpoints.families.stable_diffusion_1 import INSTRUCT_PIX2PIX, SD1, SD1_INPAINTING
from sdgen.checkpoints.families.stable_diffusion_2 import SD2, SD2_DEPTH, SD2_INPAINTING
from sdgen.checkpoints.families.stable_diffusion_x2_upscaler import X2_UPSCALER
from sdgen.checkpoints.families.stable_diffusion_x4_upscaler import X4_UPSCALER
from sdgen.errors import CheckpointError

_ABSENT: tuple[Any, ...] = (None, [None, None])
"""What model_index.json has for a part that a model does without."""


_SECOND = "text_encoder_2"
"""The second text encoder. It tells families apart: without it a model that has it would be another."""


class Registry:
    """Families by name, in the order in which each is asked whether a checkpoint is of its kind.

    Args:
        families: the first stands for all where a model of another kind is refused.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = {family.name: family for family in families}

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families.values())

    def __getitem__(self, name: str) -> Family:
        return self._families[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all families."""
        return tuple(self._families)

    def with_family(self, family: Family) -> Registry:
        """A copy with one more family, asked last; one of the same name is replaced."""
        return Registry(list({**self._families, family.name: family}.values()))

    def of_networks(self, source: str, configs: Mapping[str, Config], among: Sequence[Family] = ()) -> Family:
        """The family whose networks have these configurations.

        Args:
            source: what error messages call the checkpoint.
            configs: by component, each a config.json or as much of it as shapes show.
            among: the families that come into question; by default all that have networks of these classes.

        Raises:
            CheckpointError: none has such networks.
        """
        for family in among or [family for family in self if _has_classes(family, configs)]:
            if family.recognises(configs):
                return family
        unet = configs.get("unet", {})
        raise CheckpointError(
            f"{source} is of no family that sdgen reads ({', '.join(self.names)}): its UNet takes "
            f"{short(unet.get('in_channels', 4))} channels and gives {short(unet.get('out_channels', 4))}; "
            "take a model of one of these"
        )

    def of_classes(self, path: str, index: Mapping[str, Any]) -> list[Family]:
        """The families whose networks a model_index.json names, those that leave the fewest unnamed.

        What may be replaced, and what text alone needs, may be absent.

        Args:
            path: what error messages call the file.
            index: its contents.

        Raises:
            CheckpointError: there are none.
        """
        fitting = [family for family in self if not _fault(family, index)]
        if not fitting:
            raise CheckpointError(self._refusal(path, index))
        if has_part(index, _SECOND):
            fitting = [family for family in fitting if _SECOND in family.networks]
        if not fitting:
            raise CheckpointError(
                f"{path} describes a model with two text encoders (SDXL); only SD 1 and 2 are read"
            )
        best = max(_fit(family, index) for family in fitting)
        return [family for family in fitting if _fit(family, index) == best]

    def _refusal(self, path: str, index: Mapping[str, Any]) -> str:
        nearest = next(iter(self))
        fault = _fault(nearest, index)
        return (
            f"{path} describes a {_shown(index.get('_class_name', 'model'))} whose {fault} is "
            f"{_shown(_class_of(index, fault) or 'absent')}; only Stable Diffusion 1 and 2 are read, where "
            f"it is {nearest.networks[fault].class_name}"
        )


def has_part(index: Mapping[str, Any], component: str) -> bool:
    """Whether a model has a part, as far as its model_index.json says."""
    return index.get(component) not in _ABSENT


def _has_classes(family: Family, configs: Mapping[str, Config]) -> bool:
    """Whether a family has these components, of the classes that their configurations name."""
    return all(
        name in family.networks and config.get("_class_name") == family.networks[name].class_name
        for name, config in configs.items()
    )


def _fit(family: Family, index: Mapping[str, Any]) -> tuple[int, int]:
    """How many networks of a family a model has, and less how many it lacks."""
    there = sum(has_part(index, component) for component in family.networks)
    return there, there - len(family.networks)


def _fault(family: Family, index: Mapping[str, Any]) -> str:
    """The first component for which a model does not have the family's network, or ""."""
    for component, network in family.networks.items():
        optional = network.replaceable or network.only_for_text
        if optional and not has_part(index, component):
            continue
        if _class_of(index, component) != network.class_name:
            return component
    return ""


def _class_of(index: Mapping[str, Any], component: str) -> Any:
    entry = index.get(component)
    return entry[1] if isinstance(entry, list) and len(entry) == 2 else None


def _shown(value: Any) -> str:
    """A name that a file gives, as short text."""
    return value if isinstance(value, str) and len(value) < 80 else short(value)


REGISTRY = Registry(
    (
        SD1,
        SD1_INPAINTING,
        INSTRUCT_PIX2PIX,
        X2_UPSCALER,
        X4_UPSCALER,
        SD2,
        SD2_INPAINTING,
        SD2_DEPTH,
        LDM_SUPER_RESOLUTION,
        LDM_TEXT_TO_IMAGE,
        LDM_UNCONDITIONAL,
        LDM_CLASS_CONDITIONAL,
    )
)
"""The families that sdgen reads."""
