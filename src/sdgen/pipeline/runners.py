"""What runs a set of networks: sampling loop, decoder, the start from a picture, enlarging between passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sdgen.checkpoints import Checkpoint
from sdgen.pipeline.decoding import PictureDecoder
from sdgen.pipeline.enlarging import Enlarger
from sdgen.pipeline.enlarging_models import EnlargingModels
from sdgen.pipeline.latent_upscale_start import LatentUpscaleStarter
from sdgen.pipeline.starting import Starter
from sdgen.pipeline.upscale_start import UpscaleStarter

if TYPE_CHECKING:
    from sdgen.pipeline.model_networks import Networks
    from sdgen.pipeline.sampling_loop import Denoiser
    from sdgen.pipeline.seamless_networks import SeamlessNetworks


class Runners(NamedTuple):
    """Compiles and runs the networks of one model, with convolutions as they are or joining the edges."""

    denoiser: Denoiser
    decoder: PictureDecoder
    start: Starter
    enlarger: Enlarger


def runners(
    networks: Networks | SeamlessNetworks,
    checkpoint: Checkpoint,
    graph: bool,
    low_memory: bool,
    traced: Callable[[], None],
    models: EnlargingModels | None = None,
) -> Runners:
    """Runners of some networks; nothing is compiled yet.

    Args:
        networks: what they run.
        checkpoint: the model that they are of.
        graph: what runs once an image does so on TensorFlow's graph runtime: on a CPU, XLA takes longer to
            compile it than it saves in 50 images.
        low_memory: prefer the ways to compute that take less of it.
        traced: ``Denoiser``'s.
        models: ``Enlarger``'s.
    """
    from sdgen.pipeline.picture_encoding import PictureEncoder
    from sdgen.pipeline.sampling_loop import Denoiser

    denoiser = Denoiser(networks.diffusion_model, None if graph else True, traced, keep=graph)
    factor = checkpoint.family.upscales
    decoder = PictureDecoder(networks, not graph, low_memory, enlarges=bool(factor))
    encoder = PictureEncoder(networks, not graph, low_memory)
    unet, vae = denoiser.unet.config, networks.vae_config
    timesteps = int(checkpoint.scheduler.get("num_train_timesteps") or 1000)
    upscaled: UpscaleStarter | LatentUpscaleStarter | None = None
    if unet.k_blocks:
        upscaled = LatentUpscaleStarter(encoder, vae)
    elif factor:
        upscaled = UpscaleStarter(checkpoint.low_res_scheduler, factor)
    start = Starter(encoder, vae, unet.in_channels > vae.latent_channels, timesteps, upscaled)
    return Runners(denoiser, decoder, start, Enlarger(decoder, encoder, vae, models))
