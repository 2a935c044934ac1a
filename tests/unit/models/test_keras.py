"""`keras:` networks, translated to torch, answer and learn as under Keras; what a file could hide is refused."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from frostline.base.errors import ModelError
from frostline.cutting.guard import forked_seed
from frostline.cutting.stages import stage_map
from frostline.data.preprocess import Preprocess, to_input
from frostline.keras_torch.layers import KerasBatchNorm, KerasNormalization
from frostline.keras_torch.translate import translate
from frostline.models.network import Network, NetworkOptions, pretrained
from frostline.models.sources import keras_source, load_network
from frostline.models.sources.keras_library import building, import_keras, reading_backwards
from frostline.models.sources.keras_preprocess import measured
from frostline.models.trainable import set_training, trained_parameters, updated_buffers
from frostline.recipe.recipe import BatchNorm, Part

keras = import_keras()
L = keras.layers


def shaken(model: Any) -> Any:
    """Weights that tell something: no BatchNorm is the identity any more."""
    generator = torch.Generator().manual_seed(0)
    for v in model.weights:
        if v.name in ("gamma", "moving_variance", "scale"):
            v.assign(torch.rand(v.shape, generator=generator) + 0.5)
        elif v.name in ("beta", "moving_mean", "bias", "offset"):
            v.assign(torch.randn(v.shape, generator=generator) * 0.3)
    return model


def residual(drop: float = 0.0, classes: int = 5) -> Any:
    """Six stages: two of them residual, one with squeeze and excitation; uneven padding in several places."""
    with building(keras):
        i = keras.Input((20, 18, 3))
        x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(i)
        x = L.BatchNormalization(momentum=0.9, name="stem_bn")(x)
        x = L.ReLU(6.0, name="stem_relu")(x)
        for k in (1, 2):
            y = L.Conv2D(8, 3, padding="same", activation="relu", name=f"block{k}_conv")(x)
            y = L.BatchNormalization(scale=False, name=f"block{k}_bn")(y)
            x = L.Add(name=f"block{k}_add")([x, y])
            x = L.Activation("swish", name=f"block{k}_out")(x)
        x = L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="dw_conv")(x)
        x = L.SeparableConv2D(12, 3, padding="valid", name="sep_conv")(L.ZeroPadding2D(((0, 1), (1, 0)))(x))
        s = L.GlobalAveragePooling2D(keepdims=True)(x)
        s = L.Conv2D(12, 1, activation="sigmoid", name="squeeze")(s)
        x = L.Multiply()([x, s])
        x = L.MaxPooling2D(2, padding="same")(x)
        x = L.Conv2D(16, 2, name="last_conv")(x)
        x = L.LayerNormalization(name="last_norm")(x)
        x = L.Dropout(drop)(L.GlobalAveragePooling2D()(x))
        o = L.Dense(classes, activation="softmax", name="predictions")(x)
        return shaken(keras.Model(i, o))


def odd() -> Any:
    """Layers that torch has no twin for (run by Keras), a nested model called with training=False, flattening."""
    with building(keras):
        a = keras.Input((12, 10, 3))
        inner = keras.Model(a, L.BatchNormalization()(L.Conv2D(4, 3)(a)), name="base")
        i = keras.Input((12, 10, 3))
        x = inner(L.Rescaling(1 / 127.5, offset=-1)(i), training=False)
        x = L.UpSampling2D(2)(L.Cropping2D(((1, 0), (2, 1)))(x)) * 0.5
        x = L.AveragePooling2D(2, strides=2, padding="same")(L.PReLU(shared_axes=(1, 2))(x))
        x = L.Concatenate()([x, L.Conv2D(2, 1, groups=2, activation="gelu")(x)])
        x = L.Dense(7, activation="tanh")(x)
        x = L.Reshape((-1, 7))(x)
        x = L.MultiHeadAttention(2, 4)(x, x)
        o = L.Dense(3)(L.Dense(6, activation="relu")(L.Flatten()(x)))
        return shaken(keras.Model(i, o))


def images(model: Any, rows: int = 4) -> torch.Tensor:
    _, height, width, channels = model.inputs[0].shape
    return torch.randn((rows, channels, height, width), generator=torch.Generator().manual_seed(3))


def by_keras(model: Any, x: torch.Tensor, *, training: bool) -> torch.Tensor:
    return model(x.permute(0, 2, 3, 1).contiguous(), training=training)


def named_like_attributes() -> Any:
    """Layers whose names a torch module, or the translated graph, uses itself."""
    with building(keras):
        i = x = keras.Input((12, 10, 3))
        for name in ("training", "calls", "source", "result", "forward"):
            x = L.Conv2D(4, 1, name=name)(x)
        return shaken(keras.Model(i, L.Dense(3)(L.GlobalAveragePooling2D()(x))))


@pytest.mark.parametrize("make", [residual, odd, named_like_attributes])
def test_the_translated_network_answers_as_keras_does(make: Any) -> None:
    model = make()
    x, blueprint = images(model), translate(model, reverse=False, renumber=True)
    with torch.no_grad():
        expected, found = by_keras(model, x, training=False), blueprint.template.eval()(x)
    found = found.softmax(-1) if blueprint.final else found
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert blueprint.final == ("softmax" if make is residual else "")


def test_a_training_step_gives_keras_gradients_and_moving_statistics() -> None:
    model = residual()
    x, blueprint = images(model), translate(model, reverse=False, renumber=True)
    network = blueprint.template.train()
    by_keras(model, x, training=True).log().square().mean().backward()
    network(x).log_softmax(-1).square().mean().backward()
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    assert len(blueprint.draws) == len(model.weights)
    for name, weight in blueprint.draws:
        theirs = weight.variable.value
        if isinstance(own[name], torch.nn.Parameter):
            torch.testing.assert_close(own[name].grad, weight.convert(theirs.grad), rtol=1e-3, atol=1e-6)
        else:
            torch.testing.assert_close(own[name], weight.convert(theirs), rtol=1e-5, atol=1e-6)


def test_moving_variance_takes_in_the_uncorrected_variance() -> None:
    layer = KerasBatchNorm(1, eps=1e-3, momentum=0.1, scale=True, center=True).train()
    x = torch.tensor([[1.0], [3.0]])  # mean 2, variance 1 over n (2 over n - 1)
    layer(x)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert float(layer.running_mean) == pytest.approx(0.1 * 2)
    assert float(layer.running_var) == pytest.approx(0.9 * 1 + 0.1 * 1)
    before = layer.running_var.clone()
    layer.eval()(x)
    assert torch.equal(layer.running_var, before)


def test_every_cut_is_exact_and_blocks_are_stages() -> None:
    mapped = stage_map(
        translate(residual(), reverse=False, renumber=True).template, torch.randn(2, 3, 20, 18), verify="all"
    )
    assert [s.name for s in mapped.stages][:3] == ["stem_conv", "block1", "block2"]
    assert [s.why_not for s in mapped.stages] == [None] * len(mapped.stages)
    assert mapped.head.path == "predictions"
    assert (mapped.head.in_features, mapped.head.out_features) == (16, 5)
    assert mapped.cuts[-1] is not None
    assert mapped.cuts[-1].shape == (2, 16)


def test_moving_statistics_are_buffers_that_follow_the_policy() -> None:
    network = translate(residual(), reverse=False, renumber=True).template
    mapped = stage_map(network, torch.randn(2, 3, 20, 18))
    count, x = len(mapped.stages), torch.randn(4, 3, 20, 18)
    policies: dict[BatchNorm, bool] = {"frozen": False, "statistics": True}
    for policy, moves in policies.items():
        parts = [Part(trained=True, batchnorm=policy)] * count
        head = Part(trained=True)
        network.train()
        set_training(network, mapped, parts, head)
        buffers = {name: b.clone() for name, b in network.named_buffers()}
        network(x)
        changed = {name for name, b in network.named_buffers() if not torch.equal(b, buffers[name])}
        assert changed == set(updated_buffers(network, mapped, parts, head))
        assert (len(changed) == 6) == moves
        affine = {n for n in trained_parameters(network, mapped, parts, head) if "_bn." in n}
        assert not affine


def test_a_seed_draws_keras_own_initialisation_and_nothing_global_moves() -> None:
    state, numbers = torch.get_rng_state(), random.getstate()
    blueprint = translate(residual(), reverse=False, renumber=True)
    first, again, other = blueprint.build(1), blueprint.build(1), blueprint.build(2)
    kernels = [dict(m.named_parameters())["stem_conv.stem_conv.weight"] for m in (first, again, other)]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])
    limit = (6 / (3 * 9 + 8 * 9)) ** 0.5  # Glorot and Bengio 2010: fans of a 3 x 3 kernel from 3 to 8 channels
    assert limit * 0.9 < float(kernels[0].detach().abs().max()) <= limit
    assert torch.equal(dict(first.named_buffers())["stem_conv.stem_bn.running_var"], torch.ones(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == numbers


def test_random_layers_that_keras_runs_repeat_under_a_seed() -> None:
    with building(keras):
        i = keras.Input((8, 8, 3))
        model = keras.Model(i, L.Dense(2)(L.Flatten()(L.GaussianNoise(1.0)(L.Conv2D(2, 3)(i)))))
    network, x = translate(model, reverse=False, renumber=True).template.train(), torch.randn(2, 3, 8, 8)
    runs = []
    for seed in (1, 1, 2):
        with forked_seed(seed), torch.no_grad():
            runs.append(network(x))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    with torch.no_grad():
        assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet", "densenet", "efficientnet"])
def test_preprocessing_is_keras_own_to_the_last_channel(name: str) -> None:
    function = getattr(keras.applications, name).preprocess_input
    scaling = measured(function)
    image = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    record = Preprocess.default((5, 4), scaling.mean, scaling.std, 3)
    ours = to_input(image, record, device="cpu", channels_last=False)
    ours = ours.flip(1) if scaling.reverse else ours
    theirs = function(image.permute(0, 2, 3, 1).numpy().astype(np.float64))
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, rtol=0, atol=2e-5 * max(1, abs(theirs).max()))
    assert scaling.reverse == (name == "resnet50")


def given(spec: str, **options: Any) -> Network:
    return load_network(spec, NetworkOptions(**options))


def refused(spec: str, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        given(spec, **options)
    return caught.value


SMALL = {"alpha": 0.25, "classes": 4}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A narrow MobileNet with its weights in a file."""
    with building(keras):
        model = shaken(keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), **SMALL))
    path = tmp_path_factory.mktemp("keras") / "w.weights.h5"
    model.save_weights(path)
    return model, path


