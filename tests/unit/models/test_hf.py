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
from safetensors.torch import load_file, save_file

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
from frostline.models.sources.hf_plan import Reversed

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


@pytest.mark.parametrize("content", ["null", "[]", "[" * 50_000, '{"auto_map": [1]}', '{"auto_map": "own.py"}'])
def test_a_configuration_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError):
        load_network(f"hf:{tmp_path}")


def test_a_tokenizer_whose_length_is_no_number_is_refused(copy: Path) -> None:
    record = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**record, "model_max_length": [8]}))
    with pytest.raises(ModelError):
        load_network(f"hf:{copy}")


def test_a_configuration_that_asks_for_far_more_than_the_files_hold_is_refused(copy: Path) -> None:
    record = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**record, "hidden_size": 4096, "num_hidden_layers": 300}))
    with pytest.raises(ModelError, match=r"describes a network of [\d,]+ values, but its files of weights hold"):
        load_network(f"hf:{copy}")


def test_damaged_and_incomplete_weights_are_refused(copy: Path) -> None:
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


def stored(tensors: dict[str, torch.Tensor], file: Path) -> str:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, file)
    return str(file)


@pytest.mark.parametrize("kind", ["images", "bgr", "texts", "encoder"])
def test_a_file_of_the_architecture_loads_as_the_folder_does(tmp_path: Path, kind: str) -> None:
    if kind == "images":
        folder = write_image_network(tmp_path / "n")
    elif kind == "bgr":
        crop = {"size": {"shortest_edge": 36}, "crop_size": CROP}
        folder = write_image_network(tmp_path / "n", "MobileViTImageProcessor", **crop)
    else:
        folder = write_text_network(tmp_path / "n", labels=("a", "b") if kind == "texts" else ())
    spec = f"hf:{folder}"
    wanted = pretrained(load_network(spec)).state_dict()
    tensors = load_file(folder / "model.safetensors")
    files = (
        str(folder / "model.safetensors"),
        stored({f"model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "wrapped.safetensors"),
        stored(dict(wanted), tmp_path / "own.safetensors"),
    )
    for file in files:
        network = load_network(spec, options(weights=file))
        found = pretrained(network).state_dict()
        body = [name for name in wanted if kind != "encoder" or not name.startswith("head.")]
        assert all(torch.equal(found[name], wanted[name]) for name in body), file
    shorter = {name: tensor for name, tensor in tensors.items() if ".1." not in name}
    longer = tensors | {name.replace(".1.", ".2."): tensor for name, tensor in tensors.items()}
    for case, words in ((shorter, "lacking"), (longer, "unexpected")):
        with pytest.raises(ModelError, match=f"another architecture: .*{words}"):
            load_network(spec, options(weights=stored(case, tmp_path / "other.safetensors")))


def test_layers_for_another_task_are_left_out_and_said(encoder: Path, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(encoder)
    transformers.BertForPreTraining(config).save_pretrained(tmp_path / "pretraining")
    file = str(tmp_path / "pretraining" / "model.safetensors")
    for folder in (encoder, write_text_network(tmp_path / "n", labels=("a", "b"))):
        network = load_network(f"hf:{folder}", options(weights=file))
        assert network.load_report is not None
        assert network.load_report.head_differs
        assert "layers of another task, cls.predictions.bias" in network.notes[0]


def test_layers_that_the_configuration_does_not_know_are_refused(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    longer = tensors | {name.replace(".1.", ".2."): tensor for name, tensor in tensors.items() if ".1." in name}
    save_file({n: t.clone() for n, t in longer.items()}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers that its config.json doesn't know, such as encoder\.layer\.2"):
        load_network(f"hf:{copy}")
    assert load_network(f"hf:{copy}", options(model_args={"num_hidden_layers": 1})).weights is not None


def test_without_a_processor_the_options_say_how_images_are_prepared(tmp_path: Path) -> None:
    folder = write_image_network(tmp_path / "n")
    (folder / "preprocessor_config.json").unlink()
    network = load_network(f"hf:{folder}", options(size=32, mean=(0.5,), std=(0.25,)))
    assert network.preprocess == Preprocess.default(32, (0.5,), (0.25,), 3)
    assert network.classes == ("cat", "dog")
    for given, missing in (({}, "--size N, --mean M and --std S"), ({"mean": (0.5,)}, "--size N and --std S")):
        with pytest.raises(ModelError, match="holds no preprocessor_config") as caught:
            load_network(f"hf:{folder}", options(**given))
        assert caught.value.hint.startswith(f"Give {missing}, or put")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def test_network_lies_where_modules_json_says(encoder: Path, copy: Path) -> None:
    wanted = pretrained(load_network(f"hf:{encoder}")).state_dict()
    (copy / "0_Transformer").mkdir()
    for file in [f for f in copy.iterdir() if f.is_file() and f.name != "modules.json"]:
        file.rename(copy / "0_Transformer" / file.name)
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "config.json").write_text(json.dumps({"__version__": "2.0.0"}))  # as the first versions wrote it
    model = pretrained(load_network(f"hf:{copy}"))
    assert isinstance(model, TextEncoder)
    assert (model.pooling, model.normalise) == ("mean", True)
    found = model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items() if not name.startswith("head."))
    (copy / "0_Transformer" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"lies in 0_Transformer, which holds no config\.json"):
        load_network(f"hf:{copy}")
    modules[0]["path"] = "../elsewhere"
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="leads out of it"):
        load_network(f"hf:{copy}")
    (copy / "modules.json").write_text("{}")
    with pytest.raises(ModelError, match="isn't a list of modules"):
        load_network(f"hf:{copy}")


def test_networks_below_a_folder_are_named_the_last_one_to_be_given(encoder: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-500", "checkpoint-1000"):
        shutil.copytree(encoder, tmp_path / name)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelError, match="checkpoint-500 and checkpoint-1000 below it are") as caught:
        load_network(f"hf:{tmp_path}")
    assert caught.value.hint == f"Give one of them: --model hf:{tmp_path / 'checkpoint-1000'}."
    (tmp_path / "hub" / "snapshots").mkdir(parents=True)
    (tmp_path / "checkpoint-500").rename(tmp_path / "hub" / "snapshots" / "0a1b")
    with pytest.raises(ModelError, match="snapshots/0a1b below it is one") as caught:
        load_network(f"hf:{tmp_path / 'hub'}")
    assert caught.value.hint == f"Give it: --model hf:{tmp_path / 'hub' / 'snapshots' / '0a1b'}."


@pytest.mark.parametrize("configured", [False, True])
def test_an_adapter_alone_is_named_as_such(copy: Path, configured: bool) -> None:
    (copy / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "some/base"}))
    (copy / "model.safetensors").rename(copy / "adapter_model.safetensors")
    if not configured:
        (copy / "config.json").unlink()
    (copy / "modules.json").unlink()
    with pytest.raises(ModelError, match="holds an adapter for some/base") as caught:
        load_network(f"hf:{copy}")
    assert "merge_and_unload" in caught.value.hint
    (copy / "adapter_config.json").write_text("damaged")
    with pytest.raises(ModelError, match="holds an adapter"):
        load_network(f"hf:{copy}")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "modules.json"])
def test_pointers_of_git_lfs_in_a_folder_are_named_with_the_command(copy: Path, name: str) -> None:
    (copy / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name} is a pointer of Git LFS") as caught:
        load_network(f"hf:{copy}")
    assert "git lfs pull" in caught.value.hint


def test_pointers_that_nothing_reads_do_no_harm(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_text(POINTER)
    load_network(f"hf:{copy}")


def test_empty_weights_of_a_folder_are_named(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.safetensors is empty"):
        load_network(f"hf:{copy}")
