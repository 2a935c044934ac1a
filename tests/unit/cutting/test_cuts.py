"""Cuts of awkward and of usual networks: the two parts are the whole, bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cases.awkward import (
    Biased,
    Dropping,
    EncoderDecoder,
    Gated,
    InPlace,
    Keyworded,
    Masked,
    Mixed,
    Noting,
    Plain,
    RandomRoot,
    Recurrent,
    Remembering,
    Residual,
    Shared,
    Tied,
    UNet,
)
from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut, find_cuts, read_features
from frostline.cutting.guard import exact, forked_seed, untouched
from frostline.cutting.named import read_named
from frostline.cutting.outputs import logits
from frostline.cutting.recorder import record
from frostline.cutting.skeleton import SkeletonStore
from frostline.cutting.split import Split, taps
from frostline.cutting.stages import StageMap, split, stage_map, stages
from frostline.cutting.verify import verify_cuts
from frostline.models.sources.torch_file import run_file
from frostline.models.trainable import set_training
from frostline.recipe.recipe import Part

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = Path(__file__).parents[3] / "../shared/data"


def network(kind: type[nn.Module]) -> Any:
    with forked_seed(3):
        return kind()


def why_not_exact(model: nn.Module, cut: Cut) -> str | None:
    return verify_cuts(model, {1: cut}, [IMAGES]).failed.get(1)


def usual(name: str) -> tuple[nn.Module, Tensor]:
    timm = pytest.importorskip("timm")
    arguments: dict[str, dict[str, Any]] = {
        "vit_tiny_patch16_224": {"img_size": 32, "depth": 4},
        "swin_tiny_patch4_window7_224": {"img_size": 32, "window_size": 4, "depths": (1, 1, 1, 1), "embed_dim": 24},
    }
    size = 32
    with forked_seed(4):
        if name.startswith("torchvision:"):
            from torchvision import models

            model: nn.Module = models.get_model(name.partition(":")[2], weights=None, num_classes=7)
        elif name.startswith("shared:"):
            folder = DATA / name.partition(":")[2]
            if not folder.is_dir():
                pytest.skip(f"{folder} isn't there")
            _, module = run_file(folder / "model.py")
            factory = next(v for k, v in vars(module).items() if k in ("mobilenetv1_075", "cifar10_resnet20"))
            model = factory(num_classes=7)
        else:
            model = timm.create_model(name, num_classes=7, **arguments.get(name, {}))
    return model.eval(), torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


STAGES = {
    "resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "mobilenetv3_small_050": ["conv_stem", *(f"blocks.{i}" for i in range(6)), "conv_head"],
    "vit_tiny_patch16_224": ["patch_embed", *(f"blocks.{i}" for i in range(4))],
    "convnext_atto": ["stem", *(f"stages.{i}" for i in range(4))],
    "swin_tiny_patch4_window7_224": ["patch_embed", *(f"layers.{i}" for i in range(4))],
    "torchvision:resnet18": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "shared:mobilenetv1_075_imagenet": ["conv_stem", *(f"blocks.{i}" for i in range(5))],
    "shared:cifar10_resnet20": ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2))],
}


@pytest.mark.parametrize("name", STAGES)
def test_usual_networks_have_the_expected_stages_and_every_cut_is_exact(name: str) -> None:
    model, x = usual(name)
    mapped = stage_map(model, x, verify="all")
    assert [s.name for s in mapped.stages] == STAGES[name]
    assert [s.why_not for s in mapped.stages] == [None] * len(STAGES[name])
    inside = sum(p.numel() for n, p in model.named_parameters() if not mapped.head.owns(n))
    assert sum(s.parameters for s in mapped.stages) == inside
    y = torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        whole = model(y)
        several = taps(model, [mapped.cut_after(s.index) for s in mapped.stages], y)
        for stage, tapped in zip(mapped.stages, several, strict=True):
            parts = mapped.split(model, stage.index)
            activation = parts.prefix(y)
            assert torch.equal(activation, tapped)
            assert activation.stride() == tapped.stride()
            assert tuple(activation.shape[1:]) == stage.output_shape
            assert torch.equal(parts.suffix(activation, y), whole)
            assert torch.equal(parts.suffix(activation), whole)
            assert torch.isnan(parts.suffix(activation * float("nan"), y)).all()


AWKWARD = [Residual, UNet, Shared, Mixed, InPlace, Plain, Recurrent]


@pytest.mark.parametrize("kind", AWKWARD)
def test_every_clean_boundary_of_an_awkward_network_is_exact(kind: type[nn.Module]) -> None:
    model = network(kind)
    cuts = [c for c in find_cuts(record(model, [IMAGES])).values() if isinstance(c, Cut)]
    assert cuts
    assert {c.name: why_not_exact(model, c) for c in cuts} == {c.name: None for c in cuts}


def test_identity_that_passes_on_a_held_tensor_is_no_cut() -> None:
    model = network(Residual)
    places = find_cuts(record(model, [IMAGES]))
    assert "passes on its own input" in str(places["out", "hold"])
    assert "read again later" in str(places["in", "one"])
    assert isinstance(places["out", "stem"], Cut)


def test_skip_connection_makes_the_middle_uncuttable_and_says_why() -> None:
    mapped = stage_map(network(UNet), IMAGES, verify="all")
    assert [s.cuttable for s in mapped.stages] == [True, False, True, True]
    assert mapped.stages[2].cut == "before dec"  # the concatenation is one tensor again
    assert "2 tensors are needed after it (" in str(mapped.stages[1].why_not)
    with pytest.raises(ModelError, match="can't be cut after stage 2"):
        mapped.cut_after(2)


def test_shared_block_straddles_the_cuts_between_its_calls() -> None:
    mapped = stage_map(network(Shared), IMAGES, verify="all")
    names = [s.name for s in mapped.stages]
    assert names == ["stem", "block", "between", "later"]
    assert all(s.cuttable for s in mapped.stages)
    assert set(mapped.straddling) == {2, 3}
    assert set(mapped.straddling[2]) == {"block.0.weight", "block.1.weight", "block.1.bias"}
    assert mapped.module_stages["block.0"] == (2, 3, 4)


def test_tied_weights_are_reported_as_straddling() -> None:
    mapped = stage_map(network(Tied), torch.randn(2, 6), verify="all")
    assert mapped.straddling == {1: ("one.weight",), 2: ("one.weight",)}
    assert mapped.parameter_stages["one.weight"] == (1, 3)


def test_mask_from_the_raw_inputs_is_made_again_by_the_suffix() -> None:
    model = network(Masked)
    ids = torch.tensor([[3, 4, 0, 0], [5, 0, 7, 1]])
    mapped = stage_map(model, ids, verify="all")
    assert [s.name for s in mapped.stages] == ["embed", "layers.0", "layers.1", "layers.2"]
    cut = mapped.cut_after(2)
    assert cut.needs == (0,)
    assert cut.real == ("mask",)
    with pytest.raises(ModelError, match="reads raw input 1 as well"):
        mapped.split(model, 2).suffix(mapped.split(model, 2).prefix(ids))
    assert mapped.cut_after(4).needs == ()


def test_a_root_that_draws_at_random_before_the_cut_stays_in_inference_while_the_prefix_is_frozen() -> None:
    model = network(RandomRoot)
    proven = stage_map(model, IMAGES, verify="all")
    assert [s.cuttable for s in proven.stages] == [True, True]
    assert proven.stays_in_inference == {1, 2}
    frozen, trained = Part(trained=False), Part(trained=True, batchnorm="all")
    set_training(model, proven, [frozen, trained], trained)
    assert (model.training, model.stem.training, model.body.training) == (False, False, True)
    set_training(model, proven, [trained, trained], trained)
    assert model.training


def test_randomness_that_no_flag_controls_withdraws_the_cut() -> None:
    class Reckless(RandomRoot):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(functional.dropout(x, 0.5, self.body.training))

    proven = stage_map(network(Reckless), IMAGES, verify="all")
    assert not proven.stages[0].cuttable
    assert "in training mode" in str(proven.stages[0].why_not)


def test_stages_of_nn_sequential_are_not_called_by_numbers_that_mean_other_stages() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)), nn.Linear(6, 5))
    mapped = stage_map(model, torch.randn(2, 6))
    assert [s.name for s in mapped.stages] == ["layer0", "layer1", "layer2"]
    x = torch.randn(3, 6)
    assert torch.equal(split(model, torch.randn(2, 6), at=2).prefix(x), model[1](model[0](x)))


def test_dropout_before_the_head_trains_with_the_head() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 5))
    mapped = stage_map(model, torch.randn(2, 6), verify="all")
    assert [(s.name, s.cut, s.why_not) for s in mapped.stages] == [("layer0", "after 1", None)]
    assert mapped.module_stages["2"] == (2,)


def test_module_called_within_another_is_no_stage_of_its_own() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)

        def forward(self, x: Tensor, helper: nn.Module) -> Tensor:
            return helper(self.linear(x))

    class Handing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outer, self.helper, self.head = Outer(), nn.Linear(6, 6), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.outer(x, self.helper))

    mapped = stage_map(Handing(), torch.randn(2, 6), verify="all")
    assert [(s.name, s.parameters, s.why_not) for s in mapped.stages] == [("outer", 84, None)]


def test_a_false_cut_is_found_out() -> None:
    model = network(Residual)
    true = find_cuts(record(model, [IMAGES]))["out", "stem"]
    assert isinstance(true, Cut)
    false = Cut(**{n: getattr(true, n) for n in Cut.__slots__} | {"where": "in", "module": "one"})
    assert why_not_exact(model, true) is None
    assert why_not_exact(model, false) == "prefix and suffix don't give the whole network's output"


def test_suffix_never_writes_into_the_stored_activation() -> None:
    model = network(InPlace).eval()
    parts = split(model, IMAGES, at="stem")
    assert parts.cut.mutated
    with torch.no_grad():
        activation = parts.prefix(IMAGES)
        before = activation.clone()
        assert torch.equal(parts.suffix(activation), model(IMAGES))
        tapped, _ = taps(model, [parts.cut, stage_map(model, IMAGES).cut_after(2)], IMAGES)
    assert torch.equal(activation, before)
    assert torch.equal(tapped, before)


def test_gradients_and_buffers_of_a_training_suffix_are_the_whole_networks() -> None:
    model = network(Plain)
    parts = split(model, IMAGES, at="s1")
    model.s1.eval().requires_grad_(False)
    with torch.no_grad():
        activation = parts.prefix(IMAGES)
    twin = copy.deepcopy(model)
    twin(IMAGES).square().sum().backward()
    parts.suffix(activation).square().sum().backward()
    for (name, a), (_, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or (b.grad is not None and torch.equal(a.grad, b.grad)), name
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))
    assert int(model.s2[1].num_batches_tracked) == 1
    assert int(model.s1[1].num_batches_tracked) == 0


def test_suffix_under_autocast_is_the_autocast_whole() -> None:
    model = network(Plain).eval()
    parts = split(model, IMAGES, at=2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        activation = parts.prefix(IMAGES)
        assert activation.dtype == torch.bfloat16
        assert torch.equal(parts.suffix(activation), model(IMAGES))


def test_copies_of_one_architecture_share_what_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(Plain).eval()
    mapped = stage_map(model, IMAGES)
    first = mapped.split(model, 2)
    first.suffix(first.prefix(IMAGES), IMAGES)
    monkeypatch.setattr("frostline.cutting.skeleton.learn", lambda *_: pytest.fail("learnt again"))
    with forked_seed(9):
        other = Plain().eval()
    second = mapped.split(other, 2)
    assert torch.equal(second.suffix(second.prefix(IMAGES), IMAGES), other(IMAGES))


def test_modules_left_out_do_no_work() -> None:
    model = network(Plain).eval()
    parts = split(model, IMAGES, at="s2")
    activation = parts.prefix(IMAGES)
    calls: list[str] = []
    for name in ("s1.0", "s2.0", "s3.0"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    parts.suffix(activation)
    assert calls == ["s3.0"]


def state_of(model: nn.Module) -> list[object]:
    return [
        [(n, m.training, sorted(m.__dict__)) for n, m in model.named_modules()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        [(n, p.requires_grad, p.grad is None) for n, p in model.named_parameters()],
    ]


def test_mapping_leaves_the_users_module_as_it_was() -> None:
    model = network(Plain)
    model.s1.eval()
    model.s2[0].weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before, values = state_of(model), copy.deepcopy(model.state_dict())
    generator = torch.get_rng_state()
    stage_map(model, IMAGES, verify="all")
    assert state_of(model) == before
    assert all(torch.equal(v, values[n]) for n, v in model.state_dict().items())
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_failing_run_leaves_no_hook_and_no_patch_behind() -> None:
    model = network(Plain).eval()
    parts = split(model, IMAGES, at="s2")
    activation = parts.prefix(IMAGES)
    before = state_of(model)
    for broken in (lambda: parts.suffix(activation[:, :1]), lambda: parts.prefix(IMAGES[:, :1])):
        with pytest.raises(RuntimeError):
            broken()
        assert state_of(model) == before


def test_instances_own_forward_comes_back() -> None:
    model = network(Plain).eval()
    parts = split(model, IMAGES, at="s2")
    own = model.s1.forward
    model.s1.forward = own
    parts.suffix(parts.prefix(IMAGES))
    assert model.s1.__dict__["forward"] is own


def test_operations_are_those_of_torchs_own_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, x = usual("vit_tiny_patch16_224")
    mapped = stage_map(model, x)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    head = 2 * mapped.head.in_features * mapped.head.out_features
    assert mapped.operations + head == counter.get_total_flops() / 2


def test_unknown_stage_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="no stage 's22'") as caught:
        split(network(Plain), IMAGES, at="s22")
    assert "'s2'" in caught.value.hint
    with pytest.raises(ModelError, match="only 1 to 3"):
        split(network(Plain), IMAGES, at=4)


def test_deep_networks_are_merged_to_sixteen_stages() -> None:
    deep = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(20)), nn.Linear(6, 5))
    mapped: StageMap = stage_map(deep, torch.randn(2, 6))
    assert len(mapped.stages) == 16
    assert mapped.stages[-1].name == "layer19"
    assert sum(s.parameters for s in mapped.stages) == 20 * 42


def test_a_copied_stage_map_serves_as_well() -> None:
    model = network(Plain).eval()
    mapped = copy.deepcopy(stage_map(model, IMAGES, verify="all"))
    parts = mapped.split(model, 1)
    assert torch.equal(parts.suffix(parts.prefix(IMAGES)), model(IMAGES))


def test_stale_cut_is_refused() -> None:
    model = network(Plain).eval()
    mapped = stage_map(model, IMAGES)
    parts = Split(model, mapped.cut_after(1), form=mapped.form, skeletons=SkeletonStore())
    model.forward = lambda x: x
    with pytest.raises(ModelError, match="didn't reach the cut after s1"):
        parts.prefix(IMAGES)


def test_untouched_undoes_what_batch_norm_writes() -> None:
    model = network(Plain)
    with untouched(model):
        model.train()(IMAGES)
        assert int(model.s1[1].num_batches_tracked) == 1
    assert int(model.s1[1].num_batches_tracked) == 0
    assert torch.equal(model.s1[1].running_mean, torch.zeros(4))


@pytest.mark.parametrize("kind", [Keyworded, Dropping, EncoderDecoder, Biased])
def test_networks_called_by_keyword_are_cut_exactly_on_other_sentences(kind: type[Keyworded]) -> None:
    model = network(kind).eval()
    _, keywords, other = kind.example()
    cuttable = [s for s in stages(model, **keywords) if s.cuttable]
    assert len(cuttable) >= 4
    with torch.no_grad(), exact():
        whole = logits(other.run(model))
        for stage in cuttable:
            parts = split(model, at=stage.index, **keywords)
            arguments = dict(zip(parts.form.names, other.tensors, strict=True))
            activation = parts.prefix(**arguments)
            assert torch.equal(logits(parts.suffix(activation, **arguments)), whole), stage.name
            with pytest.raises(ModelError, match="was mapped with attention_mask, input_ids"):
                parts.suffix(activation, arguments["input_ids"], arguments["attention_mask"])


def test_an_input_that_python_code_looks_at_is_needed_by_every_cut() -> None:
    model = network(Dropping)
    _, padded, _ = Dropping.example()
    whole = {name: torch.ones_like(x) for name, x in padded.items()}  # no padding: the mask is dropped
    for keywords in (padded, whole):
        mapped = stage_map(model, keywords=keywords, verify="all")
        assert [mapped.form.names[i] for i in mapped.cut_after(2).needs] == ["attention_mask"]


def test_what_a_module_remembers_of_the_same_samples_proves_nothing() -> None:
    _, keywords, _ = Remembering.example()
    mapped = stage_map(network(Remembering), keywords=keywords, verify="all")
    assert mapped.stages[0].why_not == "prefix and suffix don't give the whole network's output"
    assert [s.cuttable for s in mapped.stages[1:]] == [True, True]


def test_a_buffer_that_the_run_writes_is_live() -> None:
    mapped = stage_map(network(Noting), IMAGES, verify="all")
    assert "2 tensors are needed after it" in str(mapped.stages[1].why_not)


def test_values_that_python_code_read_before_the_cut_are_not_guessed_after_it() -> None:
    mapped = stage_map(network(Gated), IMAGES, verify="all")
    assert [s.cuttable for s in mapped.stages] == [False, False, True]
    wrong = "prefix and suffix don't give the whole network's output"
    assert mapped.stages[0].why_not == f"{wrong}, because Python code before the cut looks at values"


def test_a_module_that_returns_tensors_in_an_object_of_its_own_runs_for_real() -> None:
    class Held:
        def __init__(self, mask: Tensor) -> None:
            self.mask = mask

    class Holder(nn.Module):
        def forward(self, ids: Tensor) -> Held:
            return Held((ids != 0).float()[..., None])

    class Holding(Masked):
        def __init__(self) -> None:
            super().__init__()
            self.mask = Holder()  # type: ignore[assignment]

        def forward(self, ids: Tensor) -> Tensor:
            held, x = self.mask(ids), self.embed(ids)
            for layer in self.layers:
                x = layer(x, weight=held.mask)
            return self.head(x.mean(1))

    model, ids = network(Holding).eval(), torch.tensor([[3, 4, 0, 0], [5, 0, 7, 1]])
    mapped = stage_map(model, ids, verify="all")
    assert all(s.cuttable for s in mapped.stages)
    parts, other = mapped.split(model, 2), torch.tensor([[1, 0, 0, 0], [2, 3, 4, 5]])
    parts.suffix(parts.prefix(ids), ids)
    assert torch.equal(parts.suffix(parts.prefix(other), other), model(other))


def test_embeddings_that_are_added_up_are_one_stage() -> None:
    class Embeddings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.kinds = nn.Embedding(10, 8), nn.Embedding(4, 8), nn.Embedding(2, 8)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.words(ids) + self.kinds(ids % 2)
            return x + self.places(torch.arange(ids.shape[1]))

    model = nn.Sequential(Embeddings(), nn.Linear(8, 8), nn.Flatten(), nn.Linear(32, 5))
    mapped = stage_map(model, torch.tensor([[3, 4, 0, 0], [5, 0, 7, 1]]), verify="all")
    assert [s.name for s in mapped.stages] == ["layer0", "layer1"]


def test_network_without_a_replaceable_head_can_still_be_cut() -> None:
    class TwoHeads(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(4, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.s3(self.s2(self.s1(x))))
            return (self.head(x) + self.other(x)).flatten(1) / 2

    model = network(TwoHeads).eval()
    assert sum(s.cuttable for s in stages(model, IMAGES)) >= 3
    with pytest.raises(ModelError, match="isn't the output of its last layer"):
        stage_map(model, IMAGES)


def test_last_features_are_pooled_as_the_network_pools_them() -> None:
    class LastWord(Masked):
        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x, weight=mask[..., None])
            return self.head(x)[torch.arange(len(ids)), mask.sum(1) - 1]

    model = network(LastWord).eval()
    ids = torch.tensor([[3, 4, 0, 0], [5, 2, 7, 1]])
    mask = (ids != 0).long()
    mapped = stage_map(model, ids, mask, verify="all")
    assert [(c.pooling, c.mask) for c in mapped.cuts if c] == [("mean", 1)] * 3 + [("last", 1)]
    with torch.no_grad():
        features = read_features(mapped.cut_after(4), mapped.split(model, 4).prefix(ids, mask), (ids, mask))
        assert torch.equal(model.head(features), model(ids, mask))
        mean = read_features(mapped.cut_after(2), torch.ones(2, 4, 8).cumsum(1), (ids, mask))
    assert torch.equal(mean[:, 0], torch.tensor([1.5, 2.5]))


def test_a_head_on_features_that_no_pooling_gives_is_not_offered_to_a_probe() -> None:
    class Widest(Masked):
        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            for layer in self.layers:
                x = layer(x, weight=torch.ones(()))
            return self.head(x)[:, 1]

    mapped = stage_map(network(Widest), torch.tensor([[3, 4, 6, 8], [5, 2, 7, 1]]), verify="all")
    assert [s.cuttable for s in mapped.stages] == [True, True, True, False]
    assert "by a mean or by one token" in str(mapped.stages[3].why_not)


def test_stages_named_by_hand_are_those_of_the_map(tmp_path: Path) -> None:
    file = tmp_path / "stages"
    model = network(UNet)
    file.write_text('{"first": "enc1", "middle": "before mid", "last": "dec"}')
    mapped = stage_map(model, IMAGES, named=read_named(file), verify="all")
    assert [(s.name, s.cuttable) for s in mapped.stages] == [("first", True), ("middle", False), ("last", True)]
    assert "2 tensors are needed after it" in str(mapped.stages[1].why_not)
    assert mapped.parameter_stage["dec.0.weight"] == 3
    file.write_text("enc1  # the first\nlast after dec\n")
    assert [s.name for s in stage_map(model, IMAGES, named=read_named(file)).stages] == ["enc1", "last"]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("a enc22\nb dec", "'enc22', which doesn't exist", "enc2"),
        ("a mid\nb enc1", "runs before the end of the stage above it", "from the input"),
        ("a enc1\nb mid", "dec runs between it and the head", "one more stage"),
        ("a enc1\na dec", "names the stage 'a' twice", "a name of its own"),
        ('{"a": "enc1", "a": "dec"}', "names the stage 'a' twice", "a name of its own"),
        ("a enc1\nb head", "runs after the head head", "before it"),
        ("1 dec", "numbers count stages", "a word"),
        ("a after before dec", "isn't a stage", "NAME MODULE"),
        ("{", "isn't JSON", "NAME MODULE"),
        ('{"a": 3}', "isn't a JSON object of names and modules", "NAME MODULE"),
        ("# nothing", "names no stage", "NAME MODULE"),
    ],
)
def test_stages_by_hand_that_don_t_fit_are_refused(tmp_path: Path, text: str, problem: str, hint: str) -> None:
    file = tmp_path / "stages"
    file.write_text(text)
    with pytest.raises(ModelError) as caught:
        stage_map(network(UNet), IMAGES, named=read_named(file))
    assert problem in caught.value.message
    assert hint in caught.value.hint


def test_a_module_that_returns_more_than_the_activation_runs_in_the_suffix_too() -> None:
    args, keywords, _ = Biased.example()
    mapped = stages(network(Biased), *args, **keywords)
    assert [(s.name, s.cuttable) for s in mapped] == [("embed", True), *((f"layers.{i}", True) for i in range(3))]


class Threads(Plain):
    """Notes how many threads it was run with."""

    seen: ClassVar[set[int]] = set()

    def forward(self, x: Tensor) -> Any:
        self.seen.add(torch.get_num_threads())
        return super().forward(x)


def test_the_public_calls_use_one_thread_and_give_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = Threads().eval()
        images = torch.rand(2, 3, 8, 8)
        stages(model, images)
        cut = split(model, images, at=1)
        assert Threads.seen == {1}
        assert torch.get_num_threads() == 2
        assert torch.equal(cut.suffix(cut.prefix(images)), model(images))
    finally:
        torch.set_num_threads(before)
