"""The networks of one checkpoint on one device, each built when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import cached_property

from sdgen import backend
from sdgen.checkpoints import Checkpoint
from sdgen.networks.attention_choice import fastest_attention
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.networks.layers import Numerics, Weights
from sdgen.networks.text_networks import TextConfig, text_config, text_network
from sdgen.networks.unet_networks import unet_network
from sdgen.networks.vae import Decoder, Encoder
from sdgen.pipeline.keras_models import (
    DecoderModel,
    EncoderModel,
    Loader,
    TextEncoderModel,
    UNetModel,
    load_at_once,
)
from sdgen.pipeline.weight_shapes import DECODER_PARTS, ENCODER_PARTS, check_picture_encoder


class Networks:
    """UNet, text encoder, where the model has one, and the two halves of the VAE.

    Args:
        checkpoint: the weights and configurations.
        dtype: "float32", "bfloat16" or "float16". In float16 the VAE computes in float32, since its
            activations exceed float16's range, and on a CPU under JAX, which convolves in nothing else.
        device: a name of ``backend.devices()``.
        text_device: the text encoder's; on another device than the rest, it computes in float32.
        executor: loads the weights, so that a network is there before they are; without one it brings them.
        low_memory: prefer the ways to compute that take less of it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: str,
        device: str,
        text_device: str,
        executor: Executor | None = None,
        low_memory: bool = False,
    ) -> None:
        self.checkpoint, self.dtype, self._executor = checkpoint, dtype, executor
        self.low_memory = low_memory
        self.device, self.text_device = device, text_device
        self.unet_config = UNetConfig.from_config(checkpoint.unet.config)
        self.vae_config = VAEConfig.from_config(checkpoint.vae.config)

    def numerics(self, dtype: str, device: str | None = None, small_maps: bool = False) -> Numerics:
        """How networks of ``dtype`` compute on a device, by default this one.

        Args:
            dtype: of the weights.
            device: a name of ``backend.devices()``.
            small_maps: as the UNet's are beside the VAE's.
        """
        device = device or self.device
        attention = fastest_attention(device, dtype)
        if not device.startswith("cpu"):
            return Numerics(dtype, dtype, "direct", attention)
        # A CPU multiplies in half precision, if it does; the rest costs no more in float32.
        return Numerics(dtype, "float32", self._cpu_convolutions(dtype, small_maps), attention)

    def _cpu_convolutions(self, dtype: str, small_maps: bool) -> str:
        """The fastest on two cores (docs/performance.md), of ``convolution.ALGORITHMS``."""
        jax = backend.active() == "jax"
        if dtype != "bfloat16":
            return "winograd, gathered" if jax and small_maps else "winograd"
        # XLA multiplies matrices in bfloat16 and convolves in float32. What is not compiled does both in it.
        if not small_maps:
            return "direct"
        # Winograd's filters are larger, and JAX multiplies by transposed matrices, as they are, in float32.
        return "gathered" if jax or self.low_memory else "all winograd"

    @cached_property
    def text_encoder_config(self) -> TextConfig:
        """The text encoder's.

        Raises:
            CheckpointError: there is none.
        """
        return text_config(self.checkpoint.text_encoder.config)

    @property
    def vae_dtype(self) -> str:
        """The VAE's dtype."""
        slow = self.device.startswith("cpu") and backend.active() == "jax"  # whose XLA convolves in float32
        return "float32" if slow or self.dtype == "float16" else self.dtype

    @cached_property
    def diffusion_model(self) -> UNetModel:
        """The UNet."""
        numerics = self.numerics(self.dtype, small_maps=True)
        layers = unet_network(self.unet_config, numerics)
        return UNetModel(layers, self.checkpoint.unet, numerics, self._loader(self.device))

    @cached_property
    def text_encoder(self) -> TextEncoderModel:
        """The text encoder."""
        dtype = self.dtype if self.text_device == self.device else "float32"
        numerics = self.numerics(dtype, self.text_device)
        layers = text_network(self.text_encoder_config, numerics)
        loader = self._loader(self.text_device)
        return TextEncoderModel(layers, self.checkpoint.text_encoder, numerics, loader)

    def drop_text_encoder(self) -> None:
        """Let go of the text encoder's weights; they are read again when they are asked for."""
        vars(self).pop("text_encoder", None)

    @cached_property
    def decoder(self) -> DecoderModel:
        """The VAE's decoder."""
        numerics = self.numerics(self.vae_dtype)
        part = self.checkpoint.vae.only(*DECODER_PARTS)
        return DecoderModel(Decoder(self.vae_config, numerics), part, numerics, self._loader(self.device))

    @cached_property
    def image_encoder(self) -> EncoderModel:
        """The VAE's encoder.

        Raises:
            CheckpointError: the checkpoint has none, or one that does not fit its configuration.
        """
        check_picture_encoder(self.checkpoint)
        numerics = self.numerics(self.vae_dtype)
        part = self.checkpoint.vae.only(*ENCODER_PARTS)
        return EncoderModel(Encoder(self.vae_config, numerics), part, numerics, self._loader(self.device))

    def _loader(self, device: str) -> Loader:
        def start(load: Callable[[], Weights]) -> Future[Weights]:
            def load_there() -> Weights:
                with backend.on_device(device):
                    return load()

            return self._executor.submit(load_there) if self._executor else load_at_once(load_there)

        return start
