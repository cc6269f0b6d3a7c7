"""The machine-readable mark that a picture was made by a trained model, as an XMP packet.

IPTC's property "Digital Source Type" says how a picture came to be, with terms of its NewsCodes vocabulary
(https://cv.iptc.org/newscodes/digitalsourcetype/). Search engines, picture editors and exiftool read it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sdgen.files import picture_files

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The source type of a picture that a trained model made."""

COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""The source type of a picture put together of generated pictures and others."""

_PNG_CHUNK = "XML:com.adobe.xmp"
"""The keyword that the XMP specification, part 3, gives the packet in a PNG's iTXt chunk."""

_TERM = re.compile(rb"digitalsourcetype/(\w{1,80})")
_XMP = ("xmp", _PNG_CHUNK)
"""What Pillow calls the packet, in the formats that it knows."""

_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    Iptc4xmpExt:DigitalSourceType="{source_type}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def packet(source_type: str = GENERATED) -> str:
    """The XMP packet that says so; ``source_type`` is ``GENERATED`` or ``COMPOSITE``."""
    return _PACKET.format(source_type=source_type)


def mark(format: str, options: dict[str, Any], source_type: str = GENERATED) -> None:
    """Put the mark into what Pillow's ``save`` gets for a format, a name of ``metadata.FORMATS``."""
    if format == "png":
        from PIL.PngImagePlugin import PngInfo

        options.setdefault("pnginfo", PngInfo()).add_itxt(_PNG_CHUNK, packet(source_type))
    else:
        options["xmp"] = packet(source_type).encode()


def found(source: Path | bytes) -> str | None:
    """The mark in a picture's file, or its bytes: ``GENERATED`` or ``COMPOSITE``, else None."""
    try:
        with picture_files.opened(source, "", whole=False) as picture:
            packets = [picture.info.get(name, b"") for name in _XMP]
    except Exception:  # As in picture_files.decode.
        return None
    for packet in packets:
        data = packet.encode() if isinstance(packet, str) else packet
        for term in _TERM.findall(data if isinstance(data, bytes) else b""):
            for mark in (GENERATED, COMPOSITE):
                if mark.endswith(f"/{term.decode(errors='replace')}"):
                    return mark
    return None
