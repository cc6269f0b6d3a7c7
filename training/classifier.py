"""The judge of the score: a small ResNet that says what a picture shows and in which style it is drawn.

It learns concepts from the real pictures of every style but one; how well it knows that held-out style says
how far its verdicts can be trusted. Pictures are recoloured too, so that a purple cat is a cat.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import captions, colours, data, models
from training.data import Emoji
from training.progress import Budget, Every, log

HELD_OUT_STYLE = "twemoji"
WIDTHS = (48, 96, 192, 320)
RECOLOURED = 0.5


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Identity()
        if stride != 1 or channels != width:
            self.skip = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Classifier(nn.Module):
    """(batch, 3, 256, 256) in 0..1 -> logits of concepts and of styles. Looks at half size."""

    def __init__(self, concepts: int, styles: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [
            nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        ]
        channels = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            blocks += [_Block(channels, width, 1 if stage == 0 else 2), _Block(width, width, 1)]
            channels = width
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.concept = nn.Linear(channels, concepts)
        self.style = nn.Linear(channels, styles)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(F.avg_pool2d(rgb, 2) * 2 - 1)
        return self.concept(features), self.style(features)


def concepts_of(rows: list[Emoji]) -> list[str]:
    """All concepts, in the order of the classifier's outputs."""
    return sorted({captions.concept(row) for row in rows})


def _augment(rgb: Tensor) -> Tensor:
    """Jitter, other colours and the blur and noise of a generated picture."""
    batch, device = len(rgb), rgb.device
    paint = torch.randint(len(colours.COLOURS), (batch,), device=device)
    paint[torch.rand(batch, device=device) > RECOLOURED] = -1
    rgb = data.jitter(colours.recolour(rgb, paint), 0.6, 1.08, 0.5)
    small = F.interpolate(F.avg_pool2d(rgb, 4), scale_factor=4, mode="bilinear")
    blur = torch.rand(batch, 1, 1, 1, device=device)
    rgb = torch.lerp(rgb, small, torch.where(blur < 0.5, torch.zeros_like(blur), blur))
    return rgb + 0.04 * torch.rand(batch, 1, 1, 1, device=device) * torch.randn_like(rgb)


def train(
    rows: list[Emoji], pictures: Tensor, out: Path, seconds: float, batch: int = 256
) -> dict[str, float]:
    """Trains, writes the weights, and returns the accuracy on the held-out style."""
    device = pictures.device
    vocabulary = {name: k for k, name in enumerate(concepts_of(rows))}
    styles = {name: k for k, name in enumerate(captions.STYLES)}
    concept = torch.tensor([vocabulary[captions.concept(row)] for row in rows], device=device)
    style = torch.tensor([styles[row.style] for row in rows], device=device)
    hidden = style == styles[HELD_OUT_STYLE]
    odds = torch.tensor([0.3 if row.skin_tone else 1.0 for row in rows], device=device)
    model = Classifier(len(vocabulary), len(styles)).to(device).to(memory_format=torch.channels_last)
    log(
        "classifier",
        millions=sum(weight.numel() for weight in model.parameters()) / 1e6,
        concepts=len(vocabulary),
    )
    peak = 2e-3
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.05, fused=device.type == "cuda")
    budget, log_now, steps = Budget(seconds), Every(5), 0
    while (fraction := budget.fraction) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (steps + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * fraction)) + 1e-6
        chosen = torch.multinomial(odds, batch, replacement=True)
        rgb = _augment(data.as_rgb(pictures[chosen])).contiguous(memory_format=torch.channels_last)
        with models.autocast(device):
            concepts, drawn = model(rgb)
        each = F.cross_entropy(concepts.float(), concept[chosen], reduction="none", label_smoothing=0.1)
        known = (~hidden[chosen]).float()  # the held-out style teaches the style, never the concept
        loss = (each * known).sum() / known.sum().clamp_min(1) + 0.3 * F.cross_entropy(
            drawn.float(), style[chosen]
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        steps += 1
        if steps == 1 or log_now():
            log("classifier", step=steps, seconds=budget.spent, loss=loss.item())
    model.eval()
    models.save({k: v for k, v in model.state_dict().items() if v.is_floating_point()}, out)
    judged = hidden & torch.tensor([scored(row) for row in rows], device=device)
    top = (
        torch.cat([model(data.as_rgb(part))[0].topk(5, 1).indices for part in pictures[judged].split(256)])
        if judged.any()
        else torch.zeros(0, 5, device=device)
    )
    hits = top == concept[judged][:, None]
    result = {
        "held_out_top1": hits[:, 0].float().mean().item(),
        "held_out_top5": hits.any(1).float().mean().item(),
    }
    log("classifier", steps=steps, **result)
    return result


def scored(row: Emoji) -> bool:
    """Whether the score asks for such a picture: things, animals, food and places."""
    return (
        row.group in ("animals-nature", "food-drink", "objects", "travel-places", "activities")
        and row.subgroup != "time"
    )


class Judge:
    """A trained classifier and the names of its outputs."""

    def __init__(self, weights: Path, rows: list[Emoji], device: torch.device) -> None:
        self.concepts = {name: k for k, name in enumerate(concepts_of(rows))}
        self.styles = {name: k for k, name in enumerate(captions.STYLES)}
        self._device = device
        self._model = Classifier(len(self.concepts), len(self.styles))
        self._model.load_state_dict(models.read(weights), strict=False)
        self._model.to(device).eval()

    @torch.no_grad()
    def ranks(self, rgb: Tensor, wanted: list[str]) -> np.ndarray:
        """(n, 3, 256, 256) in 0..1 and the concept of each -> at which rank it is found, 0 the first."""
        places = [torch.zeros(0, dtype=torch.long)]
        for part, names in zip(rgb.split(128), _split(wanted, 128), strict=True):
            logits = self._model(part.to(self._device))[0]
            own = logits.gather(
                1, torch.tensor([[self.concepts[name]] for name in names], device=self._device)
            )
            places.append((logits > own).sum(1).cpu())
        return torch.cat(places).numpy()

    @torch.no_grad()
    def style(self, rgb: Tensor) -> list[str]:
        """The style of each picture."""
        found = torch.cat([self._model(part.to(self._device))[1].argmax(1).cpu() for part in rgb.split(128)])
        return [list(self.styles)[k] for k in found.tolist()]


def _split(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="emoji256.tar")
    parser.add_argument("--work", type=Path, required=True, help="folder of this run")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--limit", type=int, default=0)
    arguments = parser.parse_args()
    rows, pictures = data.load(arguments.data, arguments.work / "pictures.npy", arguments.limit)
    torch.manual_seed(0)
    out = arguments.work / "classifier.safetensors"
    train(rows, pictures.to(models.device()), out, arguments.seconds, arguments.batch)


if __name__ == "__main__":
    main()
