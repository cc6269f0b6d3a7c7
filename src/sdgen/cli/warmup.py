"""``sdgen warmup``: what the first picture of a shape would wait for, done beforehand."""

from __future__ import annotations

import itertools
import time

import click

from sdgen import models
from sdgen.backend import program_cache
from sdgen.cli.command import Command
from sdgen.cli.downloads import locate
from sdgen.cli.options import BACKENDS, DTYPES, MAX_BATCH
from sdgen.cli.prompts_needed import some_prompt
from sdgen.cli.terminal import streams
from sdgen.cli.types import Bytes, Model, Name, Sampler, Size, Wholes
from sdgen.diffusion.sampler_names import Named
from sdgen.models import size_text
from sdgen.request import Request

EXAMPLES = """\
sdgen warmup --model mini
sdgen warmup --size 512x512 --size 768x512 --batch-size 1,4
sdgen warmup --sampler euler-a --unguided"""

STEPS = 2
"""Steps of the pictures that a warm-up draws; any number of steps has the same programs."""


@click.command("warmup", cls=Command, notes=(("Examples", EXAMPLES),))
@click.option(
    "-m", "--model", type=Model(), default=models.DEFAULT, show_default=True, help="A name, folder or file."
)
@click.option(
    "--size", type=Size(), metavar="WxH", multiple=True, help="Pixels. Repeatable. Default: the model's."
)
@click.option("--batch-size", type=Wholes(MAX_BATCH), default="1", show_default=True, help="Images at once.")
@click.option("--guided/--unguided", default=True, help="With classifier-free guidance, or without.")
@click.option(
    "--sampler",
    type=Sampler(),
    help="Samplers that draw fresh noise have programs of their own. Default: the model's.",
)
@click.option("--backend", type=Name(BACKENDS), help="tensorflow, jax or auto.")
@click.option("--dtype", type=Name(DTYPES), help="auto, float32, bfloat16 or float16.")
@click.option("--device", metavar="DEVICE", help="cpu, gpu or gpu:N.")
@click.option("--variant", metavar="NAME", help="Weights to prefer in a diffusers folder: fp16.")
@click.option(
    "--cache-limit",
    type=Bytes(),
    default=program_cache.LIMIT,
    envvar="SDGEN_CACHE_LIMIT",
    help="Default: 4GB.",
)
def command(
    model: str,
    size: tuple[tuple[int, int], ...],
    batch_size: tuple[int, ...],
    guided: bool,
    sampler: Named | None,
    backend: str | None,
    dtype: str | None,
    device: str | None,
    variant: str | None,
    cache_limit: int,
) -> None:
    """Compile what drawing with a model needs, and keep it for later commands.

    Prints a line for each size and number of images at once. The programs are those of every prompt of up
    to 75 tokens, seed, number of steps and guidance scale.
    """
    import sdgen

    locate(model)
    streams.drop_library_noise()
    with streams.results() as results:
        pipeline = sdgen.load(model, backend=backend, dtype=dtype, device=device, variant=variant)
        for sides, batch in itertools.product(size or (None,), batch_size):
            width, height = sides or (None, None)
            request = pipeline.resolve(
                Request(
                    prompt=some_prompt(model, "a red heart"),
                    width=width,
                    height=height,
                    steps=STEPS,
                    guidance=None if guided else 1.0,
                    sampler=sampler and sampler.sampler,
                    seed=0,
                )
            )
            before, began = program_cache.size(), time.perf_counter()
            together = pipeline.batch_limit(batch)
            for event in pipeline.draw([pipeline.read(request)] * together, together, jit=True):
                images = getattr(event, "images", None)
                for image in images() if callable(images) else ():
                    if image.error is not None:
                        raise image.error
            seconds, added = time.perf_counter() - began, program_cache.size() - before
            done = f"compiled, {size_text(added)} kept" if added > 0 else "was compiled before"
            results.line(f"{request.width}x{request.height}, batch of {batch}: {done}, {seconds:.1f} s")
    program_cache.trim(cache_limit)
