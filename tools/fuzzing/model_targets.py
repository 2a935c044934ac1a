"""Targets for networks that come from elsewhere: weights, saved models, folders of transformers, archives of Keras."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tools.fuzzing.mutate import deep_json, json_bytes, odd_bytes, odd_json, odd_text
from tools.fuzzing.target import Target, WrongAnswerError, copy_valid, in_short, pick_file

STATE = "model.safetensors"
NESTED = ("state_dict", "model", "teacher", "optimizer", "epoch")


def model_targets() -> tuple[Target, ...]:
    """Files that hold a network or a part of one."""
    return (
        Target(name="weights", prepare=_valid_weights, write=_write_weights, read=_read_weights, megabytes=300.0),
        Target(name="bundles", prepare=_valid_bundles, write=_write_bundle, read=_read_bundle, seconds=20.0),
        Target(
            name="hf-folders",
            prepare=_valid_hf,
            write=_write_hf,
            read=_read_hf,
            seconds=20.0,
            megabytes=1500.0,
            needs="transformers",
        ),
        Target(
            name="keras-files",
            prepare=_valid_keras,
            write=_write_keras,
            read=_read_keras,
            seconds=30.0,
            megabytes=1500.0,
            needs="keras",
        ),
    )


def _state() -> dict[str, Any]:
    import torch

    return {
        "conv.weight": torch.arange(24.0).view(2, 3, 2, 2),
        "conv.bias": torch.zeros(2),
        "norm.num_batches_tracked": torch.tensor(3),
        "head.weight": torch.ones(3, 2, dtype=torch.float16),
    }


def _valid_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = _state()
    checkpoint = {
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "ema": dict(state),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "epoch": 7,
        "args": {"lr": 0.1, "name": "net"},
    }
    save_file(state, folder / "a.safetensors", metadata={"format": "pt"})
    torch.save(state, folder / "flat.pt")
    torch.save(checkpoint, folder / "deep.pth")
    torch.save(state, folder / "old.bin", _use_new_zipfile_serialization=False)
    torch.save(checkpoint, folder / "old-deep.ckpt", _use_new_zipfile_serialization=False)


def _write_weights(random: Random, valid: Path, folder: Path) -> None:
    file = pick_file(random, valid)
    data = file.read_bytes()
    if file.suffix == ".safetensors" and random.random() < 0.6:
        data = _other_header(random, data)
    elif zipfile.is_zipfile(file) and random.random() < 0.5:
        data = _other_member(random, data)
    else:
        data = odd_bytes(random, data)
    (folder / f"w{file.suffix}").write_bytes(data)
    (folder / "key.txt").write_text(random.choice(("", "", *NESTED, "module", "conv", ".", "state_dict.conv")))


def _other_header(random: Random, data: bytes) -> bytes:
    """A safetensors file whose header says something else."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    if random.random() < 0.05:
        text = deep_json(random)
    else:
        text = json_bytes(random, odd_json(random, header))
    if random.random() < 0.1:
        length = random.choice((0, 1, 2**63, 2**64 - 1, 2**31, len(data), len(text) + 1))
    else:
        length = len(text)
    return struct.pack("<Q", length) + text + data[8 + struct.unpack("<Q", data[:8])[0] :]


def _other_member(random: Random, data: bytes) -> bytes:
    """A zip archive with one of its files changed, left out, doubled or renamed."""
    source = zipfile.ZipFile(io.BytesIO(data))
    names = source.namelist()
    chosen = random.choice(names)
    action = random.randrange(5)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made:
        for name in names:
            content = source.read(name)
            if name != chosen:
                made.writestr(name, content)
            elif action < 3:
                made.writestr(name, odd_bytes(random, content))
            elif action == 3:
                made.writestr(
                    random.choice(("../x", "/x", name.upper(), f"{name}/", odd_text(random)[:99] or "x")), content
                )
    return buffer.getvalue()


def _read_weights(_valid: Path, folder: Path) -> str:
    from frostline.models.weight_files import read_weights

    key = (folder / "key.txt").read_text()
    file = next(folder.glob("w.*"))
    weights = read_weights(f"{file}:{key}" if key else file)
    told = {name: (tuple(tensor.shape), str(tensor.dtype), tensor.numel()) for name, tensor in weights.items()}
    return in_short((sorted(map(str, told.items())), weights.notes))


