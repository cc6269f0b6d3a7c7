"""Networks with their weights, as Keras models: what holds memory and what keras_cv is given.

Each model computes what keras_cv's network of the same place computes, from the same inputs, so that
``keras_cv.models.StableDiffusionV2`` runs on it; ``weights_by_name`` is what compiled programs take.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Protocol

import keras
import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Arriving
from sdgen.checkpoints import Component, check_shapes
from sdgen.networks.layers import Array, Layer, Numerics, Parameter, Tensor, Weights

Loader = Callable[[Callable[[], Weights]], Future[Weights]]
"""Has a function called, perhaps in another thread, and says when it has returned."""

_AHEAD = 64
"""How many parameters are read ahead. Most are small; so many hold a large one for each thread."""


def network_weights(model: keras.Model, layers: Layer, component: Component, dtype: str) -> Weights:
    """Makes a Keras variable of each parameter of ``layers`` and gives it its value from ``component``.

    Variables start out with their values: nothing is initialised at random and then overwritten, and
    Keras traces nothing.

    Raises:
        CheckpointError: a file of the component cannot be read.
    """
    parameters = list(layers.parameters())

    def value(parameter: Parameter) -> Array:
        arrays = [np.asarray(component.tensors[name]) for name in parameter.sources]
        arrays = [array.reshape(array.shape[: len(parameter.axes)]) for array in arrays]
        filled = backend.empty_array(parameter.shape, dtype)
        parameter.fill(filled, [array.transpose(parameter.axes) for array in arrays])
        return filled

    weights = {}
    threads = min(8, os.cpu_count() or 1)
    # Threads read, permute and cast, a few parameters ahead of this one, which moves them to the device.
    with ThreadPoolExecutor(threads) as executor:
        ahead = deque(executor.submit(value, parameter) for parameter in parameters[:_AHEAD])
        for i, parameter in enumerate(parameters):
            tensor = backend.to_tensor(ahead.popleft().result())
            if i + _AHEAD < len(parameters):
                ahead.append(executor.submit(value, parameters[i + _AHEAD]))
            weights[parameter.name] = ops.convert_to_tensor(_variable(model, parameter.name, tensor, dtype))
    return weights


def _variable(model: keras.Model, name: str, value: Tensor, dtype: str) -> Any:
    return model.add_weight(
        shape=value.shape,
        dtype=dtype,
        name=name,
        trainable=False,
        initializer=lambda *_, **__: value,
    )


def load_at_once(load: Callable[[], Weights]) -> Future[Weights]:
    """A ``Loader`` that returns when the weights are there."""
    loaded: Future[Weights] = Future()
    loaded.set_result(load())
    return loaded


class Loaded(Protocol):
    """Layers, and the weights that they compute with."""

    @property
    def network(self) -> Any:
        """The layers."""

    @property
    def arriving(self) -> Arriving:
        """The weights, which may still be arriving."""


class _Network(keras.Model):  # type: ignore[misc]
    """A Keras model around layers; subclasses say what ``call`` takes.

    Args:
        layers: what it computes.
        component: its weights.
        numerics: how it computes.
        loader: has the weights loaded.

    Raises:
        CheckpointError: tensors are missing, left over or of the wrong shape.
    """

    model_name = "network"

    def __init__(
        self, layers: Any, component: Component, numerics: Numerics, loader: Loader = load_at_once
    ) -> None:
        super().__init__(name=self.model_name, dtype=numerics.dtype)
        self.network, parameters = layers, list(layers.parameters())
        check_shapes(component, {name: shape for p in parameters for name, shape in p.sources.items()})
        self._by_name = loader(lambda: network_weights(self, layers, component, numerics.dtype))
        # Read-only, so that Keras does not wrap it.
        shapes = MappingProxyType({parameter.name: parameter.shape for parameter in parameters})
        self.arriving = Arriving(shapes, numerics.dtype, lambda: self.weights_by_name)
        self.built = True

    @property
    def weights_by_name(self) -> dict[str, Tensor]:
        """What a compiled program takes as ``weights``; waits for them."""
        return dict(self._by_name.result())


class UNetModel(_Network):
    """The UNet: {"latent", "timestep_embedding", "context"} -> prediction.

    latent is (batch, height, width, in_channels); timestep_embedding (batch, block_out_channels[0])
    sinusoids, cosines first; context (batch, length, cross_attention_dim). The prediction is
    (batch, height, width, out_channels), float32.
    """

    model_name = "diffusion_model"

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One prediction; see the class."""
        weights, unet = self.weights_by_name, self.network
        shifts = unet.project_sinusoids(weights, inputs["timestep_embedding"])
        context = unet.project_context(weights, inputs["context"])
        return unet.denoise(weights, inputs["latent"], shifts, context)


class TextEncoderModel(_Network):
    """The text encoder: {"tokens", "positions"} -> (batch, length, hidden_size) float32.

    Both are (batch, length) int32; positions count from 0, as keras_cv passes them.
    """

    model_name = "text_encoder"

    def call(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The encoding of the last layer."""
        weights = self.weights_by_name
        return self.network.encode(weights, self.network.embed(weights, inputs["tokens"]))


class DecoderModel(_Network):
    """The VAE's decoder: latents (batch, h, w, latent_channels) -> pixels (batch, 8 h, 8 w, 3), -1 to 1."""

    model_name = "decoder"

    def call(self, latents: Tensor) -> Tensor:
        """Float32 pixels, about -1 to 1."""
        return self.network(self.weights_by_name, latents)


class EncoderModel(_Network):
    """The VAE's encoder: pixels (batch, 8 h, 8 w, 3), -1 to 1, to mean latents.

    The latents are (batch, h, w, latent_channels).
    """

    model_name = "image_encoder"

    def call(self, pixels: Tensor) -> Tensor:
        """The mean of the latents' distribution, scaled, float32."""
        return self.network(self.weights_by_name, pixels)[0]
