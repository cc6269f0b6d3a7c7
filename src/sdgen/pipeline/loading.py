"""``sdgen.load``: a model by name, with what is merged into it, on a device."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdgen import backend as backends
from sdgen import models
from sdgen.checkpoints import Checkpoint, open_checkpoint
from sdgen.checkpoints.families import Family
from sdgen.checkpoints.lora import apply_loras, scale_text
from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.checkpoints.vae_file import with_vae
from sdgen.checkpoints.weight_file import read_weights
from sdgen.diffusion.choices import DRAWN_TASKS
from sdgen.errors import BackendError, CheckpointError, InputError, ModelUnavailable
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.networks.text_networks import TextConfig, text_config
from sdgen.pipeline.defaults import require_whole_pictures
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.enlarging_models import EnlargingModels
from sdgen.pipeline.filter_engine import FilterEngine
from sdgen.pipeline.label_encoding import shape as class_embedder_shape
from sdgen.pipeline.latent_upscale_start import NO_NOISE
from sdgen.pipeline.pipeline import Pipeline
from sdgen.pipeline.weight_shapes import check_weights

Loras = Sequence[tuple[str | Path, float | tuple[float, float]]]
"""LoRA files, each with its scale, or two scales: of the text encoder and of the UNet."""


def read_checkpoint(
    model: str,
    *,
    vae: str | None = None,
    loras: Loras = (),
    variant: str | None = None,
    prediction_type: str | None = None,
    task: str | None = "text-to-image",
) -> Checkpoint:
    """The weights of a model with what replaces or changes them, unread; arguments as for ``load``.

    Raises:
        ModelUnavailable: the model, or a LoRA or VAE, is unknown or not on this machine.
        CheckpointError: files cannot be used.
    """
    entry, path = models.find(model), models.locate(model, task=task)
    checkpoint = open_checkpoint(
        path, variant, prediction_type=prediction_type or entry.prediction, own_vae=vae is None
    )
    checkpoint = dataclasses.replace(checkpoint, name=entry.name)
    if vae is not None:
        checkpoint = with_vae(checkpoint, vae, variant)
    return apply_loras(checkpoint, loras)


def check_parts(checkpoint: Checkpoint, task: str | None = None) -> TextConfig | None:
    """The text encoder's configuration, once it is sure that all parts for drawing go together.

    None for a model without text.

    Args:
        checkpoint: of the model.
        task: what the model is wanted for, a name of ``DRAWN_TASKS``; one that cannot do it is refused. None
            for whatever it is for.

    Raises:
        CheckpointError: a part is missing, a configuration asks for what there is not, the weights do not
            fit it, or the model is put together of parts of several.
        InputError: it is for another task, or for what sdgen does not do yet.
    """
    _check_task(checkpoint, task)
    family = checkpoint.family
    texts = [name for text in family.text for name in (text.component, text.tokenizer)]
    needed = ("unet", *texts, *filter(None, [family.class_embedder]), family.autoencoder)
    missing = [name for name in needed if name not in {**checkpoint.components, **checkpoint.tokenizers}]
    if missing:
        labels = " and no ".join(checkpoint.family.label(name) for name in missing)
        raise CheckpointError(
            f"{checkpoint.source} has no {labels}, without which nothing is drawn"
            f"{' from text' if texts else ''}; copy the whole model again, or take another"
        )
    config = text_config(checkpoint.text_encoder.config) if texts else None
    unet = UNetConfig.from_config(checkpoint.unet.config)
    if fault := _misfit(checkpoint, config, unet):
        raise CheckpointError(f"the parts of {checkpoint.source} do not fit together: {fault}; copy it again")
    check_weights(checkpoint)
    if (unet.labels and not checkpoint.low_res_scheduler) or unet.added_inputs:
        raise CheckpointError(
            f"the UNet of {checkpoint.source} takes class labels, or sizes and pooled vectors, which sdgen "
            "does not give yet; take another model"
        )
    return config


def _check_task(checkpoint: Checkpoint, task: str | None) -> None:
    family = checkpoint.family
    if not set(family.tasks) & set(DRAWN_TASKS):
        raise InputError(
            f"{checkpoint.name} is for {' and '.join(family.tasks)} ({family.name}): it changes a "
            "picture that it is given, in a way that sdgen does not do yet; take another model",
            "model",
        )
    if task is not None and bool(family.upscales) != (task == "upscaling"):
        can = "enlarges pictures and cannot draw one" if family.upscales else "cannot enlarge pictures"
        raise InputError(f"{checkpoint.name} {can}; take another model", "model")
    if task == "text-to-image":
        require_whole_pictures(checkpoint)


def _misfit(checkpoint: Checkpoint, text: TextConfig | None, unet: UNetConfig) -> str | None:
    """Which parts cannot be of one model, as a clause; None where all go together."""
    latents = VAEConfig.from_config(checkpoint.vae.config).latent_channels
    if text is not None and (fault := _text_misfit(checkpoint, text, unet)):
        return fault
    given = 0
    if name := checkpoint.family.class_embedder:
        _, given = class_embedder_shape(checkpoint.component(name))
    if text is None and unet.cross_attention_dim != given:
        what = f"its class embedder gives vectors of {given} numbers" if given else "it has no text encoder"
        return f"{what} and its UNet takes {unet.cross_attention_dim}"
    if unet.predicted_channels != latents:
        return f"its UNet gives latents of {unet.predicted_channels} channels and its VAE takes {latents}"
    return _k_misfit(unet, latents) if unet.k_blocks else None


def _k_misfit(unet: UNetConfig, latents: int) -> str | None:
    """As ``_misfit``, of what a UNet of K blocks takes beside noisy latents and text."""
    if unet.in_channels != 2 * latents:
        return f"its UNet takes {unet.in_channels} channels, which are not twice its VAE's {latents}"
    if unet.condition_width != len(NO_NOISE) + unet.cross_attention_dim:
        return (
            f"its UNet takes vectors of {unet.condition_width} numbers beside the timestep, which are not "
            f"{len(NO_NOISE)} more than its text encoder's {unet.cross_attention_dim}"
        )
    return None


def _text_misfit(checkpoint: Checkpoint, config: TextConfig, unet: UNetConfig) -> str | None:
    """As ``_misfit``, of tokenizer, text encoder and UNet."""
    length, positions = checkpoint.tokenizer.max_length, config.max_position_embeddings
    if length > positions:
        return f"its tokenizer makes rows of {length} tokens and its text encoder takes {positions}"
    if checkpoint.tokenizer.largest >= config.vocab_size:
        return (
            f"its tokenizer gives numbers up to {checkpoint.tokenizer.largest} and its text encoder has "
            f"{config.vocab_size} tokens"
        )
    if unet.cross_attention_dim != config.hidden_size:
        return (
            f"its text encoder gives vectors of {config.hidden_size} numbers and its UNet takes "
            f"{unet.cross_attention_dim}"
        )
    return None


def check_files(
    model: str,
    *,
    vae: str | None = None,
    loras: Loras = (),
    embeddings: Sequence[str | Path] = (),
    variant: str | None = None,
    prediction_type: str | None = None,
    task: str = "text-to-image",
) -> None:
    """Finds what ``load`` would find wrong with files, without their numbers; arguments as for ``load``.

    Of a model that is not on this machine, the files beside it are looked at alone.

    Args:
        task: what the model is for, as for ``check_parts``.

    Raises:
        CheckpointError: a file cannot be used.
        InputError: the model is for another task.
        ModelUnavailable: a VAE, LoRA or embedding is not there.
    """
    for file in embeddings:
        read_embedding(file)
    entry = models.find(model)
    if entry.weightless:
        models.require_task(entry, task)
        FilterEngine(entry, _changes(vae, loras, embeddings, variant, prediction_type))
        return
    try:
        models.locate(model, task=task)
    except ModelUnavailable:
        for path in (vae, *(file for file, _ in loras)):
            if path is not None and os.path.isfile(path):
                read_weights(Path(path))
        return
    checkpoint = read_checkpoint(
        model, vae=vae, loras=loras, variant=variant, prediction_type=prediction_type, task=task
    )
    check_parts(checkpoint, task)


def activate(
    backend: str | None, device: str | None, dtype: str | None, low_memory: bool = False
) -> tuple[str, str]:
    """Makes a backend Keras' own and returns device and dtype; arguments as for ``load``.

    Raises:
        BackendError: the backend, device or dtype cannot be used here.
    """
    backends.activate(backend)
    found = backends.find_device(device)
    if dtype in (None, "auto"):
        dtype = (backends.low_memory_dtype if low_memory else backends.default_dtype)(found)
    if dtype not in backends.DTYPES:
        raise BackendError(f"the dtype must be auto, {', '.join(backends.DTYPES)}, not {dtype!r}")
    return found, dtype


def _read_embeddings(
    checkpoint: Checkpoint, files: Sequence[str | Path], text: TextConfig | None
) -> dict[str, NDArray[np.float32]]:
    """The words of textual inversion files with their vectors."""
    vectors: dict[str, NDArray[np.float32]] = {}
    if not files:
        return vectors
    if text is None:
        raise InputError(f"{checkpoint.name} has no text encoder, for which textual inversions are made")
    spell = checkpoint.tokenizer.encode  # prompts name them in any case
    spelt = set()
    for file in files:
        word, rows = read_embedding(file, width=text.hidden_size)
        if tuple(spell(word)) in spelt:
            raise InputError(f"{file} is another textual inversion called {word!r}; leave one out")
        spelt.add(tuple(spell(word)))
        vectors[word] = rows
    return vectors


def _changes(
    vae: str | None,
    loras: Loras,
    embeddings: Sequence[str | Path],
    variant: str | None,
    prediction_type: str | None,
) -> list[str]:
    """What is not the model's own, as text."""
    changes = [f"VAE {vae}"] if vae is not None else []
    changes += [f"LoRA {file} at {scale_text(scale)}" for file, scale in loras]
    changes += [f"embedding {file}" for file in embeddings]
    changes += [f"variant {variant}"] if variant is not None else []
    changes += [f"prediction {prediction_type}"] if prediction_type is not None else []
    return changes


