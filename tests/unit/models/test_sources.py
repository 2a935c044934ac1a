"""Networks from files and libraries: what is read, what is refused and with which words."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frostline.base.errors import ModelError
from frostline.models.network import Network, NetworkOptions, load_weights, pretrained, read_weights
from frostline.models.sources import hub, load_network

CODE = """
import torch
from torch import nn
MEAN, STD, INPUT_SIZE, CLASSES = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (3, 8, 8), ("a", "b")

def net(classes=2, width=4, load=False):
    body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(width, classes))
    if load:
        g = torch.Generator().manual_seed(1)
        for p in model.parameters():
            p.data = torch.randn(p.shape, generator=g)
    return model

def broken():
    raise KeyError("weights are elsewhere")

def number():
    return 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text(CODE)
    return path


def load(file: Path, factory: str = "net", **options: Any) -> Network:
    return load_network(f"torch:{file}:{factory}", NetworkOptions(**options))


def refused(file: Path, factory: str = "net", **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(file, factory, **options)
    return caught.value


def test_constants_of_the_users_file_are_read(file: Path) -> None:
    network = load(file, weights="random")
    assert network.preprocess.size == (8, 8)
    assert network.preprocess.mean == (0.5, 0.5, 0.5)
    assert network.preprocess.std == (0.25, 0.25, 0.25)
    assert network.preprocess.resize == 9  # 8 / 0.875
    assert network.classes == ("a", "b")
    assert network.code is not None
    assert network.code.text == CODE
    assert not network.self_loading
    assert load(file, weights="random", mean=(0.1,), size=16).preprocess.mean == (0.1, 0.1, 0.1)
    assert load(file, weights="random", size=16).preprocess.size == (16, 16)


def test_a_seed_gives_the_weights_and_nothing_global_moves(file: Path) -> None:
    path, state = list(sys.path), torch.get_rng_state()
    network = load(file, weights="random")
    first, again, other = (network.build(seed).get_parameter("1.weight") for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.path == path
    assert not list(file.parent.glob("__pycache__"))


def test_factory_that_loads_its_own_weights_is_noticed(file: Path) -> None:
    network = load(file, model_args={"load": True})
    assert network.self_loading
    assert network.weights is None
    assert network.weights_name == "code.py:net"
    assert "loads weights by itself" in refused(file, weights="random", model_args={"load": True}).message


def test_weights_file_is_loaded_and_identifies_the_network(file: Path, tmp_path: Path) -> None:
    source = load(file, weights="random").build(5)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    network = load(file, weights=str(tmp_path / "w.safetensors"))
    module = pretrained(network)
    assert torch.equal(module.get_parameter("1.weight"), source.get_parameter("1.weight"))
    assert not module.training
    assert network.weights_name == "w.safetensors"
    assert network.load_report is not None
    assert network.load_report.clean
    assert network.fingerprint == load(file, weights=str(tmp_path / "w.safetensors")).fingerprint
    assert network.fingerprint != load(file, weights="random").fingerprint


def test_head_of_another_size_is_said_and_left_alone(file: Path, tmp_path: Path) -> None:
    save_file(load(file, weights="random").build(5).state_dict(), tmp_path / "w.safetensors")
    network = load(file, weights=str(tmp_path / "w.safetensors"), model_args={"classes": 7})
    assert network.load_report is not None
    assert network.load_report.mismatched == ("1.weight", "1.bias")
    assert network.load_report.head_differs
    assert pretrained(network).get_parameter("1.weight").shape[0] == 7


def test_weights_of_another_architecture_are_refused_with_the_keys(file: Path, tmp_path: Path) -> None:
    save_file(load(file, weights="random").build(5).state_dict(), tmp_path / "w.safetensors")
    error = refused(file, weights=str(tmp_path / "w.safetensors"), model_args={"width": 6})
    assert "another architecture" in error.message
    assert "0.0.weight 4x3x3x3 for 6x3x3x3" in error.message
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    error = refused(file, weights=str(tmp_path / "x.safetensors"))
    assert "1 unexpected (conv.weight)" in error.message
    assert "lacking (0.0.weight, 0.0.bias, 0.1.weight, 0.1.bias and" in error.message


def test_nothing_is_loaded_where_a_key_does_not_fit() -> None:
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    with pytest.raises(ModelError, match="1 lacking"):
        load_weights(module, {"weight": torch.zeros(2, 2)}, head=None)
    assert torch.equal(module.weight, before)


def test_batch_counters_may_be_absent() -> None:
    module = nn.BatchNorm1d(2)
    state = {n: torch.full((2,), 3.0) for n in ("weight", "bias", "running_mean", "running_var")}
    report = load_weights(nn.Sequential(module), {f"0.{n}": v for n, v in state.items()}, head=None)
    assert report.missing == ("0.num_batches_tracked",)
    assert not report.head_differs
    assert module.running_mean is not None
    assert torch.equal(module.running_mean, torch.full((2,), 3.0))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_state_dicts_are_read_through_their_usual_wrappers(tmp_path: Path, wrap: Any) -> None:
    state = {"module.weight": torch.arange(3.0)}
    torch.save(wrap(state), tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth")["weight"].tolist() == [0.0, 1.0, 2.0]


def test_pickled_models_are_refused_without_running_them(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="pickled Python objects") as caught:
        read_weights(tmp_path / "model.pth")
    assert "state_dict" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG....", "neither a safetensors file nor a saved state_dict"),
        (b"PK\x03\x04 cut short", "can't be read as a state_dict"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(ModelError, match=words):
        read_weights(tmp_path / "w.bin")


def test_files_without_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="'epoch', which is a int"):
        read_weights(tmp_path / "w.pth")
    torch.save([torch.zeros(2)], tmp_path / "l.pth")
    with pytest.raises(ModelError, match="holds a list"):
        read_weights(tmp_path / "l.pth")
    (tmp_path / "w.safetensors").write_bytes(np.zeros(4).tobytes())
    with pytest.raises(ModelError, match="can't be read as safetensors"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="no weights file"):
        read_weights(tmp_path / "none.pth")


def test_faults_of_the_users_file_become_one_sentence(file: Path, tmp_path: Path) -> None:
    assert "KeyError: 'weights are elsewhere'" in refused(file, "broken").message
    assert "returns a int, not an nn.Module" in refused(file, "number").message
    assert "Did you mean 'number'?" in refused(file, "nunber").hint
    assert "unexpected keyword" in refused(file, model_args={"depth": 3}).message
    assert "no file" in refused(tmp_path / "none.py").message
    assert "isn't of the form" in refused(tmp_path / "none.py", "a b").message
    assert refused(file).hint == "Give --weights FILE, or --weights random."
    (tmp_path / "bad.py").write_text("def net(:\n")
    assert "SyntaxError" in refused(tmp_path / "bad.py").message


@pytest.mark.parametrize(("constant", "option"), [("INPUT_SIZE", "--size"), ("MEAN", "--mean"), ("STD", "--std")])
def test_what_the_file_does_not_state_is_asked_for(tmp_path: Path, constant: str, option: str) -> None:
    (tmp_path / "code.py").write_text(CODE + f"\ndel {constant}\n")
    error = refused(tmp_path / "code.py", weights="random")
    assert constant in error.message
    assert option in error.hint
    stated: dict[str, dict[str, Any]] = {"INPUT_SIZE": {"size": 8}, "MEAN": {"mean": (0.5,)}, "STD": {"std": (0.5,)}}
    assert load(tmp_path / "code.py", weights="random", **stated[constant]).preprocess.channels == 3


@pytest.mark.parametrize(
    ("spec", "words", "hint"),
    [
        ("resnet18", "names no source", "timm:NAME"),
        ("tim:resnet18", "names no source", "'timm'"),
        ("timm:", "nothing after the colon", "timm:NAME"),
        ("timm:resnet81", "timm knows no classification network", "Did you mean"),
        ("timm:zzz", "timm knows no classification network", "See timm.list_models()"),
        ("torchvision:resnet81", "torchvision knows no classification network", "Did you mean"),
    ],
)
def test_unknown_specs_are_refused_with_the_nearest(spec: str, words: str, hint: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_network(spec)
    assert hint in caught.value.hint


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18"])
def test_hub_names_without_a_connection_fail_at_once(
    spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda _url: False)
    monkeypatch.setattr("frostline.models.sources.timm_source._cached", lambda _id: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match="no connection") as caught:
        load_network(spec)
    assert caught.value.hint == "Give --weights FILE, or --weights random."


def test_reachable_gives_up_in_the_time_it_was_given() -> None:
    start = time.monotonic()
    assert not hub.reachable("http://127.0.0.1:9/", seconds=1.0)
    assert time.monotonic() - start < 2


def test_timm_states_its_preprocessing() -> None:
    network = load_network("timm:resnet18", NetworkOptions(weights="random"))
    assert network.preprocess.size == (224, 224)
    assert network.preprocess.resize == 235  # floor(224 / 0.95)
    assert network.preprocess.interpolation == "bicubic"
    assert network.preprocess.mean == (0.485, 0.456, 0.406)
    assert network.weights_name == "random"
    assert network.build(0).get_submodule("fc").out_features == 1000


def test_torchvision_states_its_preprocessing_and_classes_without_a_download(tmp_path: Path) -> None:
    network = load_network("torchvision:mobilenet_v3_small", NetworkOptions(weights="random"))
    assert network.preprocess.size == (224, 224)
    assert network.preprocess.resize == 256
    assert network.preprocess.interpolation == "bilinear"
    assert network.classes is None  # random weights tell no classes apart
    save_file(network.build(3).state_dict(), tmp_path / "w.safetensors")
    named = load_network("torchvision:mobilenet_v3_small", NetworkOptions(weights=str(tmp_path / "w.safetensors")))
    assert named.classes is not None
    assert named.classes[0] == "tench"


def test_arguments_that_a_library_refuses_are_named() -> None:
    with pytest.raises(ModelError, match="num_clases"):
        load_network("timm:resnet18", NetworkOptions(weights="random", model_args={"num_clases": 2}))


def test_names_of_timm_built_from_a_folder_keep_its_classes_and_weights(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng():
        model = timm.create_model("test_resnet", num_classes=3).eval()
    timm.models.save_for_hf(
        model, str(tmp_path / "own"), model_config={"label_names": ["a", "b", "c"]}, safe_serialization=True
    )
    network = load_network(f"timm:{tmp_path / 'own'}")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(pretrained(network)(x), model(x))
    assert network.classes == ("a", "b", "c")
    assert network.files["config.json"] == (tmp_path / "own" / "config.json").read_bytes()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_network(f"timm:{tmp_path}")
    with pytest.raises(ModelError, match="neither a folder nor in the hub's cache"):
        load_network("timm:hf-hub:no-one/no-network")


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("test_resnet", {"in_chans": 1}, 64),
        ("test_resnet", {"in_chans": 4, "num_classes": 5}, 64),
        ("test_vit", {"in_chans": 2}, 32),
        ("test_efficientnet", {}, 64),
    ],
)
def test_timm_weights_are_adapted_to_channels_and_size_as_timm_does(
    name: str, arguments: dict[str, Any], size: int, tmp_path: Path
) -> None:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(1)
        file = str(tmp_path / "w.safetensors")
        save_file(timm.create_model(name).state_dict(), file)
        sized: dict[str, Any] = {"img_size": size} if name == "test_vit" else {}
        theirs: Any = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"file": file}, **arguments, **sized
        )
    options = NetworkOptions(weights=file, model_args=arguments, size=size)
    network = load_network(f"timm:{name}", options)
    ours: Any = pretrained(network)
    channels = arguments.get("in_chans", 3)
    assert (network.preprocess.channels, network.preprocess.size) == (channels, (size, size))
    assert network.preprocess.mean == pytest.approx((sum(theirs.pretrained_cfg["mean"]) / 3,) * channels, abs=0.05)
    assert network.load_report is not None
    assert network.load_report.head_differs == ("num_classes" in arguments)
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = (m.eval().forward_head(m.forward_features(x), pre_logits=True) for m in (ours, theirs))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("spec", "arguments", "words"),
    [
        ("timm:resnet18", {"pretrained": True}, "--weights says that"),
        ("timm:resnet18", {"checkpoint_path": "x.pth"}, "--weights FILE says that"),
        ("timm:resnet18", {"features_only": True}, "its own head"),
        ("timm:resnet18", {"num_classes": 0}, "without a head"),
        ("timm:test_vit", {"img_size": 64, "patch_size": 48}, "can't read images|can't be built"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "--weights says that"),
        ("torchvision:fasterrcnn_resnet50_fpn", {}, "finds objects"),
        ("torchvision:quantized_resnet18", {}, "computes in whole numbers"),
    ],
)
def test_what_would_download_or_has_no_head_is_refused(spec: str, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_network(spec, NetworkOptions(weights="random", model_args=arguments, size=64))


def test_a_vision_transformer_of_torchvision_takes_weights_of_another_size(tmp_path: Path) -> None:
    from torchvision.models import vision_transformer as v

    made = v.VisionTransformer(32, 16, 2, 2, 24, 48)
    state = v.interpolate_embeddings(48, 16, made.state_dict())
    from frostline.models.sources.torchvision_source import _fitted

    found = _fitted(lambda _seed: v.VisionTransformer(48, 16, 2, 2, 24, 48), made.state_dict())
    assert found is not None
    assert torch.equal(found["encoder.pos_embedding"], state["encoder.pos_embedding"])
    assert found["encoder.pos_embedding"].shape == (1, 10, 24)


def test_a_size_that_the_network_cannot_read_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="can't read images of 33 x 33 pixels") as caught:
        load_network("timm:test_vit", NetworkOptions(weights="random", size=33))
    assert "--size" in caught.value.hint


