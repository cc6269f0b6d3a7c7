"""``sdgen bench``: how fast this machine draws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from sdgen.cli.benchmark.measure import RANDOM, Settings, run
from sdgen.cli.command import Command
from sdgen.cli.downloads import locate
from sdgen.cli.options import BACKENDS, DTYPES, MAX_BATCH
from sdgen.cli.terminal import streams
from sdgen.cli.types import Field, Model, Name, Size, Whole, Wholes
from sdgen.text.plurals import counted

EXAMPLES = """\
sdgen bench                       the bundled model
sdgen bench --model random-sd2.1  SD 2.1's shapes with random weights
sdgen bench --model sd2.1-base --steps 50 --json"""


@click.command("bench", cls=Command, notes=(("Examples", EXAMPLES),))
@click.option(
    "-m",
    "--model",
    type=Model(),
    default="mini",
    show_default=True,
    help="As for drawing, or random-sd2.1 or random-sd1.5: their shapes with random weights.",
)
@click.option("--size", type=Size(), metavar="WxH", help="Pixels. Default: the model's.")
@click.option("--steps", type=Field("steps"), help="Default: the model's.")
@click.option("--guided/--unguided", default=True, help="With classifier-free guidance, or without.")
@click.option("--batch-size", type=Wholes(MAX_BATCH), default="1", show_default=True, help="Images at once.")
@click.option("--repeats", type=Whole(1000), default=3, show_default=True, help="Runs; the median counts.")
@click.option("--start/--no-start", default=True, help="Measure the first picture of new processes, or not.")
@click.option("--backend", type=Name(BACKENDS), help="tensorflow, jax or auto.")
@click.option("--dtype", type=Name(DTYPES), help="auto, float32, bfloat16 or float16.")
@click.option("--device", metavar="DEVICE", help="cpu, gpu or gpu:N.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(
    model: str,
    size: tuple[int, int] | None,
    steps: int | None,
    guided: bool,
    batch_size: tuple[int, ...],
    repeats: int,
    start: bool,
    backend: str | None,
    dtype: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how fast this machine draws.

    Times are from prompts to pixels, with new prompts each time; what a file takes comes on top, as png.
    Random weights draw noise: no other command takes them.
    """
    if model not in RANDOM:
        locate(model)
    width, height = size or (None, None)
    settings = Settings(
        model, backend, dtype, device, width, height, steps, guided, batch_size, repeats, start
    )
    streams.drop_library_noise()
    with streams.results() as results:
        report = run(settings, streams.tell)
        results.line(json.dumps(report) if as_json else _text(report))


def _text(report: Mapping[str, Any]) -> str:
    lines = [
        f"{report['model']}, {report['width']}x{report['height']}, {counted(report['steps'], 'step')}, "
        f"{'guided' if report['guided'] else 'unguided'}, {report['dtype']}, {report['backend']} on "
        f"{report['device']}",
        "",
    ]
    for name, parts in report.get("start", {}).items():
        lines.append(
            f"{name} start      {parts['total']:7.2f} s to the first picture "
            f"({parts['imports_and_opening']:.2f} s until the model is open)"
        )
    for batch in report["batches"]:
        seconds = batch["seconds"]
        whole = seconds["total"] + seconds["png"]
        shares = ", ".join(
            f"{part} {100 * seconds[part] / whole:.1f} %" for part in ("text", "denoise", "decode", "png")
        )
        lines += [
            "",
            f"batch of {batch['batch_size']}",
            f"  seconds an image  {batch['seconds_per_image']:.4f}",
            f"  steps a second    {batch['steps_per_second']:.2f}",
            f"  shares            {shares}",
            f"  TFLOP/s           {batch['tflops']:.3f}, {100 * batch['fraction_of_matmul']:.1f} % of what "
            f"matmul reaches ({batch['tflop_per_image']:.3f} TFLOP an image)",
        ]
    lines += ["", f"matmul ceiling    {report['matmul_tflops']:.3f} TFLOP/s"]
    if report["peak_memory_bytes"] is not None:
        lines.append(f"peak memory       {report['peak_memory_bytes'] / 1e9:.2f} GB")
    return "\n".join(lines)