def _valid_bundles(folder: Path) -> None:
    from tools.fuzzing.worlds import finished_run, small_network

    run = finished_run(folder.with_name("bundles-run"), small_network(folder.with_name("bundles-network")))
    (run / "model").rename(folder / "model")
    (run / "result.json").rename(folder / "result.json")


def _write_bundle(random: Random, valid: Path, folder: Path) -> None:
    copy_valid(valid, folder)
    if random.random() < 0.8:
        (folder / "result.json").unlink()  # whose hashes would refuse any change before it is read
    file = pick_file(random, folder / "model", "*.json")
    if random.random() < 0.3:
        file = folder / "model" / STATE
    if file.suffix == ".json" and random.random() < 0.8:
        file.write_bytes(json_bytes(random, odd_json(random, json.loads(file.read_bytes()))))
    elif file.name == STATE and random.random() < 0.3:
        file.write_bytes(_other_header(random, file.read_bytes()))
    elif random.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(odd_bytes(random, file.read_bytes()))


def _read_bundle(valid: Path, folder: Path) -> str:
    import frostline

    bundle = frostline.load(folder, device="cpu")
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)
    answer = f"{bundle.classes} {bundle.threshold} {bundle.predict_proba(image).tolist()}"
    recorded = (folder / "result.json").is_file()
    if recorded and (folder / "model" / STATE).read_bytes() != (valid / "model" / STATE).read_bytes():
        raise WrongAnswerError("took weights whose bytes had changed")
    return answer


def _valid_hf(folder: Path) -> None:
    from cases.hf_folders import write_image_network, write_text_network

    write_text_network(folder / "encoder")
    write_text_network(folder / "classifier", labels=("a", "b", "c"))
    write_image_network(folder / "images")


def _write_hf(random: Random, valid: Path, folder: Path) -> None:
    copy_valid(random.choice(sorted(valid.iterdir())), folder)
    file = pick_file(random, folder)
    if file.suffix == ".json" and random.random() < 0.85:
        value = odd_json(random, json.loads(file.read_bytes()))
        file.write_bytes(json_bytes(random, _bounded(value)))
    elif file.suffix == ".safetensors" and random.random() < 0.5:
        file.write_bytes(_other_header(random, file.read_bytes()))
    else:
        file.write_bytes(odd_bytes(random, file.read_bytes()))


def _bounded(value: Any) -> Any:
    """The value with small numbers: a width of 2 ** 31 is a network that nobody has the memory for."""
    if isinstance(value, dict):
        return {key: _bounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_bounded(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > 300:
        return 300
    return value


def _read_hf(_valid: Path, folder: Path) -> str:
    from frostline.models.network import NetworkOptions
    from frostline.models.sources import load_network

    network = load_network(f"hf:{folder}", NetworkOptions())
    return in_short((network.classes, network.weights_name, network.headless, network.preprocess))


def _valid_keras(folder: Path) -> None:
    from frostline.models.sources.keras_library import import_keras

    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "net.keras")
    model.save_weights(folder / "net.weights.h5")


def _write_keras(random: Random, valid: Path, folder: Path) -> None:
    data = (valid / "net.keras").read_bytes()
    weights = (valid / "net.weights.h5").read_bytes()
    action = random.randrange(4)
    if action == 0:
        data = odd_bytes(random, data)
    elif action == 1:
        data = _other_member(random, data)
    elif action == 2:
        data = _other_architecture(random, data)
    else:
        weights = odd_bytes(random, weights)
    (folder / "net.keras").write_bytes(data)
    (folder / "net.weights.h5").write_bytes(weights)


def _other_architecture(random: Random, data: bytes) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(data))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                content = json_bytes(random, _bounded(odd_json(random, json.loads(content))))
            made.writestr(name, content)
    return buffer.getvalue()


def _read_keras(_valid: Path, folder: Path) -> str:
    from frostline.base.errors import FrostlineError
    from frostline.models.network import NetworkOptions
    from frostline.models.sources import load_network

    said = []
    for weights in (None, str(folder / "net.weights.h5")):
        try:
            network = load_network(f"keras:{folder / 'net.keras'}", NetworkOptions(weights=weights))
            said.append(in_short((network.classes, network.weights_name, network.preprocess)))
        except FrostlineError as error:
            said.append(str(error))
    return "\n".join(said)
