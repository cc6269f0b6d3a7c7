"""Pickles of PyTorch: read as PyTorch reads them, and refused where they ask for more than tensors."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pickled_files import WRITERS, Name, Persistent, Program, write_older, write_zip

from sdgen.checkpoints.pickles import read_pickle, read_pickle_texts
from sdgen.checkpoints.pickles.instructions import MAX_INSTRUCTIONS
from sdgen.checkpoints.weight_file import read_weights
from sdgen.errors import CheckpointError

GOLDEN = Path(__file__).parent / "golden" / "pickles"
VALUES = np.load(GOLDEN / "values.npz")
FILES = sorted({name.partition("/")[0] for name in VALUES.files})


@pytest.mark.parametrize("name", FILES)
def test_tensors_are_those_that_torch_finds(name: str) -> None:
    tensors = read_pickle(GOLDEN / f"{name}.pt")
    wanted = {key.partition("/")[2]: VALUES[key] for key in VALUES.files if key.startswith(f"{name}/")}
    assert tensors.keys() == wanted.keys()
    for key, array in wanted.items():
        found = tensors[key]
        assert found.shape == tensors.lazy(key).shape == array.shape
        assert found.dtype == tensors.lazy(key).dtype == ("bfloat16" if key == "bfloat16" else array.dtype)
        assert np.array_equal(found.astype(array.dtype), array)


def test_newer_dtypes_are_read() -> None:
    tensors = read_pickle(GOLDEN / "dtypes-zip.pt")
    assert tensors["eight"].tolist() == [0.5, -2.0, 448.0] and tensors["eight"].dtype == np.float16
    assert tensors["sixteen"].tolist() == [1, 65535] and tensors["sixteen"].dtype == np.uint16


def test_parameters_of_a_module_are_found() -> None:
    assert read_pickle(GOLDEN / "module.pt")["string_to_param.*"].shape == (2, 3)


def test_texts_beside_tensors_are_found() -> None:
    assert read_pickle_texts(GOLDEN / "embedding-zip.pt") == {"name": "cat toy"}


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_plain_data_is_read(tmp_path: Path, protocol: int) -> None:
    data = {"n": [True, None, -1, 1 << 40, 2.5, ("a",) * 5, {}, ()], "é\u20ac": "ü\U0001f98a"}
    write_zip(tmp_path / "x.pt", None, pickle.dumps(data, protocol))
    assert read_pickle_texts(tmp_path / "x.pt") == {"é\u20ac": "ü\U0001f98a"}


def test_numbers_of_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_zip(tmp_path / "little.pt", {"x": array})
    with zipfile.ZipFile(tmp_path / "little.pt") as little, zipfile.ZipFile(tmp_path / "x.pt", "w") as big:
        for name in little.namelist():
            data = little.read(name)
            data = array.astype(">f4").tobytes() if name.endswith("/0") else data
            big.writestr(name, b"big" if name.endswith("byteorder") else data)
    assert np.array_equal(read_pickle(tmp_path / "x.pt")["x"], array)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_safetensors_file_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "x.safetensors").write_bytes(
        struct.pack("<Qf", length, 2.5)[:8] + header + struct.pack("<f", 2.5)
    )
    assert read_weights(tmp_path / "x.safetensors")["x"].tolist() == [2.5]


LONG_LIST = b"](" + b"N" * 400_000 + b"e\x85q\x01"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n".encode() + text(argument) + b"\x85R."


TOUCH = "touch canary"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (b"\x80\x02" + call("os", "system", TOUCH), r"asks for os\.system"),
    "posix.system": (b"\x80\x02" + call("posix", "system", TOUCH), r"asks for posix\.system"),
    "eval": (b"\x80\x02" + call("builtins", "eval", "open('canary', 'w')"), r"asks for builtins\.eval"),
    "exec of Python 2": (
        b"\x80\x02" + call("__builtin__", "exec", "open('canary', 'w')"),
        r"__builtin__\.exec",
    ),
    "getattr": (b"\x80\x02cbuiltins\ngetattr\n.", r"builtins\.getattr"),
    "subprocess": (b"\x80\x02csubprocess\nPopen\n(lR.", r"subprocess\.Popen"),
    "a nested torch.load": (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", r"_load_from_bytes"),
    "a name inside a module": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
    "a name of a kind that is known, elsewhere": (b"\x80\x02ctorch.nn\nFloatStorage\n.", r"torch\.nn\.Float"),
    "INST": (b"(S'touch canary'\nios\nsystem\n.", r"asks for os\.system"),
    "INST of a name that is known": (b"(icollections\nOrderedDict\n.", "OrderedDict by .* INST"),
    "OBJ": (b"(ccollections\nOrderedDict\no.", "the pickle instruction OBJ"),
    "OBJ of os.system": (b"(cos\nsystem\n" + text(TOUCH) + b"o.", r"asks for os\.system"),
    "STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93.", r"asks for os\.system"),
    "STACK_GLOBAL by memory": (
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93.",
        r"truncated or altered|asks for os\.system",
    ),
    "NEWOBJ": (b"\x80\x02cos\n_wrap_close\n)\x81.", r"asks for os\._wrap_close"),
    "NEWOBJ_EX": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "the pickle instruction NEWOBJ_EX"),
    "EXT1": (b"\x80\x02\x82\x01.", "number 1 of the names"),
    "EXT2": (b"\x80\x02\x83\x01\x02.", "number 513 of the names"),
    "EXT4": (b"\x80\x02\x84\x01\x02\x03\x04.", "number 67305985 of the names"),
    "PERSID": (b"Pcanary\n.", "the persistent id 'canary'"),
    "a persistent id that is no storage": (b"\x80\x02" + text("canary") + b"Q.", "makes no sense"),
    "a huge LONG": (b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b".", "an integer of 1073741824 bytes"),
    "a LONG of less than nothing": (b"\x80\x02\x8b" + struct.pack("<i", -1) + b".", "an integer of -1 bytes"),
    "a number of 5,000 digits": (b"L" + b"9" * 5000 + b"L\n.", "makes no sense"),
    "text of 2^63 bytes": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 63) + b".", "makes no sense"),
    "a buffer from outside": (b"\x80\x05\x97.", "the pickle instruction NEXT_BUFFER"),
    "a byte that is no instruction": (b"\x80\x02\xff.", "the pickle instruction 0xff"),
    "protocol 9": (b"\x80\x09N.", "pickle protocol 9"),
    "a call of data": (b"\x80\x02" + text("os.system") + b")R.", "makes no sense"),
    "more taken than there is": (b"\x80\x02000.", "makes no sense"),
    "memory that is empty": (b"\x80\x02h\x07.", "makes no sense"),
    "lists 100,000 deep": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "a list of 1 things"),
    "tuples 100,000 deep": (b"\x80\x02)" + b"\x85" * 100_000 + b".", "something else"),
    "states 100,000 deep": (
        b"\x80\x02ctorch\nTensor\n" + b"ctorch\nTensor\n)\x81" * 50_000 + b"b" * 50_000 + b".",
        "an object of torch.Tensor",
    ),
    "a list that holds itself": (b"\x80\x02]q\x00h\x00a.", "a list of 1 things"),
    "a dictionary that holds itself": (
        b"\x80\x02}q\x00" + text("x") + b"h\x00s.",
        "a dictionary and no tensors",
    ),
    "a billion laughs": (b"\x80\x02)" + b"2\x86" * 200 + b".", "something else"),
    "a billion laughs for a key": (b"\x80\x02})" + b"2\x86" * 200 + b"Ns.", "makes no sense"),
    "keys that collide": (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0a" + ((1 << 61) - 1).to_bytes(10, "little") + b"N" for _ in "ab")
        + b"u.",
        "makes no sense",
    ),
    "a million instructions": (b"\x80\x02" + b"N0" * MAX_INSTRUCTIONS + b".", "of more than 1000000 instr"),
    "a long list in each of many calls": (
        b"\x80\x02ctorch\nSize\nq\x00" + LONG_LIST + b"h\x00h\x01R" * 100_000 + b".",
        "of more than 1000000 instructions",
    ),
    "many arguments": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n(" + b"N" * 400_000 + b"tR.",
        "makes no sense",
    ),
    "a pickle that goes on": (b"\x80\x02" + b"N" * 100, "ends early"),
}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.usefixtures("bounded")
def test_what_no_weights_need_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, message = HOSTILE[what]
    WRITERS[layout](tmp_path / "x.pt", None, code)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_pickle(tmp_path / "x.pt")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600 + len(str(tmp_path))
    assert not (tmp_path / "canary").exists()


KNOWN = {
    "a callback of Lightning": {
        Name("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"): {"x": 1}
    },
    "a number of NumPy": Name(
        "numpy.core.multiarray",
        "scalar",
        Name("numpy", "dtype", "f8", 0, 1),
        Name("_codecs", "encode", "\x00\x01", "latin1"),
    ),
    "a set": Name("__builtin__", "set", [1, 2]),
    "a device": Name("torch", "device", "cuda", 0),
}


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("what", KNOWN)
def test_what_published_checkpoints_hold_beside_tensors_is_passed_over(
    tmp_path: Path, layout: str, what: str
) -> None:
    array = np.arange(3, dtype=np.float16)
    WRITERS[layout](tmp_path / "x.ckpt", {"callbacks": KNOWN[what], "state_dict": {"a.b": array}})
    tensors = read_pickle(tmp_path / "x.ckpt")
    assert list(tensors) == ["a.b"] and np.array_equal(tensors["a.b"], array)


def rebuilt(*arguments: object, numbers: int = 4) -> bytes:
    """A pickle of a tensor of the storage "0", which goes by ``arguments``."""
    storage = Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", numbers))
    return Program().dump({"x": Name("torch._utils", "_rebuild_tensor_v2", storage, *arguments)})


TENSORS: dict[str, tuple[bytes, str]] = {
    "beyond its storage": (rebuilt(1, (4,), (1,)), "makes no sense"),
    "before its storage": (rebuilt(-1, (2,), (1,)), "makes no sense"),
    "backwards": (rebuilt(3, (4,), (-1,)), "makes no sense"),
    "of a size below nothing": (rebuilt(0, (-4,), (1,)), "makes no sense"),
    "of nine dimensions": (rebuilt(0, (1,) * 9, (1,) * 9), "makes no sense"),
    "of more strides than sizes": (rebuilt(0, (4,), (1, 1)), "makes no sense"),
    "of sizes that are true": (rebuilt(0, (True,), (1,)), "makes no sense"),
    "of sizes with a point": (rebuilt(0, (2.0,), (1,)), "makes no sense"),
    "of 2^60 numbers": (rebuilt(0, (1 << 30, 1 << 30), (0, 0)), "makes no sense"),
    "larger than its file": (rebuilt(0, (1 << 20,), (0,)), "its tensors are larger than it is"),
    "whose storage is larger than its bytes": (rebuilt(0, (5,), (1,), numbers=5), "16 bytes instead of 20"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_a_tensor_that_cannot_be_is_refused(tmp_path: Path, what: str) -> None:
    code, message = TENSORS[what]
    write_zip(tmp_path / "x.pt", np.zeros(4, np.float32), code)
    with pytest.raises(CheckpointError, match=message):
        read_pickle(tmp_path / "x.pt")


def test_views_of_one_storage_may_have_so_many_bytes_together(tmp_path: Path) -> None:
    storage = Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", 1 << 16))
    whole = Name("torch._utils", "_rebuild_tensor_v2", storage, 0, (1 << 16,), (1,))
    many = {f"x{n}": whole for n in range(9)}
    write_zip(tmp_path / "x.pt", np.zeros(1 << 16, np.float32), Program().dump(many))
    with pytest.raises(CheckpointError, match="its tensors are larger than it is"):
        read_pickle(tmp_path / "x.pt")


def test_one_dictionary_in_many_places_is_bounded(tmp_path: Path) -> None:
    inner = b"}q\x00(" + b"".join(text(f"{n}") + b"N" for n in range(1500)) + b"u0"
    outer = b"}(" + b"".join(text(f"{n}") + b"h\x00" for n in range(1500)) + b"u."
    write_zip(tmp_path / "x.pt", None, b"\x80\x02" + inner + outer)
    with pytest.raises(CheckpointError, match="the same dictionaries in too many places"):
        read_pickle(tmp_path / "x.pt")


def renamed(path: Path, change: Callable[[str], str], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(change(name), data)


ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "without its pickle": (
        lambda path: renamed(path, lambda name: name + "x"),
        "0 of its members are a data.pkl",
    ),
    "without its numbers": (
        lambda path: renamed(path, lambda name: name.replace("data/0", "data/1")),
        "it has no data/0",
    ),
    "compressed": (lambda path: renamed(path, str, zipfile.ZIP_DEFLATED), "is compressed or encrypted"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated or altered"),
    "with a program": (
        lambda path: renamed(path, lambda name: name.replace("version", "constants.pkl")),
        "is a program .TorchScript",
    ),
    "with a directory of 4 GB": (
        lambda path: path.write_bytes(
            path.read_bytes()[:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFF0, 0, 0)
        ),
        "truncated or altered",
    ),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_is_not_as_torch_writes_it_is_told(tmp_path: Path, what: str) -> None:
    change, message = ARCHIVES[what]
    write_zip(tmp_path / "x.pt", {"x": np.ones(64, np.float32)})
    change(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        read_pickle(tmp_path / "x.pt")


OTHER: dict[str, tuple[bytes, str]] = {
    "a tar archive": (
        b"sys_info".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"),
        "oldest layout, a tar archive",
    ),
    "a pickle of plain data": (pickle.dumps({"x": [1, 2]}, 2), "a pickle that torch.save did not write"),
    "a mark alone": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "truncated or altered"),
    "a mark and what is not the rest": (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(7, 2) * 4,
        "does not begin as torch.save begins",
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_torch_does_not_write_is_told(tmp_path: Path, what: str) -> None:
    data, message = OTHER[what]
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "x.pt")


def test_numbers_of_the_older_layout_must_be_those_of_its_pickle(tmp_path: Path) -> None:
    write_older(tmp_path / "x.pt", {"x": np.ones(64, np.float32)})
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data[:-4])
    with pytest.raises(CheckpointError, match="not those that its pickle describes"):
        read_pickle(tmp_path / "x.pt")


def test_keys_of_storages_that_are_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    write_older(tmp_path / "x.pt", {"x": np.ones(4, np.float32)})
    data = (tmp_path / "x.pt").read_bytes()
    keys = data.index(pickle.dumps(["0"], 2))
    (tmp_path / "x.pt").write_bytes(data[:keys] + b"\x80\x02](" + b")" + b"2\x86" * 200 + b"e." + data[keys:])
    with pytest.raises(CheckpointError, match="not those that its pickle describes"):
        read_pickle(tmp_path / "x.pt")


def test_a_list_and_a_program_are_told() -> None:
    with pytest.raises(CheckpointError, match="holds a list of 2 things and no tensors by name"):
        read_pickle(GOLDEN / "list.pt")
    with pytest.raises(CheckpointError, match="is a program"):
        read_pickle(GOLDEN / "program.pt")
