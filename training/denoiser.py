"""Trains text encoder and UNet together: v-prediction on a schedule of zero terminal SNR.

Loss and schedule: Salimans & Ho 2022 (v), Lin et al. 2024 ("Common diffusion noise schedules and sample steps
are flawed"). Captions are dropped one time in ten, for classifier-free guidance. What is kept is the moving
average of the weights.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import data, models
from training.examples import Encoder, Examples, Plan, encode_all
from training.progress import Budget, Every, log

DROPPED = 0.1
AVERAGE = 0.999
WEIGHT_DECAY = 0.01


class Denoiser(nn.Module):
    """UNet(noisy latents, timestep, text encoder(tokens))."""

    def __init__(self, tokens: models.CLIPTokenizer, channels: int = models.LATENT_CHANNELS) -> None:
        super().__init__()
        self.unet = models.unet(channels)
        self.text_encoder = models.text_encoder(tokens)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """(batch, channels, 32, 32), (batch,), (batch, 77) -> the predicted v, of the latents' shape."""
        words = self.text_encoder(input_ids=tokens).last_hidden_state
        return self.unet(noisy, timesteps, encoder_hidden_states=words, return_dict=False)[0]


def schedule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Signal and noise level of every timestep, (1000,) each; the last signal level is 0."""
    cumulative = models.scheduler().alphas_cumprod.double()
    return cumulative.sqrt().float().to(device), (1 - cumulative).sqrt().float().to(device)


def _stratified_timesteps(batch: int, count: int, device: torch.device) -> Tensor:
    """Uniform timesteps, one from each of ``batch`` equal parts, so that the loss varies less."""
    return ((torch.arange(batch, device=device) + torch.rand(batch, device=device)) * count / batch).long()


class Trainer:
    """The state of a run, and one step of it."""

    def __init__(
        self, denoiser: Denoiser, empty: list[int], device: torch.device, compile_step: bool
    ) -> None:
        self.denoiser = denoiser.to(device)
        denoiser.unet.to(memory_format=torch.channels_last)
        self.device = device
        self.steps = 0
        self._weights = list(denoiser.parameters())
        self.average = [weight.detach().clone() for weight in self._weights]
        self.optimiser = torch.optim.AdamW(
            self._weights, lr=1e-4, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=device.type == "cuda"
        )
        self._signal, self._noise = schedule(device)
        self._empty = torch.tensor(empty, device=device)
        self._predict = torch.compile(denoiser) if compile_step else denoiser

    def step(self, latents: Tensor, tokens: Tensor, rate: float) -> Tensor:
        """One step of the optimiser on a batch; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = len(latents)
        dropped = torch.rand(batch, device=self.device) < DROPPED
        tokens = torch.where(dropped[:, None], self._empty, tokens)
        timesteps = _stratified_timesteps(batch, len(self._signal), self.device)
        signal, noise = (level[timesteps][:, None, None, None] for level in (self._signal, self._noise))
        random = torch.randn_like(latents)
        noisy = (signal * latents + noise * random).contiguous(memory_format=torch.channels_last)
        with models.autocast(self.device):
            predicted = self._predict(noisy, timesteps, tokens)
        loss = F.mse_loss(predicted.float(), signal * random - noise * latents)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        self.optimiser.step()
        self.steps += 1
        decay = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [weight.detach() for weight in self._weights], 1 - decay)
        return loss.detach()

    def forget(self) -> None:
        """Back to before the first step: for steps at a rate of 0, which leave the weights as they are."""
        self.steps = 0
        self.optimiser.state.clear()
        self.average = [weight.detach().clone() for weight in self._weights]

    def averaged(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The moving averages, as weights of the UNet and of the text encoder."""
        named = dict(zip((name for name, _ in self.denoiser.named_parameters()), self.average, strict=True))
        parts = []
        for part in ("unet.", "text_encoder."):
            parts.append(
                {name.removeprefix(part): value for name, value in named.items() if name.startswith(part)}
            )
        unet, text = parts
        return unet, {name.removeprefix("text_model."): value for name, value in text.items()}

    def save(self, work: Path, spent: float) -> None:
        """Writes the averages, and all that is needed to go on."""
        unet, text = self.averaged()
        models.save(unet, work / "unet.safetensors")
        models.save(text, work / "text_encoder.safetensors")
        state = {
            "model": self.denoiser.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "spent": spent,
        }
        torch.save(state, work / "denoiser.part")
        (work / "denoiser.part").replace(work / "denoiser.state.pt")

    def resume(self, work: Path) -> float:
        """Goes on from a saved state, if there is one; returns the seconds already spent."""
        if not (work / "denoiser.state.pt").exists():
            return 0.0
        state = torch.load(work / "denoiser.state.pt", map_location=self.device, weights_only=True)
        self.denoiser.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = [value.to(self.device) for value in state["average"]]
        self.steps = state["steps"]
        log("denoiser", resumed_at=self.steps)
        return float(state["spent"])


def _rate(peak: float, steps: int, fraction: float) -> float:
    """Warm-up over 200 steps, level for a third of the time, then half a cosine down to 0."""
    fall = max(0.0, (fraction - 0.33) / 0.67)
    return peak * min(1, (steps + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(1, fall))) + 1e-6


def train(trainer: Trainer, examples: Examples, work: Path, seconds: float, batch: int, peak: float) -> None:
    """Trains for a number of seconds, saving every minute."""
    budget, save_now, log_now = Budget(seconds, trainer.resume(work)), Every(60), Every(10)
    running = torch.zeros((), device=trainer.device)
    while (fraction := budget.fraction) < 1:
        chosen = torch.randint(len(examples.latents), (batch,), device=trainer.device)
        wording = torch.randint(examples.tokens.shape[1], (batch,), device=trainer.device)
        tokens = examples.tokens[chosen, wording].long()
        loss = trainer.step(examples.latents[chosen].float(), tokens, _rate(peak, trainer.steps, fraction))
        running = torch.lerp(running, loss, 0.02 if trainer.steps > 50 else 1.0)
        if trainer.steps % 20 == 1 and (log_now() or trainer.steps == 1):
            log("denoiser", step=trainer.steps, seconds=budget.spent, loss=running.item())
        if save_now():
            trainer.save(work, budget.spent)
    trainer.save(work, budget.spent)
    log("denoiser", steps=trainer.steps, loss=running.item())


def warm_up(trainer: Trainer, batch: int, channels: int, seconds: float) -> None:
    """Compiles the step for one batch size, into PyTorch's cache on disk, and times it on noise."""
    latents = torch.randn(batch, channels, models.LATENT_SIZE, models.LATENT_SIZE, device=trainer.device)
    tokens = torch.zeros(batch, 77, dtype=torch.long, device=trainer.device)
    clock = Budget(1)
    for _ in range(3):
        trainer.step(latents, tokens, 0.0).item()
    compiled, budget, first = clock.spent, Budget(seconds), trainer.steps
    while budget.fraction < 1:
        trainer.step(latents, tokens, 0.0).item()
    rate = (trainer.steps - first) / budget.spent
    log("warm-up", batch=batch, first_steps_s=compiled, steps_per_s=rate)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="emoji256.tar")
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder of this run; vae.safetensors and plan.npz must be there",
    )
    parser.add_argument(
        "--base",
        type=Path,
        required=True,
        help="diffusers folder with the tokenizer and weights to start from",
    )
    parser.add_argument("--seconds", type=float, default=560)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--channels", type=int, default=models.LATENT_CHANNELS)
    parser.add_argument("--fresh", action="store_true", help="start from random weights")
    parser.add_argument("--limit", type=int, default=0, help="train on about this many pictures")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument(
        "--wait-for", type=Path, help="compile first, then wait for this file (that the VAE is trained)"
    )
    parser.add_argument(
        "--warm-up",
        action="store_true",
        help="only compile, for a later run with the same --batch, and time it for --seconds",
    )
    arguments = parser.parse_args()
    device = models.device()
    torch.manual_seed(0)
    tokens = models.tokenizer(arguments.base)
    encode = Encoder(tokens)
    denoiser = Denoiser(tokens, arguments.channels)
    if not arguments.fresh:
        for part in ("unet", "text_encoder"):
            given = models.read(models.weights_of(arguments.base, part))
            log("denoiser", part=part, grafted=models.graft(getattr(denoiser, part), given, rest=0.0))
    trainer = Trainer(denoiser, encode(""), device, not arguments.no_compile)
    if arguments.warm_up:
        warm_up(trainer, arguments.batch, arguments.channels, arguments.seconds)
        return
    if arguments.wait_for:
        # The compiler works on the processor while another process trains the VAE.
        warm_up(trainer, arguments.batch, arguments.channels, 3)
        trainer.forget()
        while not arguments.wait_for.exists():
            time.sleep(0.5)
    prepared = arguments.work / "examples.pt"
    if prepared.exists():
        examples = Examples.load(prepared, device)
    else:
        examples = _prepare(arguments, device)
        examples.save(prepared)
    log("denoiser", latents=tuple(examples.latents.shape))
    train(trainer, examples, arguments.work, arguments.seconds, arguments.batch, arguments.rate)


def _prepare(arguments: argparse.Namespace, device: torch.device) -> Examples:
    _, pictures = data.load(arguments.data, arguments.work / "pictures.npy", arguments.limit)
    pictures = pictures.to(device)
    clock = Budget(1)
    planned = Plan.load(arguments.work / "plan.npz")
    vae = models.vae(arguments.channels)
    models.load(vae, arguments.work / "vae.safetensors")
    vae = vae.to(device).to(memory_format=torch.channels_last).eval()
    examples = encode_all(vae, pictures, planned)
    spread = examples.latents[:4096].float().std((0, 2, 3))
    log("examples", seconds=clock.spent, deviation=[round(value, 2) for value in spread.tolist()])
    return examples


if __name__ == "__main__":
    main()