def test_weights_of_a_file_answer_as_in_keras(small: tuple[Any, Path]) -> None:
    model, path = small
    network = given("keras:MobileNet", weights=str(path), model_args=SMALL, size=32)
    x = images(model)
    with torch.no_grad():
        found, expected = pretrained(network)(x).flatten(1).softmax(1), by_keras(model, x, training=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert network.preprocess.mean == pytest.approx((0.5,) * 3)
    assert network.preprocess.std == pytest.approx((0.5,) * 3)
    assert (network.weights_name, network.classes, network.preprocess.size) == ("w.weights.h5", None, (32, 32))
    assert network.fingerprint == given("keras:MobileNet", weights=str(path), model_args=SMALL, size=32).fingerprint


def test_weights_saved_without_the_top_leave_the_head_new(small: tuple[Any, Path], tmp_path: Path) -> None:
    with building(keras):
        bare = shaken(
            keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25, include_top=False)
        )
    bare.save_weights(tmp_path / "notop.weights.h5")
    network = given("keras:MobileNet", weights=str(tmp_path / "notop.weights.h5"), model_args=SMALL, size=32)
    assert network.load_report is not None
    assert network.load_report.missing == ("conv_preds.weight", "conv_preds.bias")
    kernel = dict(pretrained(network).named_parameters())["conv1.conv1.weight"]
    assert torch.equal(kernel, bare.get_layer("conv1").kernel.value.permute(3, 2, 0, 1))


