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
from frostline.cutting.heads import find_head
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.recorder import record
from frostline.cutting.stages import stage_map
from frostline.data.decode import read_image
from frostline.data.preprocess import Preprocess, to_input
from frostline.data.texts import TextPreprocess, encode, ids_and_mask, read_texts
from frostline.data.views import augment_policy, make_view
from frostline.models.network import NetworkOptions, example_call, pretrained
from frostline.models.new_heads import HeadForm, new_head
from frostline.models.sources import load_network
from frostline.models.sources.hf_encoder import TextEncoder
from frostline.models.sources.hf_source import Reversed

transformers = pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from cases.hf_folders import (  # noqa: E402
    ARCHITECTURES,
    MARKS,
    POSITIONS,
    WORDS,
    write_architecture,
    write_image_network,
    write_text_network,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_network(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def copy(encoder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder, tmp_path / "copy"))


def options(**changed: Any) -> NetworkOptions:
    return NetworkOptions(**changed)


def run(network: Any, call: Call) -> Any:
    with torch.no_grad():
        return call.run(network)


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


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_texts_get_the_scores_of_the_librarys_own_pipeline(tmp_path: Path, name: str) -> None:
    """Its tokenizer pads to the same length; every network is cut after its last stage, where a new head begins."""
    folder = write_architecture(tmp_path, name)
    network = load_network(f"hf:{folder}")
    contract = network.preprocess
    assert isinstance(contract, TextPreprocess)
    words = ["who is the dog ?", "a cat", "the red house runs in the green tree of the bird"]
    ids = torch.from_numpy(read_texts(words, contract)[0].ids)
    found = run(pretrained(network), call_of(ids_and_mask(ids, contract.pad, "cpu")))["logits"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        theirs.config.pad_token_id = tokenizer.eos_token_id
    batch = tokenizer(words, padding="max_length", max_length=contract.length, return_tensors="pt")
    with torch.no_grad():
        wanted = theirs(**batch).logits
    assert torch.equal(found, wanted)
    assert float(found.std(0).min()) > 1e-6  # or being equal would say nothing
    mapped = stage_map(pretrained(network), call=example_call(contract), verify="all")
    assert mapped.stages[-1].cuttable


def test_own_head_of_a_decoder_has_its_classes_mapped_at_every_token(tmp_path: Path) -> None:
    network = load_network(f"hf:{write_architecture(tmp_path, 'gpt2')}")
    model, call = pretrained(network), example_call(network.preprocess)
    before = run(model, call)["logits"]
    site = find_head(record(model, call))
    new_head(model, site, 2, HeadForm(kind="mapped", groups=((0, 2), (1,))))
    after = run(model, call)["logits"]
    assert torch.allclose(after, torch.stack([before[:, [0, 2]].logsumexp(1), before[:, 1]], dim=1), atol=1e-6)


def test_encoder_of_an_encoder_decoder_is_a_text_encoder(tmp_path: Path) -> None:
    folder = write_architecture(tmp_path, "t5", kind="T5EncoderModel")
    network = load_network(f"hf:{folder}")
    model, call = pretrained(network), example_call(network.preprocess)
    assert isinstance(model, TextEncoder)
    mask, ids = call.tensors
    theirs = transformers.T5EncoderModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = model.features(ids, mask)
    for i in range(len(ids)):
        assert torch.allclose(found[i], tokens[i, : int(mask[i].sum())].mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["GPT2Model", "GPT2LMHeadModel"])
def test_features_of_a_decoder_are_the_last_tokens(tmp_path: Path, kind: str) -> None:
    model = load_network(f"hf:{write_architecture(tmp_path, 'gpt2', kind=kind)}").build(0)
    assert isinstance(model, TextEncoder)
    assert model.pooling == "last"


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
    with pytest.raises(ModelError, match="brings code of its own"):
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


def test_folder_of_links_sharded_weights_and_a_vocabulary_alone_are_read(encoder: Path, tmp_path: Path) -> None:
    wanted = {name: tensor.clone() for name, tensor in pretrained(load_network(f"hf:{encoder}")).state_dict().items()}
    linked, sharded = tmp_path / "linked", tmp_path / "sharded"
    linked.mkdir()
    for file in encoder.iterdir():
        (linked / file.name).symlink_to(file)
    shutil.copytree(encoder, sharded)
    (sharded / "model.safetensors").unlink()
    transformers.AutoModel.from_pretrained(encoder).save_pretrained(sharded, max_shard_size="4KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (sharded / name).unlink()
    (sharded / "vocab.txt").write_text("\n".join([*MARKS, *WORDS]))
    for folder in (linked, sharded):
        network = load_network(f"hf:{folder}")
        found = pretrained(network).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items() if not name.startswith("head."))
        assert isinstance(network.preprocess, TextPreprocess)
        ids = encode(["the cat"], network.preprocess)[0]
        assert ids == [2, 4 + WORDS.index("the"), 4 + WORDS.index("cat"), 3]


def test_folder_without_a_tokenizer_is_refused_as_such(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
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
    picture = read_image(file, contract)
    view = make_view(picture, contract, augment_policy("none", contract), seed=0, sample="", view=0)
    views = torch.from_numpy(view.transpose(2, 0, 1)[None].copy())
    return to_input(views, contract, device="cpu", channels_last=False)[0].numpy()


CROP = {"height": 32, "width": 32}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}),
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"resample": 3}),
        ("DeiTImageProcessor", {"size": {"height": 36, "width": 36}, "crop_size": CROP}),
        ("BitImageProcessor", {"size": {"shortest_edge": 35}, "crop_size": CROP}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "crop_pct": 0.95}),
        ("PoolFormerImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": CROP}),
        ("LevitImageProcessor", {"size": {"shortest_edge": 32}, "crop_size": CROP}),
        ("EfficientNetImageProcessor", {}),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": CROP}),
    ],
)
def test_pictures_are_prepared_as_the_image_processor_does(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    folder = write_image_network(tmp_path / "n", kind, **settings)
    network = load_network(f"hf:{folder}", options(weights="random"))
    contract = network.preprocess
    assert isinstance(contract, Preprocess)
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    file = tmp_path / "p.png"
    coarse.resize((91, 60), Image.Resampling.BICUBIC).save(file)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    theirs = np.asarray(processor(Image.open(file), return_tensors="np")["pixel_values"])[0]
    if isinstance(network.build(0), Reversed):
        theirs = theirs[::-1]
    grey_levels = np.abs(ours(file, contract) - theirs) * np.array(contract.std)[:, None, None] * 255
    assert grey_levels.max() <= 2.001  # two kinds of rounding in the resizing


def test_size_that_the_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder = write_image_network(tmp_path / "n")
    with pytest.raises(ModelError, match=r"other shapes than --size .*position_embeddings"):
        load_network(f"hf:{folder}", options(size=48))
    assert load_network(f"hf:{folder}", options(size=48, weights="random")).preprocess.size == (48, 48)


def test_network_of_pictures_in_bgr_is_given_bgr(tmp_path: Path) -> None:
    crop = {"size": {"shortest_edge": 36}, "crop_size": CROP}
    folder = write_image_network(tmp_path / "n", "MobileViTImageProcessor", **crop)
    network = load_network(f"hf:{folder}")
    theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    call = example_call(network.preprocess)
    turned = call.with_tensors([call.tensors[0].flip(1)])
    assert torch.equal(run(pretrained(network), call)["logits"], run(theirs, turned)["logits"])
    assert json.loads(network.files["hf.json"])["reverse"] is True


def test_processor_that_does_not_do_what_its_settings_say_is_refused(tmp_path: Path) -> None:
    folder = write_image_network(tmp_path / "n")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_flip_channel_order": True}))  # ViT's doesn't
    with pytest.raises(ModelError, match="differently from what its settings say"):
        load_network(f"hf:{folder}")


def test_picture_classifier_equals_the_librarys_own(tmp_path: Path) -> None:
    folder = write_image_network(tmp_path / "n")
    network = load_network(f"hf:{folder}")
    assert network.classes == ("cat", "dog")
    theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    call = example_call(network.preprocess)
    assert torch.equal(run(pretrained(network), call)["logits"], run(theirs, call)["logits"])
    mapped = stage_map(pretrained(network), call=call, verify="all")
    assert sum(s.cuttable for s in mapped.stages) >= 3


def test_steps_of_an_image_processor_that_cannot_be_expressed_are_refused(tmp_path: Path) -> None:
    folder = write_image_network(tmp_path / "n")
    file = folder / "preprocessor_config.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "do_color_quantize": True}))
    with pytest.raises(ModelError, match="do_color_quantize"):
        load_network(f"hf:{folder}")
    file.write_text(json.dumps({**record, "size": {"height": 32, "width": 48}}))
    with pytest.raises(ModelError, match="can't express"):
        load_network(f"hf:{folder}")
