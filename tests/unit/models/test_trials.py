"""What is tried before anything runs: values, answers that depend on the batch or on chance, outputs in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.errors import ModelError
from frostline.data.preprocess import Preprocess
from frostline.models import trials
from frostline.models.network import Network, pretrained, seeded, tried


class Base(nn.Module):
    """Features of a convolution, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.bn(self.conv(x)).square().mean((2, 3))
        return found

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.features(x))


def found_out(make: Callable[[], nn.Module], weights: dict[str, Tensor] | None = None) -> Network:
    network = Network(
        spec="torch:net.py:make",
        source="torch",
        build=seeded(make),
        weights=weights,
        weights_name="w.pth" if weights else "random",
        self_loading=False,
        preprocess=Preprocess.default(16, (0.5,), (0.5,), 3),
        classes=None,
        code=None,
    )
    return tried(network, identity={})


def refused(make: Callable[[], nn.Module], weights: dict[str, Tensor] | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        found_out(make, weights)
    return caught.value


class NoStatistics(Base):
    """Its head is zero, as some people begin: the scores show nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(8, track_running_stats=False)
        nn.init.zeros_(self.fc.weight)


class AlwaysTraining(Base):
    def features(self, x: Tensor) -> Tensor:
        self.bn.train()
        return super().features(x)


class Attending(Base):
    """Takes the batch for the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def features(self, x: Tensor) -> Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        mixed: Tensor = (tokens + self.attention(tokens, tokens, tokens)[0]).mean(1)
        return mixed


class Centred(Base):
    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        return found - found.mean(0)


class Shared(Base):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) / len(x)


