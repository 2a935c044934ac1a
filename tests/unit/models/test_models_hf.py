"""`hf:`: kind, pooling, contract and weights are those of the folder; what can't be read is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.base.errors import ModelError
from frostline.data.decode import read_picture
from frostline.data.preprocess import Preprocess, to_input
from frostline.data.texts import TextPreprocess
from frostline.data.views import augment_policy, make_view
from frostline.models.encoder import TextEncoder
from frostline.models.inputs import Call
from frostline.models.network import NetworkOptions, example_call, pretrained
from frostline.models.sources import load_network
from frostline.models.stages import stage_map

transformers = pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from hf_folders import POSITIONS, write_picture_network, write_text_network  # noqa: E402


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_network(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def copy(encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder, tmp_path / "copy"))


def options(**changed: Any) -> NetworkOptions:
    return NetworkOptions(**changed)


def run(network: Any, call: Call) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = call.run(network)
    return result


def test_encoder_gives_the_masked_normalised_mean_of_the_librarys_own_tokens(encoder: Path) -> None:
    network = load_network(f"hf:{encoder}")
    model = pretrained(network)
    assert isinstance(model, TextEncoder)
    call = example_call(network.preprocess)
    mask, ids = call.tensors
    theirs = transformers.BertModel.from_pretrained(encoder)
    with torch.no_grad():
        tokens = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = model.features(ids, mask)
    rows = [tokens[i, : int(mask[i].sum())].mean(0) for i in range(len(ids))]
    wanted = torch.stack([row / row.norm() for row in rows]) * 4  # the square root of their width
    assert torch.allclose(ours, wanted, atol=1e-6)


@pytest.mark.parametrize(("pooling", "reads"), [("cls_token", 0), ("lasttoken", -1)])
def test_pooling_of_one_token_reads_that_token(tmp_path: Path, pooling: str, reads: int) -> None:
    folder = write_text_network(tmp_path / "n", pooling=pooling, normalise=False)
    network = load_network(f"hf:{folder}")
    model = pretrained(network)
    assert isinstance(model, TextEncoder)
    mask, ids = example_call(network.preprocess).tensors
    with torch.no_grad():
        tokens = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        found = model.features(ids, mask)
    for i in range(len(ids)):
        place = 0 if reads == 0 else int(mask[i].sum()) - 1
        assert torch.equal(found[i], tokens[i, place])


def test_every_block_can_be_cut_and_the_embeddings_too(encoder: Path) -> None:
    network = load_network(f"hf:{encoder}")
    mapped = stage_map(pretrained(network), call=example_call(network.preprocess), verify="all")
    assert [s.cuttable for s in mapped.stages] == [True] * 3
    assert mapped.stages[0].name == "encoder.embeddings"
    inner, last = mapped.cuts[1], mapped.cuts[2]
    assert inner is not None
    assert last is not None
    assert (inner.pooling, inner.mask) == ("mean", 0)
    assert last.shape[1:] == (16,)  # after the network's own pooling


def test_encoder_says_why_it_has_no_classes(encoder: Path) -> None:
    network = load_network(f"hf:{encoder}")
    assert network.classes is None
    assert "without classes" in str(network.headless)


def test_classifier_brings_its_classes_and_its_head(tmp_path: Path) -> None:
    folder = write_text_network(tmp_path / "n", labels=("no", "yes"))
    network = load_network(f"hf:{folder}")
    assert (network.classes, network.headless) == (("no", "yes"), None)
    call = example_call(network.preprocess)
    theirs = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    assert torch.equal(run(pretrained(network), call)["logits"], run(theirs, call)["logits"])


def test_contract_of_texts_is_read_from_the_folder(encoder: Path) -> None:
    contract = load_network(f"hf:{encoder}", options(size=16)).preprocess
    assert isinstance(contract, TextPreprocess)
    assert (contract.length, contract.limit, contract.pad, contract.cut) == (16, POSITIONS, 0, "right")


def test_pooling_can_be_chosen(encoder: Path) -> None:
    network = load_network(f"hf:{encoder}", options(model_args={"pooling": "max", "normalise": False}))
    model = pretrained(network)
    assert isinstance(model, TextEncoder)
    assert (model.pooling, model.normalise) == ("max", False)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"size": 25}, "reads at most 24 tokens"),
        ({"mean": (0.5,)}, "--mean doesn't apply"),
        ({"model_args": {"hiden_size": 3}}, "no argument 'hiden_size'"),
        ({"model_args": {"pooling": "middle"}}, "can't be used"),
    ],
)
def test_options_that_do_not_fit_are_refused(encoder: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load_network(f"hf:{encoder}", options(**changed))


def test_a_name_is_never_downloaded() -> None:
    with pytest.raises(ModelError, match="is no folder") as found:
        load_network("hf:somebody/some-network")
    assert "Nothing is downloaded" in str(found.value.hint)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin, which is pickled"):
        load_network(f"hf:{copy}")


def test_code_in_the_folder_is_never_run(copy: Path) -> None:
    record = json.loads((copy / "config.json").read_text())
    record |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Net"}}
    (copy / "config.json").write_text(json.dumps(record))
    (copy / "own.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(ModelError, match="can't be used"):
        load_network(f"hf:{copy}")


def test_damaged_and_incomplete_weights_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    kept = {k: v for k, v in state.items() if "layer.1.output.dense" not in k}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack encoder\.layer\.1\.output\.dense"):
        load_network(f"hf:{copy}")
    (copy / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="can't be read"):
        load_network(f"hf:{copy}")


def test_modules_that_cannot_be_expressed_are_refused(copy: Path) -> None:
    modules = json.loads((copy / "modules.json").read_text())
    (copy / "modules.json").write_text(json.dumps([*modules, {"path": "3_Odd", "type": "x.Odd"}]))
    with pytest.raises(ModelError, match="a module Odd"):
        load_network(f"hf:{copy}")
    modules[1]["path"] = "../../elsewhere"
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="leads out of it"):
        load_network(f"hf:{copy}")


def ours(file: Path, contract: Preprocess) -> np.ndarray:
    picture = read_picture(file, contract)
    view = make_view(picture, contract, augment_policy("none", contract), seed=0, sample="", view=0)
    views = torch.from_numpy(view.transpose(2, 0, 1)[None].copy())
    return to_input(views, contract, device="cpu", channels_last=False)[0].numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": {"height": 40, "width": 40}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]},
        {"do_normalize": False},
        {"resample": 3},
    ],
)
def test_pictures_are_prepared_as_the_image_processor_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = write_picture_network(tmp_path / "n", **settings)
    side = settings.get("size", {"height": 32})["height"]
    contract = load_network(f"hf:{folder}", options(weights="random", model_args={"image_size": side})).preprocess
    assert isinstance(contract, Preprocess)
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    file = tmp_path / "p.png"
    coarse.resize((90, 60), Image.Resampling.BICUBIC).save(file)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    theirs = np.asarray(processor(Image.open(file), return_tensors="np")["pixel_values"])[0]
    grey_levels = np.abs(ours(file, contract) - theirs) * np.array(contract.std)[:, None, None] * 255
    assert grey_levels.max() <= 2.001  # two kinds of rounding in the resizing


def test_picture_classifier_equals_the_librarys_own(tmp_path: Path) -> None:
    folder = write_picture_network(tmp_path / "n")
    network = load_network(f"hf:{folder}")
    assert network.classes == ("cat", "dog")
    theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    call = example_call(network.preprocess)
    assert torch.equal(run(pretrained(network), call)["logits"], run(theirs, call)["logits"])
    mapped = stage_map(pretrained(network), call=call, verify="all")
    assert sum(s.cuttable for s in mapped.stages) >= 3


def test_steps_of_an_image_processor_that_cannot_be_expressed_are_refused(tmp_path: Path) -> None:
    folder = write_picture_network(tmp_path / "n")
    file = folder / "preprocessor_config.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "do_flip_channel_order": True}))
    with pytest.raises(ModelError, match="do_flip_channel_order"):
        load_network(f"hf:{folder}")
    file.write_text(json.dumps({**record, "size": {"height": 32, "width": 48}}))
    with pytest.raises(ModelError, match="can't express"):
        load_network(f"hf:{folder}")
