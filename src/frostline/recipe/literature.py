"""What the literature calls each strategy, where terms disagree, and who says so. Data only.

Keys are the catalogue's names, and further shapes that only a user's own recipe can have. A source is a key of
CITATIONS.
"""

from __future__ import annotations

from dataclasses import dataclass

CITATIONS: dict[str, str] = {
    "alain": "Alain & Bengio 2016, Understanding intermediate layers using linear classifier probes",
    "bitfit": "Ben Zaken, Goldberg & Ravfogel 2022, BitFit: Simple Parameter-efficient Fine-tuning for "
    "Transformer-based Masked Language-models",
    "breiman": "Breiman, Friedman, Olshen & Stone 1984, Classification and Regression Trees",
    "clark": "Clark et al. 2020, ELECTRA",
    "fort": "Fort et al. 2020, Deep Learning versus Kernel Learning: an Empirical Study of Loss Landscape Geometry and "
    "the Time Evolution of the Neural Tangent Kernel",
    "frankle": "Frankle, Schwab & Morcos 2021, Training BatchNorm and Only BatchNorm",
    "guo": "Guo et al. 2017, On Calibration of Modern Neural Networks",
    "gururangan": "Gururangan et al. 2020, Don't Stop Pretraining",
    "holm": "Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure",
    "houlsby": "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP",
    "howard": "Howard & Ruder 2018, Universal Language Model Fine-tuning for Text Classification",
    "hu": "Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models",
    "izmailov": "Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization",
    "jaeckel": "Jaeckel 1972, The Infinitesimal Jackknife",
    "jamieson": "Jamieson & Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization",
    "keras-guide": "Keras guide, Transfer learning & fine-tuning (keras.io/guides/transfer_learning)",
    "kirichenko": "Kirichenko, Izmailov & Wilson 2023, Last Layer Re-Training is Sufficient for Robustness to Spurious "
    "Correlations",
    "kolesnikov": "Kolesnikov et al. 2020, Big Transfer (BiT)",
    "kornblith": "Kornblith, Shlens & Le 2019, Do Better ImageNet Models Transfer Better?",
    "kumar": "Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution",
    "lee": "Lee et al. 2023, Surgical Fine-Tuning Improves Adaptation to Distribution Shifts",
    "li-adabn": "Li et al. 2016, Revisiting Batch Normalization For Practical Domain Adaptation",
    "li-l2sp": "Li, Grandvalet & Davoine 2018, Explicit Inductive Bias for Transfer Learning with Convolutional "
    "Networks",
    "loshchilov-adamw": "Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization",
    "loshchilov-sgdr": "Loshchilov & Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts",
    "mu": "Mu, Liang & Li 2020, Gradients as Features for Deep Representation Learning",
    "nadeau": "Nadeau & Bengio 2003, Inference for the Generalization Error",
    "northcutt": "Northcutt, Jiang & Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels",
    "pan": "Pan & Yang 2010, A Survey on Transfer Learning",
    "pytorch-tutorial": "PyTorch tutorial, Transfer Learning for Computer Vision",
    "razavian": "Sharif Razavian et al. 2014, CNN Features off-the-shelf: an Astounding Baseline for Recognition",
    "schuirmann": "Schuirmann 1987, A comparison of the two one-sided tests procedure and the power approach",
    "tf-tutorial": "TensorFlow tutorial, Transfer learning and fine-tuning",
    "wilson": "Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    "wortsman": "Wortsman et al. 2022, Robust fine-tuning of zero-shot models",
    "yosinski": "Yosinski et al. 2014, How transferable are features in deep neural networks?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """`disputed`: one sentence on who means something else by these words, empty where nobody was found to."""

    term: str
    also_called: tuple[str, ...] = ()
    disputed: str = ""
    sources: tuple[str, ...] = ()


def _literature_term(term: str, *also_called: str, disputed: str = "", sources: str = "") -> Term:
    return Term(term=term, also_called=also_called, disputed=disputed, sources=tuple(sources.split()))


TERMS: dict[str, Term] = {
    "baseline": _literature_term("a classical classifier without a network", "support vector machine on raw pixels"),
    "as-is": _literature_term(
        "direct use of a pre-trained model",
        "inference with a pre-trained model",
        "off-the-shelf model",
        disputed="There is no settled term; 'off-the-shelf' also means off-the-shelf features under a new classifier "
        "(Sharif Razavian et al. 2014).",
        sources="razavian",
    ),
    "probe": _literature_term(
        "linear probing",
        "feature extraction",
        "linear evaluation",
        "fixed feature extractor",
        "last-layer retraining",
        disputed="Tutorials call this feature extraction, or transfer learning as such, which in surveys is the whole "
        "field (Pan & Yang 2010).",
        sources="kornblith pytorch-tutorial pan",
    ),
    "probe-mlp": _literature_term(
        "feature extraction with a non-linear head",
        "MLP probe",
        "fixed feature extractor",
        disputed="Linear probing, the more usual word for a frozen body, means a linear head; tutorials say transfer "
        "learning, which in surveys is the whole field (Pan & Yang 2010).",
        sources="pytorch-tutorial pan",
    ),
    "probe@K": _literature_term(
        "feature extraction from an intermediate layer",
        "linear probe of a hidden layer",
        "truncating the network",
        "cutting the last layers off",
        disputed="Probes of hidden layers were introduced to understand a network (Alain & Bengio 2016), so 'linear "
        "probe' alone is read as one of the last layer.",
        sources="alain razavian",
    ),
    "freeze@K": _literature_term(
        "partial fine-tuning",
        "fine-tuning the top layers",
        "layer freezing",
        disputed="TensorFlow's tutorial calls this fine-tuning; most papers mean by that word that all layers move.",
        sources="tf-tutorial yosinski",
    ),
    "finetune": _literature_term(
        "full fine-tuning",
        "fine-tuning",
        "end-to-end fine-tuning",
        "re-training",
        disputed="Fine-tuning may mean only the top layers (TensorFlow's tutorial), the whole network or a part of it "
        "(Keras guide), or all layers (PyTorch's tutorial, most of language processing).",
        sources="kornblith tf-tutorial keras-guide pytorch-tutorial",
    ),
    "lp-ft": _literature_term(
        "linear probing then fine-tuning (LP-FT)",
        "two-step fine-tuning",
        disputed="Tutorials do the same two steps and call only the second one fine-tuning (Keras guide).",
        sources="kumar keras-guide",
    ),
    "gradual": _literature_term(
        "gradual unfreezing",
        "progressive unfreezing",
        disputed="Howard & Ruder 2018 unfreeze one layer group an epoch with rates that differ by layer; other "
        "schedules go by the same name.",
        sources="howard",
    ),
    "continue": _literature_term(
        "continued training",
        "warm start",
        "re-training",
        disputed="There is no settled term: continued pre-training keeps the pre-training task and needs no target "
        "labels (Gururangan et al. 2020), and re-training also means newer data of the same task.",
        sources="gururangan",
    ),
    "scratch": _literature_term(
        "training from scratch",
        "random initialisation",
        disputed="It is at times called pre-training, which in the literature is the earlier training on source data.",
        sources="kornblith",
    ),
    "reinit@K": _literature_term(
        "transfer of the first layers with fine-tuning (AnB+)",
        "partial re-initialisation",
        disputed="Yosinski et al. 2014 define AnB+ for two tasks with disjoint classes and equal rates and steps for "
        "copied and new layers; others call it fine-tuning.",
        sources="yosinski",
    ),
    "reinit-freeze@K": _literature_term(
        "transfer of the first layers, frozen (AnB)",
        "partial re-initialisation on a frozen base",
        disputed="Yosinski et al. 2014 define AnB for two tasks with disjoint classes; others call it feature "
        "extraction, which re-initialises the head only.",
        sources="yosinski",
    ),
    "norm": _literature_term(
        "norm-tuning (only the normalisation layers' scale and shift)",
        "BatchNorm-only training",
        disputed="Frankle et al. 2021 train these on random weights; here they lie in a pre-trained network.",
        sources="frankle",
    ),
    "bias": _literature_term(
        "bias-only fine-tuning (BitFit)",
        "sparse fine-tuning",
        disputed="BitFit was defined for transformers; whether BatchNorm's shift counts as a bias has to be said.",
        sources="bitfit",
    ),
    "lora": _literature_term(
        "low-rank adaptation (LoRA)",
        "adapter tuning",
        "parameter-efficient fine-tuning",
        disputed="'Adapter' first meant small modules put between layers (Houlsby et al. 2019), which can't be merged "
        "into the weights as LoRA's updates are.",
        sources="hu houlsby",
    ),
    "wise-ft": _literature_term(
        "weight-space ensembling (WiSE-FT)",
        "weight interpolation",
        disputed="Wortsman et al. 2022 interpolate from a zero-shot model; new classes have none, so the line begins "
        "at the linear probe here.",
        sources="wortsman kumar",
    ),
    "l2sp": _literature_term(
        "fine-tuning with an L2-SP penalty",
        "regularised fine-tuning",
        disputed="Fine-tuning alone leaves open that the penalty is towards the starting point and not towards zero.",
        sources="li-l2sp",
    ),
    # what only a user's own recipe can be
    "surgical": _literature_term(
        "surgical fine-tuning",
        "fine-tuning some layers only",
        disputed="Lee et al. 2023 tune one contiguous block; freezing any other set of layers has no settled name.",
        sources="lee",
    ),
    "last-layer": _literature_term(
        "last-layer retraining",
        "retraining the head",
        disputed="'Retraining' also means training everything again on newer data.",
        sources="kirichenko",
    ),
    "adabn": _literature_term(
        "feature extraction with adapted BatchNorm statistics (AdaBN-like)",
        "statistics adaptation",
        disputed="AdaBN (Li et al. 2016) takes the statistics of unlabelled target data and trains nothing.",
        sources="li-adabn",
    ),
    "multi-stage": _literature_term(
        "fine-tuning in several phases",
        "staged fine-tuning",
        disputed="There is no settled term: each phase should be told by what moved in it.",
        sources="howard",
    ),
    "reinit-part": _literature_term(
        "partial re-initialisation",
        "partial transfer",
        disputed="There is no settled term: Yosinski et al. 2014 name only the case in which all upper layers are "
        "re-initialised (AnB, AnB+).",
        sources="yosinski",
    ),
    "random-features": _literature_term(
        "training on frozen random features",
        "random-weight baseline",
        disputed="Nothing was transferred, so neither transfer learning nor fine-tuning applies.",
        sources="yosinski frankle",
    ),
    "untrained": _literature_term(
        "use of an untrained network", disputed="Nothing was pre-trained, trained or transferred."
    ),
}


ADDED: dict[str, Term] = {  # what may come on top of a strategy
    "pull": _literature_term("an L2-SP penalty", sources="li-l2sp"),
    "mix": _literature_term("weight interpolation (WiSE-FT)", sources="wortsman"),
    "head-first": _literature_term("a head solved first (LP-FT)", sources="kumar"),
    "layer-rates": _literature_term("layer-wise learning rates", sources="howard clark"),
    "statistics": _literature_term("adapting BatchNorm statistics (AdaBN-like)", sources="li-adabn"),
}
