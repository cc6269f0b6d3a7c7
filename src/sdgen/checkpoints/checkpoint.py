"""What every checkpoint format is read into: the tensors of a model's networks under diffusers names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.checkpoints.families.family import Family
from sdgen.checkpoints.tensors import Shape, Tensors
from sdgen.errors import CheckpointError
from sdgen.files.user_files import open_regular

if TYPE_CHECKING:
    from sdgen.text.token_rows import Tokenizer


@dataclasses.dataclass(frozen=True)
class Component:
    """One network: its configuration and its weights.

    Attributes:
        config: diffusers' (UNet, VAE) or transformers' (text encoder) config.json.
        tensors: weights under the names and in the layouts of diffusers (convolutions OIHW, linear
            layers (out, in)) and of transformers 5 (text encoder: ``embeddings.…``, ``encoder.layers.…``,
            ``final_layer_norm.…``, without the older ``text_model.`` prefix), in the stored dtype.
        files: the files that hold the weights.
        source: what error messages call it.
    """

    config: Mapping[str, Any]
    tensors: Tensors
    files: tuple[Path, ...]
    source: str

    @classmethod
    def missing(cls, config: Mapping[str, Any], source: str) -> Component:
        """A network that a checkpoint lacks and another is to replace."""
        return cls(config, Tensors({}), (), source)

    def only(self, *prefixes: str) -> Component:
        """The tensors whose names start with one of ``prefixes``."""
        tensors = self.tensors.renamed(lambda name: name if name.startswith(prefixes) else None)
        return dataclasses.replace(self, tensors=tensors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model, ready to be put into networks.

    Attributes:
        name: short name, for sidecars.
        family: what its components are, what it is for and how it takes text.
        components: the networks, by the names that the family has for them; some may be missing.
        tokenizers: text to token numbers, by name; empty where there are none.
        scheduler: diffusers' scheduler_config.json.
        source: the folder or file that it was read from.
        changes: what was done to the weights after reading, as text (LoRAs, another VAE).
        warnings: what a user should know (LoRA keys that fit nothing).
        extra_files: files that hold what was merged into the networks (LoRAs).
        low_res_scheduler: likewise, of the noise on a small picture that is enlarged; may be empty.
    """

    name: str
    family: Family
    components: Mapping[str, Component]
    tokenizers: Mapping[str, Tokenizer] = dataclasses.field(default_factory=dict)
    scheduler: Mapping[str, Any]
    source: str
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    extra_files: tuple[Path, ...] = ()
    low_res_scheduler: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def component(self, name: str) -> Component:
        """One network, its configuration as the family has it used.

        Raises:
            CheckpointError: the checkpoint lacks it.
        """
        if name not in self.components:
            raise self.lacking(name)
        component = self.components[name]
        if fixed := self.family.fixed.get(name):
            return dataclasses.replace(component, config={**component.config, **fixed})
        return component

    @property
    def unet(self) -> Component:
        """As ``component``."""
        return self.component("unet")

    @property
    def text_encoder(self) -> Component:
        """The first text encoder, by the family's name for it; as ``component``."""
        return self.component(self.family.text[0].component if self.family.text else "text_encoder")

    @property
    def vae(self) -> Component:
        """The autoencoder, by the family's name for it; as ``component``."""
        return self.component(self.family.autoencoder)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            CheckpointError: the checkpoint lacks it.
        """
        if "tokenizer" not in self.tokenizers:
            raise self.lacking("tokenizer")
        return self.tokenizers["tokenizer"]

    def with_components(self, components: Mapping[str, Component]) -> Checkpoint:
        """The same checkpoint with components added or put in place of those of the same name."""
        return dataclasses.replace(self, components={**self.components, **components})

    def lacking(self, *names: str) -> CheckpointError:
        """The error that says which components or tokenizers a checkpoint lacks."""
        missing = " and no ".join(self.family.label(name) for name in names)
        return CheckpointError(
            f"{self.source} has no {missing}; copy the whole model again, or take one that has it"
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds weights, each once, in a fixed order."""
        order = [name for name in self.family.networks if name in self.components]
        order += [name for name in self.components if name not in order]
        of_components = (file for name in order for file in self.components[name].files)
        return tuple(dict.fromkeys([*of_components, *self.extra_files]))

    def sha256(self, hash_file: Callable[[Path], str] | None = None) -> str:
        """The weights' identity, 64 hexadecimal digits.

        One unchanged file: that file's sha256. Otherwise the sha256 of the files' digests, one a line in
        the order of ``files``, followed by ``changes``, one a line.

        Args:
            hash_file: gives a file's sha256; default ``file_sha256``. A caller may pass one that
                remembers digests between runs.

        Raises:
            CheckpointError: a file cannot be read.
        """
        digests = [(hash_file or file_sha256)(path) for path in self.files]
        if len(digests) == 1 and not self.changes:
            return digests[0]
        return hashlib.sha256("".join(f"{line}\n" for line in (*digests, *self.changes)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits, read in pieces of 1 MiB.

    Raises:
        CheckpointError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path, error=CheckpointError) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def check_shapes(component: Component, expected: Mapping[str, Shape]) -> None:
    """Check that a component holds exactly the tensors that a network asks for.

    Args:
        component: the weights.
        expected: shape by diffusers name, in diffusers' layouts (OIHW, (out, in)).

    Raises:
        CheckpointError: names the first tensors that are missing, unexpected or of another shape.
    """
    shapes = component.tensors.shapes()
    wrong = [
        f"{name} has shape {shapes[name]} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != tuple(shape)
    ]
    missing = [f"{name} is missing" for name in expected if name not in shapes]
    unexpected = [f"{name} is not part of the network" for name in shapes if name not in expected]
    faults = [*wrong, *missing, *unexpected]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"the weights of {component.source} do not fit its configuration: {'; '.join(faults[:3])}{more}; "
            "fetch the model again, or give the configuration that belongs to these weights"
        )
