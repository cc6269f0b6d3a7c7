"""What a row of the registry of families says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdgen.checkpoints.tensors import Tensors
from sdgen.text.bert_tokenizer import BertTokenizer
from sdgen.text.token_rows import Tokenizer
from sdgen.text.tokenizer import ClipTokenizer

FORCED: Mapping[str, Any] = {"steps_offset": 1, "clip_sample": False}
"""What diffusers' StableDiffusionPipeline sets in every scheduler that it is given."""

Config = Mapping[str, Any]
"""A network's config.json, or as much of it as the shapes of its tensors say."""


def _as_it_is(name: str) -> str | None:
    return name


@dataclass(frozen=True, kw_only=True)
class Network:
    """A kind of network, as diffusers' folders and LoRA files have it.

    Attributes:
        label: what sentences call it.
        class_name: its class in model_index.json.
        library: whose class that is, "diffusers" or "transformers".
        weights_name: the weights' file name without ending.
        rename: stored tensor name -> name in use; None for what the network does without.
        written_prefix: what is put before a tensor's name where a folder is written.
        lora_prefixes: how LoRA files that write underscores for dots begin the names of its modules.
        replaceable: whether a checkpoint may lack it because a file of its own takes its place.
        only_for_text: whether a checkpoint that lacks it may still do what needs no text.
    """

    label: str
    class_name: str
    library: str = "diffusers"
    weights_name: str = "diffusion_pytorch_model"
    rename: Callable[[str], str | None] = _as_it_is
    written_prefix: str = ""
    lora_prefixes: Sequence[str] = ()
    replaceable: bool = False
    only_for_text: bool = False


@dataclass(frozen=True, kw_only=True)
class TextEncoding:
    """How a family turns text into what its UNet attends to.

    Attributes:
        pad_token: fills a prompt up, where the weights come without a tokenizer.
        original: how single files name the encoder's tensors, "clip" or "open_clip".
        layers: how many of the encoder's layers are run where an original file holds more; the hidden state
            behind the last of them, normalised, is the encoding. None: all that there are.
        component: the text encoder's name among the components.
        tokenizer: the tokenizer's name.
        tokenizer_class: its kind.
        tokenizer_class_name: its class in model_index.json, of transformers.
    """

    pad_token: str
    original: str
    layers: int | None = None
    component: str = "text_encoder"
    tokenizer: str = "tokenizer"
    tokenizer_class: type[ClipTokenizer | BertTokenizer] = ClipTokenizer
    tokenizer_class_name: str = "CLIPTokenizer"


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a family's models share.

    Attributes:
        name: short name.
        tasks: what its models are trained for, names of ``sdgen.diffusion.choices.TASKS``.
        networks: its networks by the name of their component, in the order in which their files are hashed.
        recognises: whether networks are of this family, by their configurations; asked only where the
            networks' classes are the family's.
        text: how its text is encoded; empty where it takes none.
        configs: by component, configuration values that no shape shows.
        heads: attention heads at every resolution of the UNet, or None for heads of 64 channels.
        scheduler: the noise schedule and the prediction type, diffusers' scheduler_config.json.
        predicts_v: tells by a UNet's weights whether they were trained on v, where nothing says so; None
            where the scheduler's type holds for all.
        pipeline: diffusers' class for a folder, or None where sdgen does not write all of such a folder.
        autoencoder: name of the component between pixels and latents.
        class_embedder: name of the component that has a vector for each class, where a prompt is the number
            or a name of one; empty otherwise.
        averaged: whether its original files are drawn with by the weights' averages over training,
            ``model_ema``, where they have them.
        native_size: side of its pictures, pixels, where the UNet's configuration is not to be believed.
        forced: settings that diffusers' pipeline gives any scheduler.
        steps, guidance: where neither a request nor the catalogue has any.
        upscales: how many times its models enlarge a picture that they are given; 0 for others.
        fixed: by component, configuration values that stand above those of its config.json, as in diffusers'
            pipeline.
        low_res_scheduler: the schedule of the noise on a small picture that is enlarged, for weights without
            it; empty where there is no such noise.
    """

    name: str
    tasks: tuple[str, ...]
    networks: Mapping[str, Network]
    recognises: Callable[[Mapping[str, Config]], bool]
    text: tuple[TextEncoding, ...] = ()
    configs: Mapping[str, Config] = field(default_factory=dict)
    heads: int | None = None
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    predicts_v: Callable[[Tensors], bool] | None = None
    pipeline: str | None = None
    autoencoder: str = "vae"
    class_embedder: str = ""
    averaged: bool = False
    native_size: int | None = None
    forced: Mapping[str, Any] = field(default_factory=lambda: FORCED)
    steps: int = 50
    guidance: float = 7.5
    upscales: int = 0
    fixed: Mapping[str, Config] = field(default_factory=dict)
    low_res_scheduler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_prompts(self) -> bool:
        """Whether a picture is drawn of what a prompt says: a text, or a class."""
        return bool(self.text or self.class_embedder)

    def config(self, component: str) -> Config:
        """Configuration values of a component that no shape shows."""
        return self.configs.get(component, {})

    def packaged_tokenizers(self) -> dict[str, Tokenizer]:
        """CLIP's tokenizers of the family, for weights that come without any."""
        return {
            text.tokenizer: text.tokenizer_class.clip(text.pad_token)
            for text in self.text
            if issubclass(text.tokenizer_class, ClipTokenizer)
        }

    def label(self, component: str) -> str:
        """What sentences call a component or tokenizer."""
        if component in self.networks:
            return self.networks[component].label
        return _LABELS.get(component, component.replace("_", " "))


_LABELS = {"unet": "UNet", "vae": "VAE"}
"""What sentences call a component that a family lacks, where that is not its name."""


def latent_channels(unet: Config) -> int:
    """Channels of a UNet's latents, which are its outputs; 4, diffusers' default, if that is no number."""
    given = unet.get("out_channels", 4)
    return given if type(given) is int else 4


def extra_channels(unet: Config) -> int:
    """Channels that a UNet takes beside the noisy latents.

    0 for what is no number: the check of the configuration names that.
    """
    taken = unet.get("in_channels", 4)
    return taken - latent_channels(unet) if type(taken) is int else 0