class Running(Base):
    """The first sample sees itself alone, the second both."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).cumsum(0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (NoStatistics, "its BatchNorm keeps no statistics in bn"),
        (AlwaysTraining, r"bn \(BatchNorm2d\) mixes them"),
        (Attending, r"attention \(MultiheadAttention\) mixes them"),
        (Centred, "the code that runs before fc mixes them"),
        (Shared, "the code that runs before fc mixes them"),
        (Running, "the code that runs before fc mixes them"),
    ],
)
def test_answers_that_depend_on_the_batch_are_refused(kind: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=f"depends on the others in its batch: {words}"):
        found_out(kind)
    with pytest.raises(ModelError, match="depends on the others in its batch"):
        found_out(kind, {**kind().state_dict(), "fc.weight": torch.ones(7, 8), "fc.bias": torch.ones(7)})


def test_the_way_out_fits_the_layer() -> None:
    assert "track_running_stats=True" in refused(NoStatistics).hint
    assert "batch_first=True" in refused(Attending).hint
    assert "inference mode" in refused(AlwaysTraining).hint


class Dropping(Base):
    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x), 0.5)


class Noisy(Base):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + 0.1 * torch.randn(8)


@pytest.mark.parametrize("kind", [Dropping, Noisy])
def test_answers_by_chance_are_refused(kind: Callable[[], nn.Module]) -> None:
    error = refused(kind)
    assert "another answer each time" in error.message
    assert "before fc draws random numbers" in error.message
    assert "training=self.training" in error.hint


class Auxiliary(Base):
    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return (scores, scores) if self.training else scores


class Named(Base):
    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return {"logits": scores, "features": x} if self.training else {"logits": scores}


class Targets(Base):
    def forward(self, x: Tensor, target: Tensor | None = None) -> Any:
        if self.training:
            assert target is not None, "targets should not be None"
        return super().forward(x)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Auxiliary, r"returns 2 tensors \(N x 5 and N x 5\) in training, but one tensor \(N x 5\) in inference"),
        (Named, r"returns 2 tensors .* in training, but one tensor \(N x 5\) in inference"),
        (Targets, r"not in training \(AssertionError: targets should not be None\)"),
    ],
)
def test_other_outputs_in_training_are_refused(kind: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        found_out(kind)


class SoftInInference(Base):
    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return scores if self.training else scores.softmax(-1)


class Squeezed(Base):
    """Loses its first axis where it is given a batch of one, which never happens."""

    def features(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3), keepdim=True).squeeze()


class Instances(Base):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.InstanceNorm2d(8)  # type: ignore[assignment]


class Synchronised(Base):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.SyncBatchNorm(8)  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Base, SoftInInference, Squeezed, Instances, Synchronised])
def test_sound_networks_pass_and_keep_their_buffers(kind: Callable[[], nn.Module]) -> None:
    one = kind()
    network = found_out(lambda: one)
    assert network.notes == ()
    assert all(float(buffer) == 0 for name, buffer in one.named_buffers() if name.endswith("num_batches_tracked"))
    assert all(not parameter.grad for parameter in one.parameters())


def test_a_sound_network_is_run_but_twice_more(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Counting(Base):
        def forward(self, x: Tensor) -> Any:
            calls.append(len(x))
            return super().forward(x)

    found_out(Counting)
    assert calls == [2, 1, 2]  # recorded, alone, in training
    monkeypatch.setattr(trials, "_same_alone", lambda *_: False)
    calls.clear()
    found_out(Counting)
    assert calls == [2, 2, 3, 2]


def test_a_batch_of_fixed_size_is_refused() -> None:
    class Fixed(Base):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x).view(2, -1)

    assert "can't read 3 samples at once" in refused(Fixed).message


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conv.weight", float("nan"), "NaN in conv.weight (1 of 216 values)"),
        ("fc.bias", float("inf"), "infinity in fc.bias (1 of 5 values)"),
        ("bn.running_var", float("inf"), "infinity in bn.running_var (1 of 8 values)"),
        ("bn.running_mean", float("nan"), "NaN in bn.running_mean (1 of 8 values)"),
    ],
)
def test_values_that_are_no_numbers_are_named(name: str, value: float, words: str) -> None:
    state = {key: tensor.clone() for key, tensor in Base().state_dict().items()}
    state[name].view(-1)[0] = value

    def loads_itself() -> nn.Module:
        model = Base()
        model.load_state_dict(state)
        return model

    assert words in refused(Base, state).message
    assert words in refused(loads_itself).message


def test_masks_may_hold_infinities_and_large_values_are_numbers() -> None:
    class Masked(Base):
        mask: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((4, 4), float("-inf")))

    found_out(Masked)
    state = {**Base().state_dict(), "fc.bias": torch.full((5,), 3e38)}  # their sum overflows
    found_out(Base, state)
    assert "NaN in mask" in refused(Masked, {**Masked().state_dict(), "mask": torch.full((4, 4), torch.nan)}).message


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_precision_are_brought_to_fp32(kind: torch.dtype) -> None:
    def make() -> nn.Module:
        return Base().to(kind)

    for network in (found_out(make), found_out(make, dict(make().state_dict()))):
        assert {p.dtype for m in (network.build(3), pretrained(network)) for p in m.parameters()} == {torch.float32}
        assert "were brought to float32" in network.notes[0]
    assert found_out(Base, dict(make().state_dict())).notes == ()


def test_code_that_casts_by_itself_is_refused_with_the_reason() -> None:
    class Casting(Base):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.half())

    error = refused(lambda: Casting().half())
    assert "can't read images" in error.message
    assert ".half()" in error.hint


class Two(Base):
    def forward(self, x: Tensor, meta: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x) + meta


class Three(Base):
    def forward(self, x: Tensor, meta: Tensor, *, place: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x) + meta + place


class Batched(Base):
    def forward(self, batch: Any) -> Any:
        return super().forward(batch["image"])


@pytest.mark.parametrize(
    ("kind", "words", "hint"),
    [
        (Two, "needs 2 inputs, the images and meta", "forward(self, x) gives meta itself"),
        (Three, "needs 3 inputs, the images and meta and place", "gives meta and place itself"),
        (Batched, "can't read images", "one tensor (N, C, H, W)"),
    ],
)
def test_networks_that_need_more_than_images_are_refused_with_the_way_out(
    kind: Callable[[], nn.Module], words: str, hint: str
) -> None:
    error = refused(kind)
    assert words in error.message
    assert hint in error.hint
    assert "--size" not in error.hint


def test_a_further_input_with_a_default_is_no_fault() -> None:
    class Optional(Base):
        def forward(self, x: Tensor, meta: float = 1.0, **_more: Any) -> Any:
            return super().forward(x) * meta

    found_out(Optional)
