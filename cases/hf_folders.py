"""Folders of tiny random networks as the library transformers saves them: built in a moment, read like real ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

WORDS = """the a cat dog bird runs sits sings red blue green house tree
    who what where is was in on of how many""".split()
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
POSITIONS = 24


def write_tokenizer(folder: Path, marks: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")) -> int:
    """A tokenizer of whole lower-case words; returns its size. `marks` are in the order of their ids; of a decoder the
    last two are missing, and there is no padding."""
    import transformers as t
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate([*marks, *WORDS, "?"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    known = {"eos_token": "[END]", "unk_token": "[UNK]"}
    if "[CLS]" in marks:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")]
        )
        known = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **known).save_pretrained(folder)
    return len(vocabulary)


# Of each architecture its configuration (small ones by the names of their settings), and the order of the marks.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 26,
}
HALF = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 1,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
FAIRSEQ, DECODER = ("[CLS]", "[PAD]", "[SEP]", "[UNK]"), ("[UNK]", "[END]")
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "roberta": ("RobertaConfig", {**SMALL, "pad_token_id": 1}, FAIRSEQ),
    "convbert": ("ConvBertConfig", {**SMALL, "embedding_size": 16}, tuple(MARKS)),  # its own padding is 1
    "gpt2": (
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "bos_token_id": 1, "eos_token_id": 1},
        DECODER,
    ),
    "t5": ("T5Config", HALF, FAIRSEQ),
}


def write_architecture(folder: Path, name: str, *, kind: str = "AutoModelForSequenceClassification") -> Path:
    """A network of one of the ARCHITECTURES, with classes question, statement and other where it has any."""
    import torch
    import transformers as t
    from transformers.utils import logging

    logging.disable_progress_bar()
    config_name, settings, marks = ARCHITECTURES[name]
    config = getattr(t, config_name)(vocab_size=write_tokenizer(folder, marks), **settings)
    if kind.endswith("Classification"):
        config.id2label = {0: "question", 1: "statement", 2: "other"}
    make = getattr(t, kind)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make.from_config(config) if kind.startswith("Auto") else make(config)
        for tensor in model.parameters():
            if tensor.ndim > 1:
                torch.nn.init.normal_(tensor, std=0.3)  # a fresh one's features are all alike
        model.save_pretrained(folder)
    return folder


def write_text_network(
    folder: Path,
    *,
    labels: tuple[str, ...] = (),
    pooling: str | None = "mean_tokens",
    normalise: bool = True,
    positions: int = POSITIONS,
) -> Path:
    """A BERT of two blocks: a classifier where `labels` are given, else an encoder with sentence-transformers'
    description of its pooling. It reads `positions` tokens."""
    import torch
    import transformers as t
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    config = t.BertConfig(
        vocab_size=write_tokenizer(folder),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
    )
    if labels:
        config.id2label = dict(enumerate(labels))
    kind: Any = t.BertForSequenceClassification if labels else t.BertModel
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        for name, tensor in model.named_parameters():  # a fresh one's features are all alike
            if "word_embeddings" in name:
                torch.nn.init.normal_(tensor, std=1.0)
        model.save_pretrained(folder)
    if pooling and not labels:
        modules = [
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
        if normalise:
            modules.append({"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    return folder


def write_image_network(folder: Path, kind: str = "ViTImageProcessor", **processor: Any) -> Path:
    """A ViT of two blocks on 32 pixels with classes cat and dog, and an image processor of that kind."""
    import torch
    import transformers as t
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    config = t.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    config.id2label = {0: "cat", 1: "dog"}
    config.architectures = ["ViTForImageClassification"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        t.ViTForImageClassification(config).save_pretrained(folder)
    settings = {"size": {"height": 32, "width": 32}, **processor}
    getattr(t, kind)(**settings).save_pretrained(folder)
    return folder


def write_sentences(file: Path, rows: int = 48, *, long: bool = False) -> Path:
    """A table of short sentences of two classes that words tell apart: what is asked, and what is said. `long`: every
    fifth has 20 words more, and the first 50."""
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for i in range(rows):
            asked = i % 2 == 0
            start = ("who is", "where was", "what is", "how many")[i // 2 % 4] if asked else ("a", "the")[i // 2 % 2]
            middle, end = WORDS[2 + i % 6], WORDS[8 + i // 6 % 5]
            extra = " the tree" * (i % 3)
            if long and i % 5 == 0:
                extra += " in the red house of" * (10 if i == 0 else 4)
            writer.writerow(
                [
                    f"{start} {middle} {end}{extra}{' ?' if asked else ''} {WORDS[i % len(WORDS)]}",
                    "question" if asked else "statement",
                ]
            )
    return file
