"""``sdgen serve``: pictures over HTTP."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdgen import models
from sdgen.backend import program_cache
from sdgen.cli import error_messages
from sdgen.cli.command import Command, Option
from sdgen.cli.downloads import locate, say_licence
from sdgen.cli.options import COMPUTING
from sdgen.cli.terminal import streams
from sdgen.cli.types import Bytes, Existing, Model
from sdgen.errors import ExitCode, InputError
from sdgen.files.user_files import read_regular
from sdgen.images.image_files import FOLDER
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine
    from sdgen.serve.settings import Limits, Settings

EXAMPLES = """\
sdgen serve --model mini
sdgen serve --model sd2.1-base --model mini --port 8080
sdgen serve --host 0.0.0.0 --token-file ~/.sdgen-token
curl http://127.0.0.1:7860/v1/images/generations -d '{"prompt": "a fox"}'"""

ACCESS = """\
On this machine's own addresses (127.0.0.1, the default) no token is needed.
Elsewhere the server does not start without one, in --token-file or in
SDGEN_TOKEN. Clients show it as "Authorization: Bearer TOKEN", as OpenAI's do,
or as the password of Basic, as AUTOMATIC1111's do."""

EXIT_STATUS = """\
0    it was told to stop, and what was in flight was answered
1    the server failed
2    the command line is wrong, or the port is taken
4    the model or its weights are not available"""

NOTES = (("Examples", EXAMPLES), ("Who may use it", ACCESS), ("Exit status", EXIT_STATUS))

PORT = 7860
"""AUTOMATIC1111's, where its clients look."""

LEAST_TOKEN = 16
"""Characters of a token."""

_MOST_TOKEN_BYTES = 4096
_COMPUTING = ("backend", "dtype", "device", "batch_size", "low_memory", "cache_limit")


def _option(section: str, *names: str, **attributes: Any) -> Option:
    return Option(names, section, **attributes)


OPTIONS = (
    _option(
        "Server",
        "-m",
        "--model",
        type=Model(),
        multiple=True,
        envvar="SDGEN_MODEL",
        help="What to draw with; repeatable, the first is for whoever asks for none of them.",
    ),
    _option("Server", "--host", default="127.0.0.1", show_default=True, help="The address to serve on."),
    _option(
        "Server",
        "--port",
        type=click.IntRange(0, 65535),
        default=PORT,
        show_default=True,
        help="0 takes one that is free.",
    ),
    _option(
        "Server",
        "--token-file",
        type=Existing(dir_okay=False),
        help="A file with the token that clients have to show.",
    ),
    _option(
        "Server",
        "--cors",
        metavar="ORIGIN",
        multiple=True,
        help="Let web pages of this origin (https://example.org) use the server. Repeatable.",
    ),
    _option(
        "Server",
        "--grace",
        type=click.FloatRange(0, 3600),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="When told to stop: how long to go on with what is in flight.",
    ),
    _option(
        "Server",
        "--jobs",
        type=click.Path(),
        metavar="DIR",
        default=str(FOLDER / "jobs"),
        show_default=True,
        help="Where jobs (/api/jobs) and their pictures go; the next server goes on with them.",
    ),
    _option(
        "Limits",
        "--queue",
        type=click.IntRange(1, 100_000),
        default=64,
        show_default=True,
        help="Pictures of all clients that may be waited for at once; then 429.",
    ),
    _option(
        "Limits",
        "--max-images",
        type=click.IntRange(1, 1000),
        default=10,
        show_default=True,
        help="Pictures of one call.",
    ),
    _option(
        "Limits",
        "--max-pixels",
        type=click.IntRange(64, 8192 * 8192),
        default=2048 * 2048,
        show_default=True,
        help="Pixels of a picture, drawn or sent.",
    ),
    _option(
        "Limits",
        "--max-steps",
        type=click.IntRange(1, 1000),
        default=150,
        show_default=True,
        help="Steps of a picture.",
    ),
    _option(
        "Limits",
        "--max-body",
        type=Bytes(),
        default=64_000_000,
        help="Size of what a call sends. Default: 64MB.",
    ),
    *(option for option in COMPUTING if option.name in _COMPUTING),
    _option("Output", "-q", "--quiet/--no-quiet", default=False, help="Errors alone on stderr."),
    _option("Output", "-v", "--verbose/--no-verbose", default=False, help="Tell of each call on stderr."),
)


@click.command("serve", cls=Command, notes=NOTES, short_help="Serve pictures over HTTP.")
def command(**values: Any) -> int:
    """Draw for others over HTTP, by OpenAI's and AUTOMATIC1111's APIs; the models stay loaded.

    Prints its URL once it listens. What is asked for at the same time, in one size, is drawn together.
    docs/serve.md says what clients get.
    """
    settings = _settings(values)
    _require_extra()
    _log(values["verbose"])
    for name in settings.models:
        locate(name, task="inpainting", quiet=values["quiet"])
        if not values["quiet"]:
            say_licence(models.find(name))
    if not values["verbose"]:
        streams.drop_library_noise()
    with streams.results() as results:
        return _serve(values, settings, results)


