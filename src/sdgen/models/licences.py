"""Licences of the weights: said once, at first use."""

from __future__ import annotations

import contextlib

from sdgen.files import folders, small_json
from sdgen.models.catalogue import Entry


def licence_notice(entry: Entry) -> str | None:
    """The sentence about a model's licence, the first time it is asked for; afterwards None.

    Packaged models and those without a licence in the catalogue have none. A state folder that cannot
    be written is no error: the sentence comes again.
    """
    if entry.licence is None or not entry.sources:
        return None
    file = folders.state() / "licences.json"
    shown = small_json.read(file)
    if shown.get(entry.name) == entry.licence:
        return None
    with contextlib.suppress(OSError):
        small_json.write(file, {**shown, entry.name: entry.licence}, indent=1)
    where = f": {entry.licence_url}" if entry.licence_url else ""
    return f"the weights of {entry.name} are under the {entry.licence}{where}"