def test_what_would_be_downloaded_or_does_not_fit_is_said_at_once(small: tuple[Any, Path]) -> None:
    assert "never downloaded" in refused("keras:ResNet50").message
    assert "--weights FILE.weights.h5" in refused("keras:ResNet50").hint
    assert refused("keras:ResNet5", weights="random").hint == "Did you mean 'ResNet50'?"
    assert "doesn't fit the network" in refused("keras:MobileNet", weights=str(small[1]), size=32).message
    assert "--weights says that" in refused("keras:MobileNet", weights="random", model_args={"weights": None}).message
    assert "can't be built" in refused("keras:MobileNet", weights="random", model_args={"alfa": 1}).message
    assert "no weights file" in refused("keras:MobileNet", weights="none.weights.h5", model_args=SMALL, size=32).message


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    error = refused("keras:MobileNet", weights="random")
    assert "runs on jax" in error.message
    assert "KERAS_BACKEND=torch" in error.hint


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    model = residual()
    model.save(tmp_path / "own.keras")
    return model, tmp_path / "own.keras"


def test_a_keras_file_brings_its_weights_and_is_asked_for_its_scaling(saved: tuple[Any, Path]) -> None:
    model, path = saved
    assert "--mean 0.5 --std 0.5" in refused(f"keras:{path}").hint
    network = given(f"keras:{path}", mean=(0.5,), std=(0.5,))
    x = images(model)
    with torch.no_grad():
        found = pretrained(network)(x).softmax(1)
        torch.testing.assert_close(found, by_keras(model, x, training=False), rtol=1e-4, atol=1e-6)
    assert network.preprocess.size == (20, 18)
    caffe = given(f"keras:{path}", model_args={"preprocess": "caffe"})
    assert caffe.preprocess.mean == pytest.approx((123.68 / 255, 116.779 / 255, 103.939 / 255))
    with torch.no_grad():
        assert torch.equal(pretrained(caffe)(x), pretrained(network)(x.flip(1)))
    assert "takes no argument 'classes'" in refused(f"keras:{path}", model_args={"classes": 3}).message


