"""The networks of the sweep, each with its group, name, builder and inputs. Weights are random."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frostline.cutting.inputs import Call

CLASSES = 7
SMALL = (64, 96, 128, 160, 192, 224, 256)  # sides that are tried, in pixels


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network with its example inputs (2 samples), and other inputs (3 samples) to check its cuts on."""

    model: nn.Module
    args: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    other: Call | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network that can be built."""

    group: str
    name: str
    build: Callable[[], Case]


# The smallest model of each family of timm that has at most 100 million weights (found by building all of them).
TIMM = [
    "beit_base_patch16_224",
    "test_byobnet",
    "cait_xxs24_224",
    "coat_tiny",
    "convit_tiny",
    "test_convnext",
    "cpubone_nano",
    "crossvit_tiny_240",
    "cs3darknet_focus_s",
    "cspnext_tiny",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "densenet121",
    "dla46x_c",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "test_efficientnet",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "ghostnet_050",
    "hardcorenas_b",
    "hgnetv2_b0",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "inception_v3",
    "lcnetv2_small",
    "levit_128s",
    "lowformer_b0",
    "test_mambaout",
    "test_coatnet",
    "poolformerv2_s12",
    "gmlp_ti16_224",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "nextvit_small",
    "test_nfnet",
    "pit_ti_224",
    "pvt_v2_b0",
    "rdnet_tiny",
    "regnetx_002",
    "repghostnet_050",
    "repvit_m1",
    "res2next50",
    "resnest14d",
    "test_resnet",
    "resnetv2_18",
    "rexnet_100",
    "selecsls42",
    "legacy_seresnet18",
    "sequencer2d_s",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224",
    "tresnet_m",
    "twins_svt_small",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "test_vit_relpos",
    "volo_d1_224",
    "ese_vovnet19b_slim_dw",
    "legacy_xception",
    "xception41p",
    "xcit_nano_12_p8_224",
    "csatv2",
    "inception_v4",
    "mobilenetv5_base",
    "naflexvit_base_patch16_parfac_gap",
    "vitamin_small_224",
    "samvit_base_patch16_224",
    "swinv2_cr_base_224",
    "nasnetalarge",
    "pnasnet5large",
    "inception_resnet_v2",
]
# Those whose size is fixed when they are built, or which need fewer blocks to be quick.
SMALLER = (
    "nest_tiny",
    "gcvit_xxtiny",
    "convit_tiny",
    "coat_tiny",
    "hiera_tiny_224",
    "twins_svt_small",
    "pit_ti_224",
    "visformer_tiny",
    "levit_128s",
    "mvitv2_tiny",
    "efficientformerv2_s0",
    "sequencer2d_s",
    "efficientvit_m0",
    "gmlp_ti16_224",
    "vitamin_small_224",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "xcit_nano_12_p8_224",
    "volo_d1_224",
)
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: {"img_size": 64} for name in SMALLER},
    "beit_base_patch16_224": {"img_size": 64, "depth": 4, "embed_dim": 96, "num_heads": 4},
    "cait_xxs24_224": {"img_size": 64, "depth": 6},
    "eva02_tiny_patch14_224": {"img_size": 56, "depth": 6},
    "tnt_s_legacy_patch16_224": {"img_size": 64, "depth": 6},
    "crossvit_tiny_240": {"img_size": 120},
    "samvit_base_patch16_224": {"img_size": 64, "depth": 6, "embed_dim": 96, "num_heads": 4},
    "naflexvit_base_patch16_parfac_gap": {"depth": 6, "embed_dim": 96, "num_heads": 4},
    "swinv2_cr_base_224": {"img_size": 64, "embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 4},
    "swinv2_tiny_window8_256": {"img_size": 64, "window_size": 4},
}
TORCHVISION = (
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "efficientnet_b0",
    "shufflenet_v2_x0_5",
    "swin_t",
    "vit_b_16",
    "convnext_tiny",
    "googlenet",
    "squeezenet1_1",
    "regnet_y_400mf",
    "mnasnet0_5",
    "alexnet",
)
TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
WORDS = {**TINY, "vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PATCHES = {**TINY, "image_size": 32, "patch_size": 8}
HF_IMAGES: dict[str, dict[str, Any]] = {
    "vit": PATCHES,
    "beit": PATCHES,
    "dinov2": {**TINY, "image_size": 28, "patch_size": 7},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "swin": {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 12,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "mobilevit": {"image_size": 32},
    "swinv2": {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 12,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "segformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
}
HF_TEXT: dict[str, dict[str, Any]] = {
    "bert": WORDS,
    "roberta": WORDS,
    "distilbert": {"vocab_size": 50, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48},
    "deberta-v2": {**WORDS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": {**WORDS, "embedding_size": 16},
    "albert": {**WORDS, "embedding_size": 16},
    "mpnet": WORDS,
    "modernbert": {**WORDS, "cls_token_id": 1, "sep_token_id": 2},
    "gpt2": {
        "vocab_size": 50,
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "llama": {**WORDS, "num_key_value_heads": 2},
    "bart": {
        "vocab_size": 50,
        "d_model": 32,
        "encoder_layers": 3,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "pad_token_id": 0,
        "eos_token_id": 2,
    },
    "t5": {
        "vocab_size": 50,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 48,
        "num_layers": 3,
        "num_heads": 2,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 0,
    },
    "xlnet": {
        "vocab_size": 50,
        "d_model": 32,
        "n_layer": 3,
        "n_head": 2,
        "d_inner": 48,
        "pad_token_id": 0,
        "use_mems_eval": False,
    },
    "mixtral": {**WORDS, "num_key_value_heads": 2, "num_local_experts": 3},
    "mobilebert": {**WORDS, "embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16},
    "fnet": WORDS,
}
KERAS = ("MobileNet", "MobileNetV2", "ResNet50", "EfficientNetB0")


def entries() -> Iterator[Entry]:
    """Yield every network of the sweep."""
    for name in TIMM:
        yield Entry(group="timm", name=name, build=partial(_timm, name))
    for name in TORCHVISION:
        yield Entry(group="torchvision", name=name, build=partial(_torchvision, name))
    for kind in (*HF_IMAGES, *HF_TEXT):
        yield Entry(group="hf", name=kind, build=partial(_hf, kind))
    for name in KERAS:
        yield Entry(group="keras", name=name, build=partial(_keras, name))
    for kind in _awkward_kinds():
        yield Entry(group="by hand", name=kind.__name__, build=partial(by_hand, kind))


def images(size: int, channels: int = 3) -> Tensor:
    """Return two images of noise."""
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def _timm(name: str) -> Case:
    import timm

    arguments = ARGUMENTS.get(name, {})
    model: Any = timm.create_model(name, num_classes=CLASSES, **arguments).eval()
    native = int(model.pretrained_cfg["input_size"][1])
    sizes = [size for size in SMALL if size < native] + [native]
    if "img_size" in arguments:
        sizes = [arguments["img_size"]]
    return Case(model=model, args=(images(_smallest(model, sizes)),))


def _smallest(model: nn.Module, sizes: list[int]) -> int:
    """Return the first size that the network runs on, also in training mode (batch norm needs two positions)."""
    for size in sizes[:-1]:
        try:
            with torch.no_grad():
                model.eval()(images(size))
                model.train()(images(size))
            return size
        except (RuntimeError, ValueError, AssertionError, IndexError):
            continue
        finally:
            model.eval()
    return sizes[-1]


def _torchvision(name: str) -> Case:
    from torchvision import models

    extra: dict[str, dict[str, Any]] = {"googlenet": {"init_weights": False}, "vit_b_16": {"image_size": 64}}
    more = extra.get(name, {})
    model = models.get_model(name, weights=None, num_classes=CLASSES, **more).eval()
    return Case(model=model, args=(images(_smallest(model, [64] if "image_size" in more else [64, 96, 224])),))


def words() -> tuple[Tensor, Tensor]:
    """Return two sentences of token numbers, the second padded with 0, and their mask."""
    ids = torch.tensor([[1, 5, 6, 7, 8, 9, 10, 2], [1, 11, 12, 2, 0, 0, 0, 0]])
    return ids, (ids != 0).long()


def _hf(kind: str) -> Case:
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

    arguments = HF_IMAGES.get(kind) or HF_TEXT[kind]
    config = AutoConfig.for_model(kind, num_labels=CLASSES, **arguments)
    if kind in HF_IMAGES:
        model = AutoModelForImageClassification.from_config(config)
        return Case(model=model.eval(), keywords={"pixel_values": images(arguments.get("image_size", 32))})
    model = AutoModelForSequenceClassification.from_config(config)
    extra = {"use_cache": False} if hasattr(config, "use_cache") else {}
    ids, mask = words()
    other = torch.tensor([[1, 4, 2, 0, 0, 0, 0, 0], [1, 13, 14, 15, 16, 2, 0, 0], [1, 9, 9, 9, 3, 3, 3, 2]])
    keywords = {"input_ids": ids, "attention_mask": mask} | extra
    other_keywords = {"input_ids": other, "attention_mask": (other != 0).long()} | extra
    return Case(model=model.eval(), keywords=keywords, other=Call.of((), other_keywords))


def _keras(name: str) -> Case:
    """Build a Keras network by frostline's own source."""
    from frostline.data.preprocess import Preprocess
    from frostline.models.network import NetworkOptions, example_input, pretrained
    from frostline.models.sources import load_network

    network = load_network(f"keras:{name}", NetworkOptions(weights="random", size=64))
    assert isinstance(network.preprocess, Preprocess)
    return Case(model=pretrained(network), args=(example_input(network.preprocess),))


def _awkward_kinds() -> tuple[Any, ...]:
    from cases import awkward, unusual

    return (*awkward.EVERY, *unusual.EVERY)


def by_hand(kind: Any) -> Case:
    """Build one of the hand-written modules; its class may have an example of its own."""
    if not hasattr(kind, "example"):
        return Case(model=kind().eval(), args=(images(8),))
    args, keywords, other = kind.example()
    return Case(model=kind().eval(), args=args, keywords=keywords, other=other)