def test_scripted_compiled_and_pickled_networks_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE + "\n\ndef scripted():\n    return torch.jit.load('s.pt')\n")
    with pytest.warns(FutureWarning):
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))).save(tmp_path / "s.pt")
    text = (tmp_path / "code.py").read_text().replace("'s.pt'", repr(str(tmp_path / "s.pt")))
    (tmp_path / "code.py").write_text(f"import warnings\nwarnings.simplefilter('ignore')\n{text}")
    assert "scripted or traced network" in refused(tmp_path / "code.py", "scripted").message
    assert "holds a scripted network" in refused(tmp_path / "code.py", weights=str(tmp_path / "s.pt")).message
    with pytest.raises(ModelError, match="file of stored objects"):
        load_network(f"torch:{tmp_path / 's.pt'}")


def test_auxiliary_heads_are_left_out_and_inputs_scaled_as_with_torchvisions_weights(tmp_path: Path) -> None:
    from torchvision import models

    with torch.random.fork_rng():
        theirs = models.googlenet(weights=None, init_weights=False, aux_logits=True, transform_input=True).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    network = load_network("torchvision:googlenet", NetworkOptions(weights=str(tmp_path / "w.safetensors"), size=64))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(pretrained(network)(x), theirs(x))
        assert pretrained(network).train()(x).shape == (2, 1000)