def test_channels_first_and_other_inputs_than_one_image_are_refused() -> None:
    with building(keras):
        i, j = keras.Input((3, 8, 8)), keras.Input((8,))
        first = keras.Model(i, L.Dense(2)(L.Flatten()(L.Conv2D(2, 3, data_format="channels_first")(i))))
        table = keras.Model(j, L.Dense(2)(j))
    for model, words in ((first, "channels_first"), (table, "one batch of images")):
        with pytest.raises(ModelError, match=words):
            translate(model, reverse=False, renumber=True)


def test_a_first_rescaling_says_that_pixels_are_wanted(tmp_path: Path) -> None:
    odd().save(tmp_path / "odd.keras")
    network = given(f"keras:{tmp_path / 'odd.keras'}")
    assert (network.preprocess.mean, network.preprocess.std) == ((0.0,) * 3, pytest.approx((1 / 255,) * 3))


def behind(make: Any, folder: Path) -> tuple[Any, str]:
    """A model whose images go through `make` first, in a file."""
    with building(keras):
        i = keras.Input((12, 12, 3))
        x = L.GlobalAveragePooling2D()(L.ReLU()(L.Conv2D(6, 3)(make(i))))
        model = shaken(keras.Model(i, L.Dense(4)(x)))
    model.save(folder / "behind.keras")
    return model, f"keras:{folder / 'behind.keras'}"


def augmented(x: Any) -> Any:
    return keras.Sequential([L.RandomFlip("horizontal"), L.RandomRotation(0.2), L.RandomZoom(0.1)])(x)


def adapted(largest: float) -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, largest, (20, 12, 12, 3)).astype("float32"))
    return layer


