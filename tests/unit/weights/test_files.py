"""Which file is what: recognised by content, unwrapped, or refused in one line."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import pickle
import random
import shlex
import subprocess
import tarfile
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from lst_cli.errors import LstError
from lst_cli.weights.kinds import require_weights
from lst_cli.weights.load import load_weights, read_weights

pytestmark = pytest.mark.engine


class Small(nn.Module):
    """A network with names as ours: a body, and a predictor of its own classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.roi_heads = nn.ModuleDict({"box_predictor": nn.Linear(4, 2)})


TENSORS = {
    name: torch.rand(tuple(tensor.shape))
    for name, tensor in Small().state_dict().items()
    if name.startswith("backbone") and tensor.is_floating_point()
}


def torch_bytes(content: Any, *, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("model.pth")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    return file.getvalue()


ARRAYS = {name: tensor.numpy() for name, tensor in TENSORS.items()}


def wrapped(*keys: str) -> dict[str, Any]:
    content: dict[str, Any] = dict(TENSORS)
    for key in keys:
        content = {"epoch": 3, "optimizer": {"state": {}}, key: content}
    return content


def named(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


GOOD: dict[str, bytes] = {
    "safetensors": save(TENSORS),
    "zip": torch_bytes(TENSORS),
    "old torch": torch_bytes(TENSORS, old=True),
    "pickle": pickle.dumps({"model": ARRAYS}),
    "protocol 0": pickle.dumps({"model": ARRAYS}, 0),
    "protocol 2": pickle.dumps(
        {"model": OrderedDict(ARRAYS), "lr": [0.1, 2**70, b"x"], "args": Namespace(a=1)}, 2
    ),
    "state_dict": torch_bytes(wrapped("state_dict")),
    "model_state_dict": torch_bytes(wrapped("model_state_dict"), old=True),
    "weights in a model": torch_bytes(wrapped("weights", "model")),
    "three deep": torch_bytes(wrapped("module", "state_dict", "ema")),
    "arrays in a state_dict": pickle.dumps({"state_dict": ARRAYS}),
    "DDP": torch_bytes(named("module.")),
    "DDP and compiled": torch_bytes(named("module._orig_mod.")),
    "a wrapper of its own": save(named("generalized_rcnn.net.")),
    "two copies": torch_bytes(TENSORS | {f"ema.{n}": t * 0 for n, t in TENSORS.items()}),
    **{
        key: torch_bytes(wrapped(key))
        for key in ("params_ema", "generator", "modelTeacher", "a name of its own")
    },
    "unknown in known": torch_bytes(wrapped("student", "model")),
    "known beside unknown": torch_bytes(wrapped("model") | {"ema_2": dict(TENSORS)}),
    "a compiled part": torch_bytes(
        {n.replace("backbone.", "backbone._orig_mod."): t for n, t in TENSORS.items()}
    ),
    "parameters": torch_bytes({n: nn.Parameter(t) for n, t in TENSORS.items()}),
}


@pytest.mark.parametrize("form", GOOD)
def test_weights_are_found_whatever_is_around_them(form, tmp_path):
    for suffix in (".pth", ".pkl", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(GOOD[form])
        model = Small()
        assert set(load_weights(model, str(path)).matched) == set(TENSORS)
        for name, tensor in TENSORS.items():
            assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_other_widths_of_numbers_are_converted(form, dtype, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in TENSORS.items()}
    data = save(tensors) if form == "safetensors" else torch_bytes(tensors, old=form == "old")
    (tmp_path / "weights").write_bytes(data)
    model = Small()
    load_weights(model, str(tmp_path / "weights"))
    name = "backbone.0.weight"
    assert torch.equal(model.state_dict()[name], tensors[name].float())


OTHER: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4\n", "LFS pointer"),
    "page": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "a refusal": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "refusal of a server"),
    "xml": (b"<?xml version='1.0'?><svg/>", "XML"),
    "a saved page": (b"<!-- saved --><html>", "web page"),
    "cut zip": (torch_bytes(TENSORS)[:-100], "cut short"),
    "cut in the middle": (torch_bytes(TENSORS)[:700], "cut short"),
    "cut old": (torch_bytes(TENSORS, old=True)[:-5], "cut short"),
    "cut safetensors": (save(TENSORS)[:-5], "cut short"),
    "torchscript": (scripted(), "TorchScript"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "ONNX"),
    "keras": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "new keras": (zipped(model_DOT_weights_DOT_h5=b"x"), "Keras"),
    "npz": (zipped(a_DOT_npy=b"x"), "npz"),
    "npy": (b"\x93NUMPY\x01\0", "numpy array"),
    "json": (json.dumps({"weight_map": {}}).encode(), "JSON"),
    "yaml": (b"MODEL:\n  WEIGHTS: x\n", "is text"),
    "image": (b"\x89PNG\r\n", "image"),
    "texture": (b"DDS \0", "DDS texture"),
    "video": (b"\x1aE\xdf\xa3", "is a video"),
    "gguf": (b"GGUF\3\0", "GGUF"),
    "noise": (bytes(range(255, 128, -1)), "damaged"),
    "only settings": (torch_bytes({"optimizer": {"lr": 0.1}, "epoch": 3}), "optimizer"),
    "an empty table": (torch_bytes({}), "it holds no weights$"),
    "a list": (pickle.dumps([1.0]), "no table"),
    "a whole model": (torch_bytes(Small()), "it would run"),
    "an empty archive": (zipped(a__data_DOT_pkl=b"N."), "no table"),
    "objects": (pickle.dumps({"model": {"a": np.array([None])}}), "no plain number"),
    "infinite": (save({n: t * float("nan") for n, t in TENSORS.items()}), "not finite"),
    "too large": (save({n: t.double() * 1e300 for n, t in TENSORS.items()}), "not finite"),
    "8 bits": (save({n: t.to(torch.int8) for n, t in TENSORS.items()}), "int8"),
    "8 bit floats": (save({n: t.to(torch.float8_e4m3fn) for n, t in TENSORS.items()}), "float8"),
    "a value that is not there": (b"\x80\x02h\x05.", "damaged"),
    "two networks": (torch_bytes({"teacher": TENSORS, "student": TENSORS}), "teacher, student"),
    "another network": (
        torch_bytes({"layer1.0.conv1.weight": torch.zeros(3)}),
        "none of its 1 tensors fits the network: its names are such as layer1.0.conv1.weight, "
        "the network's such as backbone.0.weight",
    ),
    "other sizes": (
        torch_bytes({"backbone.0.weight": torch.zeros(8, 3)}),
        r"backbone.0.weight is \(8, 3\) there and \(4, 3\) in the network",
    ),
    "a large head": ((2**60).to_bytes(8, "little") + b"{", "damaged"),
    "a deep head": ((2**20).to_bytes(8, "little") + b'{"a":' * 209_716, "damaged"),
}


@pytest.mark.parametrize("form", OTHER)
def test_anything_else_is_named_in_one_line_that_says_what_to_do(form, tmp_path):
    content, words = OTHER[form]
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(LstError, match=words) as caught:
        load_weights(Small(), str(path))
    message, hint = caught.value.message, caught.value.hint
    assert str(path) in message
    assert hint
    assert "\n" not in message + hint


PACKED = {
    "gz": (gzip.compress(b"whole"), "gzip"),
    "bz2": (bz2.compress(b"whole"), "bzip2"),
    "xz": (lzma.compress(b"whole"), "xz"),
    "7z": (b"7z\xbc\xaf", "7z archive"),
    "zip": (zipped(model_DOT_pth=b"x"), "zip archive"),
    "tar": (tarred(b"x"), "tar archive"),
}


@pytest.mark.parametrize("suffix", PACKED)
def test_a_packed_file_is_named_and_its_hint_can_be_pasted(suffix, tmp_path):
    path = tmp_path / "my model.pth"
    content, words = PACKED[suffix]
    path.write_bytes(content)
    with pytest.raises(LstError, match=words) as caught:
        require_weights(str(path))
    hint = caught.value.hint or ""
    assert shlex.quote(str(path)) in hint
    if suffix in ("gz", "bz2", "xz"):
        command = hint.removeprefix("unpack it first: ").partition(",")[0]
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        assert (tmp_path / "NEW.pth").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("source", "words", "hint"),
    [
        ("s3://bucket/model.pth", "lst cannot fetch this kind of URL", "download it"),
        ("hf://owner/model", "lst cannot fetch this kind of URL", "download it"),
        ("file:///tmp/model.pth", "is a URL, not a path", "give /tmp/model.pth"),
        ("~/model.pth", "no such file", "~ is known to the shell alone"),
        ("{dir}/gone.pth", "no such file", "give a .pkl"),
        ("{dir}", "is a directory", "--weights {dir}/model.safetensors"),
        ("{dir}/page.pth", "is a web page", "download what"),
        ("{dir}/pipe", "it is a named pipe", "give a"),
        ("{dir}/pipe/below", "not a directory", "give a"),
        ("/dev/zero", "it is a device", "give a"),
        ("/proc/self/maps", "it is a file of the kernel", "give a"),
        ("x" * 300, "file name too long", "give a"),
        ("x" * 5000, "file name too long", "give a"),
        ("a\0b.pth", "no file can have this name", "give a"),
    ],
)
def test_weights_are_refused_alike_before_training_and_when_they_are_read(
    source, words, hint, tmp_path
):
    (tmp_path / "page.pth").write_bytes(b"<html>")
    (tmp_path / "model.safetensors").touch()
    os.mkfifo(tmp_path / "pipe")
    errors = []
    for use in (require_weights, read_weights):
        with pytest.raises(LstError, match=words) as caught:
            use(source.format(dir=tmp_path))
        errors.append((caught.value.message, caught.value.hint))
    assert errors[0] == errors[1]
    assert hint.format(dir=tmp_path) in (errors[0][1] or "")