command.params = list(OPTIONS)


def _serve(values: Mapping[str, Any], settings: Settings, results: streams.Results) -> int:
    from sdgen.batch import batch_size
    from sdgen.batch.policy import Policy
    from sdgen.serve import server
    from sdgen.serve.drawer import Drawer
    from sdgen.serve.engines import Engines
    from sdgen.serve.jobs.folder import JobFolder
    from sdgen.serve.jobs.running import Jobs
    from sdgen.serve.metrics import Metrics
    from sdgen.serve.service import Service

    listening = server.listen(values["host"], values["port"])
    metrics = Metrics()
    engines = Engines(lambda name: _load(name, values))
    policy = Policy(values["batch_size"], batch_size.choose, batch_size.learn)
    drawer = Drawer(engines, policy, settings.limits.waiting, metrics.drawn)
    jobs = Jobs(drawer, JobFolder(Path(values["jobs"]).expanduser()), settings.limits.jobs_waiting)
    service = Service(settings, drawer, metrics)
    running = server.Server(service, values["grace"], jobs)
    failed: list[Exception] = []

    def load_first() -> None:
        try:
            engines(settings.models[0])
        except Exception as error:
            failed.append(error)
            running.should_exit = True
            return
        service.ready = not running.should_exit
        if not values["quiet"]:
            streams.tell(f"{settings.models[0]} is loaded")

    if (left := jobs.go_on()) and not values["quiet"]:
        streams.tell(f"going on with {counted(left, 'job')}")
    drawer.start(load_first)
    results.line(server.url_of(listening))
    running.run(sockets=[listening])
    drawer.stop(values["grace"])
    jobs.close()
    program_cache.trim(values["cache_limit"])
    if failed:
        raise failed[0]
    return ExitCode.OK


def _load(name: str, values: Mapping[str, Any]) -> Engine:
    import sdgen

    return sdgen.load(
        name,
        backend=values["backend"],
        dtype=None if values["dtype"] == "auto" else values["dtype"],
        device=None if values["device"] == "auto" else values["device"],
        low_memory=bool(values["low_memory"]),
    )


def _settings(values: Mapping[str, Any]) -> Settings:
    """What the options say.

    Raises:
        InputError: the server would be open to others without a token, or the token is no good.
    """
    from sdgen.serve.addresses import LOOPBACK_NAMES, is_loopback
    from sdgen.serve.settings import Settings

    token, host = _token(values["token_file"]), values["host"]
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host} lets other machines in, and there is no token: name a file that holds one with "
            "--token-file, or set SDGEN_TOKEN",
            "host",
        )
    names = () if token is not None else (*LOOPBACK_NAMES, host.lower())
    chosen = tuple(dict.fromkeys(values["model"])) or (models.DEFAULT,)
    return Settings(chosen, _limits(values), token, names, values["cors"])


def _limits(values: Mapping[str, Any]) -> Limits:
    from sdgen.serve.settings import Limits

    return Limits(
        waiting=values["queue"],
        pictures=min(values["max_images"], values["queue"]),
        pixels=values["max_pixels"],
        steps=values["max_steps"],
        body=values["max_body"],
    )


def _token(file: str | None) -> str | None:
    """The token of a file, or of the environment; None where there is none.

    Raises:
        InputError: it is too short, or has characters that a header cannot have.
    """
    if file is not None:
        where = f"--token-file {file}"
        token = read_regular(Path(file), _MOST_TOKEN_BYTES).decode("utf-8", "replace").strip()
    else:
        where, token = "SDGEN_TOKEN", os.environ.get("SDGEN_TOKEN", "")
        if not token:
            return None
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"the token of {where} must be {LEAST_TOKEN} or more letters, digits and signs without spaces, "
            "such as `openssl rand -hex 32` prints"
        )
    return token


def _require_extra() -> None:
    """Refuse to start without the packages of the extra.

    Raises:
        InputError: one is missing.
    """
    from importlib.util import find_spec

    for package in ("starlette", "uvicorn", "python_multipart", "prometheus_client"):
        if find_spec(package) is None:
            raise InputError(
                f"sdgen serve needs the package {package}, which is not installed; "
                "`pip install 'sdgen[serve]'` installs it"
            )


def _log(verbose: bool) -> None:
    """Show on stderr what goes wrong in the server, and each call if asked to."""
    error_messages.set_verbose(verbose)
    if not verbose:
        error_messages.LOG.setLevel(logging.ERROR)
