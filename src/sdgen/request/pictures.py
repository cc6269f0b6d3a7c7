"""The pictures that a request starts from: read from anything that shows one, known by what they show."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.files import picture_files, picture_pixels
from sdgen.request.kinds import Kind
from sdgen.text.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_REMEMBERED = 4096
"""How many files' pictures are remembered, since many requests may start from one file."""

NEARLY_BLACK = 8
"""The level, of 255, up to which a picture is black: JPEG leaves such."""

_BAND_ROWS = 64

_DIGEST = re.compile("[0-9a-f]{64}")
_PLAIN = ("file", "sha256", "width", "height", "alpha")


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture, without its pixels: two are equal that show the same, whatever their files.

    Attributes:
        sha256: of the size and the RGBA pixels as ``pixels`` gives them, 64 hexadecimal digits.
        width, height: pixels, after it was turned as its EXIF says.
        alpha: whether some of it is transparent.
        file: where it was read from; None where it came as bytes, an array or a Pillow image.
        black: whether it is seen to be black throughout; False where only a record of it was read.
    """

    sha256: str
    width: int
    height: int
    alpha: bool
    file: str | None = None
    _held: Any = dataclasses.field(default=None, repr=False)
    """Bytes of a file, or the pixels, where no file has them."""
    black: bool = False

    def __eq__(self, other: object) -> bool:
        return self.sha256 == other.sha256 if isinstance(other, Picture) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def encoded(self) -> Path | bytes | None:
        """The picture's file, or its bytes; None if it came as pixels, or from a record without a file."""
        if isinstance(self._held, bytes):
            return self._held
        return None if self._held is not None or self.file is None else Path(self.file)

    def pixels(self) -> NDArray[np.uint8]:
        """The pixels, (height, width, 4): sRGB and alpha, which is not multiplied in; not to be written to.

        A file is decoded anew at each call.

        Raises:
            InputError: the file is not there any more, or shows something else; or the picture comes from a
                record, which has no pixels, and is of no file.
        """
        if self._held is not None and not isinstance(self._held, bytes):
            return self._held  # type: ignore[no-any-return]
        if self.file is None and self._held is None:
            raise InputError(f"a picture of {self.width}x{self.height} was given from memory; give its file")
        name = "the picture" if self.file is None else printable(self.file)
        pixels = _decoded(Path(self.file or "") if self._held is None else self._held, name)
        if _sha256(pixels) != self.sha256:
            raise InputError(
                f"{name} shows another picture than before; give the one with the sha256 {self.sha256}"
            )
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """File, sha256, size, and alpha where some of it is transparent; ``read_picture`` takes it, too."""
        plain = {"file": self.file, "sha256": self.sha256, "width": self.width, "height": self.height}
        return plain | {"alpha": True} if self.alpha else plain


