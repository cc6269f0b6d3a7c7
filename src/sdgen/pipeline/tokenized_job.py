"""``TokenizedJob``: a request with its prompts as tokens, and what a batch of them has in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.checkpoints.lora import scale_text
from sdgen.diffusion.interpolation import lerp
from sdgen.errors import InputError
from sdgen.pipeline.results import Job
from sdgen.request import Request

Array = np.ndarray[Any, np.dtype[np.float32]]

if TYPE_CHECKING:
    from sdgen.pipeline.prompt_encoding import PromptEncoder
    from sdgen.text.prompt_tokens import TokenizedPrompt


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedJob(Job):
    """A ``Job`` of ``Pipeline``'s.

    Attributes:
        prompt, negative: the tokens of its prompts.
        target: those of ``prompt_to``; None where it has none.
    """

    prompt: TokenizedPrompt
    negative: TokenizedPrompt
    target: TokenizedPrompt | None = None

    def warnings(self) -> tuple[str, ...]:
        """What did not fit the text encoder, a sentence each."""
        texts = {"prompt": self.prompt.truncated, "negative prompt": self.negative.truncated}
        if self.target is not None:
            texts["other prompt"] = self.target.truncated
        return tuple(
            f"the {name} is longer than 77 tokens; this was left out: {text!r}"
            for name, text in texts.items()
            if text
        )


def tokenized(job: Job) -> TokenizedJob:
    """The job, which this pipeline made."""
    assert isinstance(job, TokenizedJob)
    return job


def tokenize(request: Request, encoder: PromptEncoder, loras: Mapping[str, str]) -> TokenizedJob:
    """The request with its prompts as tokens.

    Args:
        request: every default filled in.
        encoder: of the model.
        loras: merged into the model, each with its scale, as text.

    Raises:
        InputError: a prompt cannot be read, or names a LoRA that is not among them.
    """
    prompt = encoder.tokenize(request.prompt, request.prompt_syntax)
    negative = encoder.tokenize(request.negative_prompt, request.prompt_syntax, "negative_prompt")
    target = None
    if request.prompt_to is not None:
        target = encoder.tokenize(request.prompt_to, request.prompt_syntax, "prompt_to")
    for tag in (*prompt.loras, *(target.loras if target else ())):
        scales = scale_text((tag.text_encoder_scale, tag.unet_scale))
        if loras.get(tag.name) != scales:
            raise InputError(
                f"the prompt names the LoRA {tag.name!r} at {scales}, which is not merged into this "
                "model; load the model with it",
                "prompt",
            )
    guided = request.guided
    encoded = (prompt, *([negative] if guided else []), *([target] if target else []))
    chunks = max(len(text.tokens) for text in encoded)
    size = (request.height, request.width, request.hires, request.tiles, request.masked, request.seamless)
    shape = (*size, guided, chunks, request.clip_skip, request.fast)
    return TokenizedJob(request, shape, prompt, negative, target)


def texts(jobs: Sequence[Job]) -> list[TokenizedPrompt]:
    """The prompts of a batch, the negative ones first; without those where guidance is off."""
    prompts = [tokenized(job).prompt for job in jobs]
    return [tokenized(job).negative for job in jobs] + prompts if jobs[0].request.guided else prompts


def encodings(
    jobs: Sequence[Job], encode: Callable[[Sequence[TokenizedPrompt]], Array | None]
) -> Array | None:
    """The text encodings of a batch, float32 (copies batch, length, width); see ``texts``.

    None for a model that takes no text. Those of a picture between two prompts are as far between theirs, of
    equally many chunks.

    Args:
        jobs: the batch.
        encode: encodes prompts, to one length.
    """
    first = texts(jobs)
    reads = [(number, tokenized(job)) for number, job in enumerate(jobs, len(first) - len(jobs))]
    ways = [(number, read.target, read.request.interpolation) for number, read in reads]
    targets = [target for _, target, _ in ways if target is not None]
    found = encode([*first, *targets])
    if found is None or not targets:
        return found
    mixed: Array = found[: len(first)].copy()
    others = iter(found[len(first) :])
    for number, target, share in ways:
        if target is not None:
            assert share is not None
            mixed[number] = lerp(mixed[number], next(others), share)
    return mixed


def guidance(requests: Sequence[Request]) -> Any:
    """Scale and rescale of each image, float32 (batch, 2); None where guidance is off."""
    if not requests[0].guided:
        return None
    return np.asarray([(request.guidance, request.guidance_rescale) for request in requests], np.float32)
