"""The contract of a text network in a folder of transformers: its tokenizer, and how much of a text it can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError
from frostline.data.texts import TextPreprocess, wrong_length
from frostline.models.network import NetworkOptions
from frostline.models.sources.hf_folder import first_line, library, other_in, quiet, read_object

LENGTH = 32  # places, until the data say how many are needed
MOST = 4096  # places, where nothing says how much the network reads


def text_contract(spec: str, folder: Path, config: Any, options: NetworkOptions) -> TextPreprocess:
    """Read it. Raises ModelError for a tokenizer that can't be read without the folder's own code, and for options of
    images."""
    for name in ("mean", "std"):
        if getattr(options, name) is not None:
            raise ModelError(f"--{name} doesn't apply: {spec} reads texts.", "Leave it out.")
    with quiet():
        try:
            tokenizer = library().AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            damaged = ModelError(f"The tokenizer of {spec} can't be read ({first_line(error)}).", TOKENIZER)
            raise other_in(folder, "*token*", "vocab*", "merges.txt", "*.model") or damaged from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        raise ModelError(
            f"The tokenizer of {spec} is a {type(tokenizer).__name__}, which has no tokenizer.json.", TOKENIZER
        )
    limit = _limit(folder, config, tokenizer)
    if options.size is not None and not 2 <= options.size <= limit:
        raise wrong_length(options.size, limit, spec)
    pad = _pad(config, tokenizer)
    vocabulary = int(config.vocab_size)
    if len(tokenizer) > vocabulary:
        raise ModelError(
            f"The tokenizer of {spec} has {len(tokenizer)} tokens, but its network knows {vocabulary}.",
            "Take the tokenizer that belongs to the network.",
        )
    backend.no_padding()
    backend.no_truncation()
    return TextPreprocess(
        tokenizer=backend.to_str(),
        length=options.size or min(LENGTH, limit),
        limit=limit,
        pad=pad,
        vocabulary=vocabulary,
        cut="left" if tokenizer.truncation_side == "left" else "right",
    )


TOKENIZER = "Save it with a fast tokenizer: tokenizer.save_pretrained(FOLDER) writes tokenizer.json."


def _limit(folder: Path, config: Any, tokenizer: Any) -> int:
    """Places: the network's positions; what the tokenizer and sentence-transformers recommend counts tokens, and one
    place stays empty beside them."""
    limits = [MOST]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        relative = getattr(config, "position_embedding_type", "absolute") not in ("absolute", None)
        from_pad = counts_from_pad(config) and not relative
        limits.append(positions - (int(config.pad_token_id or 0) + 1 if from_pad else 0))
    if 0 < tokenizer.model_max_length < MOST:
        limits.append(int(tokenizer.model_max_length) + 1)
    file = folder / "sentence_bert_config.json"
    recommended = None
    if file.is_file():
        recommended = read_object(file).get("max_seq_length")
    if isinstance(recommended, int) and recommended > 0:
        limits.append(recommended + 1)
    return max(2, min(limits))


def _pad(config: Any, tokenizer: Any) -> int:
    """The id in empty places: the tokenizer's, as the library's own pipelines have it, unless the network counts its
    positions from another one."""
    own = getattr(config, "pad_token_id", None)
    if counts_from_pad(config):
        found = [own, tokenizer.pad_token_id]
    else:
        found = [tokenizer.pad_token_id, own]
    pad = next((i for i in (*found, tokenizer.eos_token_id) if i is not None), 0)
    return int(pad[0] if isinstance(pad, list) else pad)


def counts_from_pad(config: Any) -> bool:
    """Whether the network's positions begin behind the padding's id."""
    return str(config.model_type) in FROM_PAD


# Their positions count from the padding's id on (fairseq's habit), so that many embeddings are never read.
FROM_PAD = frozenset(
    {
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "roberta-prelayernorm",
        "mpnet",
        "longformer",
        "ibert",
        "data2vec-text",
        "esm",
        "luke",
        "markuplm",
        "xmod",
        "lilt",
        "mvp",
    }
)