SCALED: dict[str, Any] = {
    "tf mode": lambda x: keras.applications.mobilenet.preprocess_input(augmented(x)),
    "caffe mode": lambda x: keras.applications.vgg16.preprocess_input(augmented(x)),
    "torch mode": lambda x: keras.applications.densenet.preprocess_input(x),
    "Rescaling after augmentation": lambda x: L.Rescaling(1 / 127.5, offset=-1)(augmented(x)),
    "Rescaling, then Normalization": lambda x: L.Normalization(mean=[0.5] * 3, variance=[0.07] * 3)(
        L.Rescaling(1 / 255)(x)
    ),
    "Normalization adapted to pixels": lambda x: adapted(255.0)(x),
    "backwards by slices": lambda x: x[..., ::-1] / 255.0,
    "backwards by an operation": lambda x: (keras.ops.flip(x, axis=-1) - 127.5) * (1 / 127.5),
    "resized and scaled": lambda x: L.Resizing(10, 10)(x) / 255.0,
    "two branches": lambda x: L.Concatenate()([L.Conv2D(2, 3)(x / 255.0), L.Conv2D(2, 3)(x / 127.5 - 1.0)]),
}


@pytest.mark.parametrize("case", SCALED)
def test_a_model_that_scales_pixels_itself_is_given_pixels_and_answers_as_in_keras(case: str, tmp_path: Path) -> None:
    model, spec = behind(SCALED[case], tmp_path)
    network = given(spec)
    assert (network.preprocess.mean, network.preprocess.std) == ((0.0,) * 3, pytest.approx((1 / 255,) * 3))
    assert network.notes == ()
    pixels = torch.randint(0, 256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert isinstance(network.preprocess, Preprocess)
    x = to_input(pixels, network.preprocess, device="cpu", channels_last=False)
    with torch.no_grad(), reading_backwards(keras):
        found, expected = pretrained(network)(x), by_keras(model, pixels.float(), training=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words", "hint"),
    [
        (lambda x: x, "doesn't say how its images are scaled", "--mean 0.5 --std 0.5"),
        (augmented, "doesn't say how its images are scaled", "--mean 0.5 --std 0.5"),
        (lambda x: x[..., ::-1], "doesn't say how its images are scaled", "--mean 0.5 --std 0.5"),
        (lambda x: x / (keras.ops.max(x) + 1.0), "doesn't say how its images are scaled", "--mean 0.5 --std 0.5"),
        (lambda x: L.Rescaling(2.0, offset=-1)(x), r"itself \(Rescaling\), but not from 0 to 255", "--mean 0 --std 1"),
        (lambda x: adapted(1.0)(x), r"itself \(Normalization\), but not from 0 to 255", "--mean 0 --std 1"),
    ],
)
def test_a_model_that_does_not_scale_pixels_is_asked_for_it(make: Any, words: str, hint: str, tmp_path: Path) -> None:
    _, spec = behind(make, tmp_path)
    with pytest.raises(ModelError, match=words) as caught:
        load_network(spec)
    assert hint in caught.value.hint


def test_scaling_a_second_time_is_the_users_choice_and_is_said(tmp_path: Path) -> None:
    _, spec = behind(SCALED["tf mode"], tmp_path)
    network = given(spec, mean=(0.5,), std=(0.5,))
    assert network.preprocess.mean == (0.5,) * 3
    assert network.notes == (
        f"{spec} scales its images itself (TrueDivide and Subtract), and --mean 0.5 --std 0.5 scale them a second "
        "time: leave that out.",
    )
    assert "--model-args preprocess scales them a second" in given(spec, model_args={"preprocess": "tf"}).notes[0]
    assert given(spec, model_args={"preprocess": "none"}).notes == ()
    _, spec = behind(SCALED["Rescaling after augmentation"], tmp_path)
    assert given(spec, mean=(0.0,), std=(1 / 255,)).notes == ()


def test_models_in_other_files_are_refused_with_the_way_out(saved: tuple[Any, Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = "{}"
    shutil.copy(tmp_path / "m.h5", tmp_path / "renamed.keras")
    for name in ("m.h5", "renamed.keras"):
        error = refused(f"keras:{tmp_path / name}", mean=(0.5,), std=(0.5,))
        assert "whole model in Keras' older file" in error.message
        assert f".save('{Path(name).stem}.keras')" in error.hint
    saved[0].save_weights(tmp_path / "w.weights.h5")
    error = refused(f"keras:{tmp_path / 'w.weights.h5'}")
    assert "holds weights alone" in error.message
    assert f"--weights {tmp_path / 'w.weights.h5'}" in error.hint
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"")
    error = refused(f"keras:{tmp_path / 'export'}")
    assert "SavedModel folder" in error.message
    assert "export.keras" in error.hint
    assert "no file" in refused(f"keras:{tmp_path / 'none.h5'}").message


def test_layers_that_are_not_keras_own_are_all_named(saved: tuple[Any, Path], tmp_path: Path) -> None:
    config = json.loads(zipfile.ZipFile(saved[1]).read("config.json"))
    for place, name in ((1, "Blur"), (2, "Attend")):
        config["config"]["layers"][place] |= {"module": "my.layers", "class_name": name}
    with zipfile.ZipFile(tmp_path / "own.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    error = refused(f"keras:{tmp_path / 'own.keras'}")
    assert "needs Blur from my.layers and Attend from my.layers, which aren't layers of Keras itself" in error.message


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    model, spec = behind(SCALED["tf mode"], tmp_path)
    model.layers[-1].kernel.assign(np.full((6, 4), np.nan))
    model.save(tmp_path / "behind.keras")
    assert f"NaN in {model.layers[-1].name}.weight (24 of 24 values)" in refused(spec).message


def test_files_that_could_run_code_are_refused_with_the_reason(saved: tuple[Any, Path], tmp_path: Path) -> None:
    with building(keras):
        model = keras.Sequential([keras.Input((4, 4, 3)), L.Lambda(lambda x: x * 2), L.Flatten(), L.Dense(2)])
    model.save(tmp_path / "lambda.keras")
    assert "Lambda layer, which runs Python code" in refused(f"keras:{tmp_path / 'lambda.keras'}").message
    config = json.loads(zipfile.ZipFile(saved[1]).read("config.json"))
    for module, name in (("os", "system"), ("keras.utils", "get_file"), ("builtins", "eval"), ("my.code", "Layer")):
        config["config"]["layers"][1]["config"]["kernel_initializer"] = {
            "module": module,
            "class_name": name,
            "config": {},
            "registered_name": None,
        }
        path = tmp_path / "bad.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
        assert f"needs {name} from {module}" in refused(f"keras:{path}").message
    path.write_bytes(b"no zip")
    assert "can't be read as a Keras model" in refused(f"keras:{path}").message


def test_weights_that_point_at_other_files_are_refused(small: tuple[Any, Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "link.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(small[1]), "/layers")
    error = refused("keras:MobileNet", weights=str(tmp_path / "link.weights.h5"), model_args=SMALL, size=32)
    assert "points at another file" in error.message
    (tmp_path / "text.weights.h5").write_text("no")
    error = refused("keras:MobileNet", weights=str(tmp_path / "text.weights.h5"), model_args=SMALL, size=32)
    assert "not an HDF5 file" in error.message


def test_efficientnets_imagenet_weights_get_the_division_they_were_trained_behind() -> None:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (keras_source.IMAGENET_MEAN, keras_source.IMAGENET_STD))
    network = torch.nn.Sequential(KerasNormalization(mean.clone(), std.clone()))
    network.load_state_dict(keras_source._rescaled_as_trained(network, network.state_dict()))
    x = torch.rand(2, 3, 4, 4)
    by_keras = (x - mean) / std.sqrt() / std.sqrt()  # Normalization, then its Rescaling by 1 / sqrt(std)
    torch.testing.assert_close(network(x), by_keras)


def test_shared_weights_answer_as_their_torch_form(mobilenet: tuple[str, str]) -> None:
    folder = Path(mobilenet[1]).parent
    network = given("keras:MobileNet", weights=str(folder / "mobilenetv1_075.weights.h5"), model_args={"alpha": 0.75})
    theirs = given(mobilenet[0], weights=mobilenet[1])
    x = torch.randn((2, 3, 224, 224), generator=torch.Generator().manual_seed(2)) * 0.5
    with torch.no_grad():
        ours, other = pretrained(network)(x).flatten(1), pretrained(theirs)(x)
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-3)  # scores reach from -11 to 24
    assert network.classes is not None
    assert network.classes[0] == "tench"