def _check_keras_cv(engine: str, family: Family, low_memory: bool, embeddings: bool) -> None:
    """An error where the engine is not "keras-cv", or is asked for what its networks do not have."""
    if engine != "keras-cv":
        raise BackendError(f"the engine must be sdgen or keras-cv, not {engine!r}")
    if low_memory:
        raise InputError("--low-memory is for sdgen's own networks; use --engine sdgen or leave it out")
    if embeddings:
        raise InputError("keras_cv's stock networks take no textual inversions; use --engine sdgen")
    if family.upscales:
        raise InputError("keras_cv's stock networks enlarge no pictures; use --engine sdgen", "model")


def load(
    model: str = models.DEFAULT,
    *,
    backend: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    engine: str = "sdgen",
    vae: str | None = None,
    loras: Loras = (),
    embeddings: Sequence[str | Path] = (),
    variant: str | None = None,
    prediction_type: str | None = None,
    jit: bool | None = None,
    low_memory: bool = False,
) -> Engine:
    """Reads a model into an engine.

    Args:
        model: a catalogue name, a folder, a file or a repository; see ``sdgen.models``. "lanczos" and
            "bicubic" have no weights, so that it does not matter what would compute with them.
        backend: "tensorflow", "jax" or "auto" (``sdgen.backend.choose``). Fixed for the process.
        dtype: "float32", "bfloat16" or "float16"; by default what the device is good at.
        device: for example "cpu" or "gpu:0"; by default the first accelerator, else the CPU.
        engine: "sdgen", or "keras-cv" for keras_cv's stock networks and loop.
        vae: a folder or file whose VAE replaces the model's.
        loras: LoRA files to merge into the weights. A prompt's ``<lora:name:scale>`` must be among them, by
            the file's name without its ending (``sdgen.prompts.prompt_loras.named`` finds them).
        embeddings: textual inversion files, used by name in prompts.
        variant: weights to prefer in a diffusers folder, for example "fp16".
        prediction_type: "epsilon", "v_prediction" or "sample", in place of what the checkpoint says.
        jit: compile the sampling loop with XLA. By default wherever it pays: always but for short jobs of a
            small model on the CPU under TensorFlow, which its graph runtime has drawn before XLA is ready.
        low_memory: take less memory, in more time: the text encoder stays out of an accelerator's memory and,
            on a CPU, is read whenever there is a new prompt; weights are in half precision unless a dtype is
            given; pictures of more than 512x512 are decoded by rows; one image at a time unless another
            batch size is asked for.

    Raises:
        ModelUnavailable: the model is unknown or not on this machine.
        CheckpointError: its files, or a LoRA, VAE or embedding, cannot be used. Under JAX another thread
            reads the weights from here on; what fails then is told when they are first needed.
        InputError: sdgen does not do yet what it is for, or two embeddings have one name.
        BackendError: the backend, device, dtype or engine cannot be used here.
    """
    entry = models.find(model)
    changes = _changes(vae, loras, embeddings, variant, prediction_type)
    if entry.weightless:
        return FilterEngine(entry, changes)
    checkpoint = read_checkpoint(
        model, vae=vae, loras=loras, variant=variant, prediction_type=prediction_type, task=None
    )
    vectors = _read_embeddings(checkpoint, embeddings, check_parts(checkpoint))
    device, dtype = activate(backend, device, dtype, low_memory)
    if engine == "sdgen":
        scales = {Path(file).stem: scale_text(scale) for file, scale in loras}
        alike = functools.partial(load, backend=backend, dtype=dtype, device=device, low_memory=low_memory)
        more = scales, changes, low_memory, EnlargingModels(alike)
        return Pipeline(checkpoint, entry, dtype, device, vectors, jit, *more)
    _check_keras_cv(engine, checkpoint.family, low_memory, bool(vectors))
    return _keras_cv_engine(checkpoint, entry, dtype, device, changes)


def _keras_cv_engine(
    checkpoint: Checkpoint, entry: models.Entry, dtype: str, device: str, changes: Sequence[str]
) -> Engine:
    from sdgen.pipeline.keras_cv.engine import KerasCvEngine

    return KerasCvEngine(checkpoint, entry, dtype, device, changes)
