"""Which of a request's prompts, and of what goes with them, a model can use."""

from __future__ import annotations

from sdgen.checkpoints import Checkpoint
from sdgen.errors import InputError
from sdgen.networks.text_networks import text_config
from sdgen.pipeline.label_encoding import knows_no_class, label_of
from sdgen.request import Request

_PROMPTS = {
    "prompt": "a prompt",
    "negative_prompt": "a negative prompt",
    "prompt_to": "a second prompt",
}


def check_prompts(request: Request, checkpoint: Checkpoint, name: str) -> None:
    """Refuse what a model would leave unheeded.

    Args:
        request: with every None filled in.
        checkpoint: the model.
        name: of the model.

    Raises:
        InputError: the model takes no prompt, or it means no class, or no layer of a text encoder is left.
    """
    if checkpoint.family.class_embedder:
        _check_classes(request, checkpoint, name)
    elif not checkpoint.family.takes_prompts:
        _require_no_prompts(request, name)
    if not request.clip_skip:
        return
    if not checkpoint.family.text:
        raise InputError(
            f"{name} has no text encoder, of which clip_skip leaves layers out; leave it out", "clip_skip"
        )
    layers = text_config(checkpoint.text_encoder.config).num_hidden_layers
    if request.clip_skip >= layers:
        raise InputError(
            f"clip_skip must be less than the {layers} layers of {name}'s text encoder, not "
            f"{request.clip_skip}",
            "clip_skip",
        )


def _check_classes(request: Request, checkpoint: Checkpoint, name: str) -> None:
    embedder = checkpoint.component(checkpoint.family.class_embedder)
    for field in _PROMPTS:
        if (text := getattr(request, field)) is not None:
            label_of(text, embedder, field)
    if request.guided and not request.negative_prompt.strip() and not knows_no_class(embedder):
        raise InputError(
            f"{name} was trained with a class for every picture, and guidance leads away from none; give "
            "another class as the negative prompt, or guidance 1",
            "guidance",
        )


def _require_no_prompts(request: Request, name: str) -> None:
    for field, what in _PROMPTS.items():
        if (getattr(request, field) or "").strip():
            raise InputError(f"{name} takes no prompt, and was given {what}; leave it out", field)
    if request.guided:
        raise InputError(
            f"{name} takes no prompt that guidance could strengthen; leave guidance out, or give 1, not "
            f"{request.guidance:g}",
            "guidance",
        )