class PictureKind(Kind):
    """A ``Picture``; what ``read_picture`` takes becomes one."""

    noun, json = "a picture", "object"

    def check(self, field: str, value: Any) -> Picture:
        """As ``Kind.check``."""
        return read_picture(value, field)

    def located(self, value: Any, folder: str) -> Any:
        """As ``Kind.located``."""
        if isinstance(value, str) and value:
            return os.path.join(folder, value)
        if isinstance(value, Mapping) and isinstance(file := value.get("file"), str):
            return {**value, "file": os.path.join(folder, file)}
        return value

    def plain(self, value: Picture | None) -> Any:
        """A picture as ``Picture.to_dict`` has it."""
        return None if value is None else value.to_dict()

    def identity(self, value: Picture | None) -> Any:
        """The sha256 of what a picture shows, wherever its file is."""
        return None if value is None else value.sha256

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``."""
        side = {"type": "integer", "minimum": 1, "maximum": picture_files.MOST_PIXELS}
        return {
            "type": self.json,
            "properties": {
                "file": {"type": ["string", "null"]},
                "sha256": {"type": "string", "pattern": f"^{_DIGEST.pattern}$"},
                "width": side,
                "height": side,
                "alpha": {"type": "boolean"},
            },
            "required": ["sha256", "width", "height"],
        }


def read_picture(source: Any, field: str) -> Picture:
    """The picture that a source shows; it is decoded once, whole.

    Args:
        source: a path, the bytes of a file, a Pillow image, an array of uint8 (height, width) or (height,
            width, 1, 3 or 4), a ``Picture``, or a mapping as ``Picture.to_dict`` gives it. Where a mapping
            has the sha256 and the size, nothing is read before ``Picture.pixels`` is asked for: records
            stay readable when their files are gone.
        field: name of the field, for messages.

    Raises:
        InputError: there is no such picture, it is damaged, animated or larger than is read, or the source
            is nothing of these; the sentence begins with ``field``.
    """
    try:
        return _read(source)
    except InputError as error:
        raise InputError(f"{field}: {error}", field) from None


def _read(source: Any) -> Picture:
    if isinstance(source, Picture):
        return source
    if isinstance(source, Mapping):
        return _of_mapping(source)
    if isinstance(source, (str, os.PathLike)):
        return _of_path(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return _seen(_decoded(data, "the picture"), held=data)
    pixels = _of_memory(source)
    return _seen(pixels, held=pixels)


def _of_mapping(values: Mapping[Any, Any]) -> Picture:
    if unknown := [name for name in values if name not in _PLAIN]:
        raise InputError(f"a picture has no {unknown[0]!r}; what it has is {', '.join(_PLAIN)}")
    file, sha256, width, height = (values.get(name) for name in _PLAIN[:4])
    if not (file is None or isinstance(file, str)):
        raise InputError(f"the file of a picture must be text, not {file!r}")
    if sha256 is None and file is not None:
        return _of_path(file)
    if not (isinstance(sha256, str) and _DIGEST.fullmatch(sha256)):
        raise InputError(f"the sha256 of a picture must be 64 hexadecimal digits, not {sha256!r}")
    if width is None and height is None and file is not None:
        picture = _of_path(file)
        if picture.sha256 != sha256:
            raise InputError(f"{printable(file)} shows another picture than the one with the sha256 {sha256}")
        return picture
    alpha = values.get("alpha", False)
    if not (_is_side(width) and _is_side(height) and isinstance(alpha, bool)):
        raise InputError(f"the size of a picture must be two whole numbers, not {width!r} and {height!r}")
    return Picture(sha256, int(str(width)), int(str(height)), alpha, file)


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= picture_files.MOST_PIXELS


def _of_path(path: str | bytes) -> Picture:
    file = os.fsdecode(path)
    with picture_files.open_file(Path(file), picture_files.MOST_BYTES, printable(file)) as opened:
        state = os.fstat(opened.fileno())
    return _of_file(file, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))


@functools.lru_cache(_REMEMBERED)
def _of_file(file: str, state: tuple[int, ...]) -> Picture:
    """The picture of a file in this state."""
    return _seen(_decoded(Path(file), printable(file)), file=file)


def _of_memory(source: Any) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    if isinstance(source, Image.Image):
        if source.width * source.height > picture_files.MOST_PIXELS:
            raise InputError(f"an image of {source.width}x{source.height} has too many pixels")
        return _pixels(source, "the image")
    if not isinstance(source, np.ndarray):
        raise InputError(f"it must be a path, bytes, an array or a Pillow image, not {source!r}")
    if source.dtype != np.uint8 or source.ndim not in (2, 3) or 0 in source.shape:
        raise InputError(f"an array must be uint8 (height, width, 3), not {source.dtype} {source.shape}")
    array = source[..., None] if source.ndim == 2 else source
    height, width, channels = array.shape
    if channels not in (1, 3, 4):
        raise InputError(f"an array must have 1, 3 or 4 channels, not {channels}")
    if height * width > picture_files.MOST_PIXELS:
        raise InputError(f"an array of {width}x{height} has too many pixels")
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[..., :3] = array[..., :3]
    if channels == 4:
        pixels[..., 3] = array[..., 3]
    return _kept(pixels)


def _decoded(source: Path | bytes, name: str) -> NDArray[np.uint8]:
    return _pixels(picture_files.decode(source, name, still=True), name)


def _pixels(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    try:
        return _kept(picture_pixels.rgba(picture))
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be used: {error}") from None


def _kept(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels.setflags(write=False)
    return pixels


def _seen(pixels: NDArray[np.uint8], file: str | None = None, held: Any = None) -> Picture:
    import numpy as np

    height, width = pixels.shape[:2]
    everywhere = _bytes(np.bitwise_and.reduce(pixels.view(np.uint32), axis=None))
    return Picture(_sha256(pixels), width, height, bool(everywhere[3] < 255), file, held, _is_black(pixels))


def _is_black(pixels: NDArray[np.uint8]) -> bool:
    """Whether nothing that is seen of a picture is lighter than ``NEARLY_BLACK``."""
    import numpy as np

    # Most pictures are known not to be by their first band. Bits are gathered ten times as fast as a
    # largest value, and say enough where there are next to none.
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS]
        somewhere = _bytes(np.bitwise_or.reduce(band.view(np.uint32), axis=None))
        if somewhere[:3].max() <= NEARLY_BLACK:
            continue
        if (band[..., :3].max(-1) * (band[..., 3] > 0)).max() > NEARLY_BLACK:
            return False
    return True


def _bytes(pixel: Any) -> NDArray[np.uint8]:
    """The four bytes of an RGBA pixel that was read as one number."""
    import numpy as np

    return np.asarray([pixel], np.uint32).view(np.uint8)


def _sha256(pixels: NDArray[np.uint8]) -> str:
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"RGBA {width}x{height}\n".encode())
    digest.update(pixels.data)
    return digest.hexdigest()
