"""``TokenizedJob``: a request with its prompts as tokens, and what a batch of them has in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.pipeline.results import Job
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.text.prompt_tokens import TokenizedPrompt


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedJob(Job):
    """A ``Job`` of ``Pipeline``'s.

    Attributes:
        prompt, negative: the tokens of its prompts.
    """

    prompt: TokenizedPrompt
    negative: TokenizedPrompt

    def warnings(self) -> tuple[str, ...]:
        """What did not fit the text encoder, a sentence each."""
        texts = {"prompt": self.prompt.truncated, "negative prompt": self.negative.truncated}
        return tuple(
            f"the {name} is longer than 77 tokens; this was left out: {text!r}"
            for name, text in texts.items()
            if text
        )


def tokenized(job: Job) -> TokenizedJob:
    """The job, which this pipeline made."""
    assert isinstance(job, TokenizedJob)
    return job


def texts(jobs: Sequence[Job]) -> list[TokenizedPrompt]:
    """The prompts of a batch, the negative ones first; without those where guidance is off."""
    prompts = [tokenized(job).prompt for job in jobs]
    return [tokenized(job).negative for job in jobs] + prompts if jobs[0].request.guided else prompts


def guidance(requests: Sequence[Request]) -> Any:
    """Scale and rescale of each image, float32 (batch, 2); None where guidance is off."""
    if not requests[0].guided:
        return None
    return np.asarray([(request.guidance, request.guidance_rescale) for request in requests], np.float32)