def test_a_fetch_that_fails_says_one_line(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(LstError, match="cannot be fetched"):
        read_weights("http://127.0.0.1:9/model.pth")
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


def test_a_fetched_file_that_is_no_checkpoint_is_to_be_removed_first(tmp_path, monkeypatch):
    page = tmp_path / "model.pkl"
    page.write_bytes(b"<html>404</html>")
    manager = "lst_cli.weights.load.PathManager.get_local_path"
    monkeypatch.setattr(manager, lambda source: str(page))
    with pytest.raises(LstError, match="is a web page") as caught:
        read_weights("https://x/model.pkl")
    assert (caught.value.hint or "").startswith(f"rm {page}")


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """The bytes with up to two replaced, added or missing in up to four places."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        data[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(data)


def compressed(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    file, kind = io.BytesIO(), zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("/data/", lambda data: data[:-4], "storage 0 has another size"),
        ("/data/", lambda data: data + bytes(10**7), "would unpack to"),
        ("data.pkl", lambda data: data.replace(b"FloatS", b"ByteS"), "another size"),
    ],
    ids=["storages too short", "storages that unpack to much", "another kind"],
)
def test_an_archive_whose_parts_do_not_fit_is_refused(part, change, words, tmp_path):
    path, whole = tmp_path / "model.pth", torch_bytes(TENSORS)
    path.write_bytes(compressed(whole, lambda n, data: change(data) if part in n else data))
    with pytest.raises(LstError, match=words):
        read_weights(str(path))
    path.write_bytes(compressed(whole, lambda name, data: data))
    assert set(read_weights(str(path))[0]) == set(TENSORS)


@pytest.mark.parametrize(
    "form", ["zip", "old torch", "pickle", "protocol 0", "protocol 2", "safetensors"]
)
def test_a_file_that_is_damaged_or_cut_short_is_read_or_refused_in_one_line(form, tmp_path):
    rng, whole, path = random.Random(form), GOOD[form], tmp_path / "model"
    refused = 0
    for _ in range(120):
        path.write_bytes(damaged(whole, rng))
        try:
            read_weights(str(path))
        except LstError:
            refused += 1
    assert refused > 20
    for end in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:end])
        with pytest.raises(LstError, match=f"^--weights {path}: .*$"):
            read_weights(str(path))


class Command(str):
    """Unpickled without care, it runs as a command."""

    def __reduce__(self) -> Any:
        return os.system, (str(self),)


@pytest.mark.parametrize("form", ["bare", "nested", "pth", "old pth"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(form, tmp_path):
    touched, path = tmp_path / "touched", tmp_path / "model.pth"
    command = Command(f"touch '{touched}'")
    nested = {"model": {"a": np.zeros(1), "b": command}}
    if form.endswith("pth"):
        path.write_bytes(torch_bytes({"model": command}, old=form == "old pth"))
    else:
        path.write_bytes(pickle.dumps(command if form == "bare" else nested))
    with pytest.raises(LstError, match=f"^--weights {path}: it would run .*$"):
        read_weights(str(path))
    assert not touched.exists()
    # The file itself does bite where it is read without care.
    if not form.endswith("pth"):
        pickle.loads(path.read_bytes())
        assert touched.exists()


def test_an_old_torch_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path, monkeypatch):
    data = torch_bytes({"a.weight": torch.rand(300)}, old=True)
    path = tmp_path / "huge.pth"
    path.write_bytes(data.replace(b"M,\x01", b"J\xff\xff\xff\x7f"))  # 300 as 2,147,483,647
    zeros, asked = torch.zeros, []
    monkeypatch.setattr(torch, "zeros", lambda n, **more: (asked.append(n), zeros(1, **more))[1])
    with pytest.raises(LstError, match="cut short"):
        load_weights(Small(), str(path))
    assert max(asked) < 300


def test_an_archive_that_a_disk_does_not_give_is_not_called_damaged(tmp_path, monkeypatch):
    path, read = tmp_path / "model.pth", zipfile.ZipFile.read
    path.write_bytes(torch_bytes({"a.weight": torch.rand(3)}))

    def fail(archive: zipfile.ZipFile, name: str) -> bytes:
        if "/data/" in name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(archive, name)

    monkeypatch.setattr(zipfile.ZipFile, "read", fail)
    with pytest.raises(LstError, match="cannot be read: Input/output error"):
        read_weights(str(path))
