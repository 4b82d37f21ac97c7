"""A tokenizer in the words of a GGUF file's metadata: byte-level BPE, or SentencePiece's BPE.

llama.cpp knows how a text is cut before it is merged by a name only. The name is found by trying: the tokenizer that the metadata
make has to give the ids of the original, else there would be a file that reads text otherwise.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from paceline.errors import ModelError
from paceline.lm.sources.gguf_splits import KNOWN
from paceline.lm.sources.gguf_tokenizer import ROLES, cuts_of, tokenizer_of

__all__ = ["PROBE", "vocabulary_of"]

NORMAL, UNKNOWN, CONTROL, OWN, UNUSED, BYTE = range(1, 7)  # types of tokens; OWN is "user defined"
SINGLE = re.compile("<0x[0-9A-F]{2}>")
PROBE = ("Hello, it's  12345678 o'CLOCK\n\n\n  camelCaseWord HTTPServer 3.14 a/b/c x=\t{y: [1,22,333]};//!!\r\n \t \n naïve Ünï "
         "Привет мир 你好，世界 こんにちは 한국어 ٣٤٥ ½ 🙂🚀👩‍🔬 we'LL they've I'm -- "
         "`code_with_under_scores` <html> #tag $5,000.00  end ")

Words = dict[str, Any]


def vocabulary_of(tokenizer: Any, size: int, ends: int | Sequence[int] | None) -> Words:
    """Metadata, key -> value. size: rows of the embedding; ends: ids that end an answer. None as tokenizer: there is none.

    Raises ModelError for a tokenizer of another kind, and for one that cuts text in a way that llama.cpp has no name for.
    """
    if tokenizer is None:
        return {"tokenizer.ggml.model": "no_vocab"}
    whole = json.loads(tokenizer.backend_tokenizer.to_str()) if hasattr(tokenizer, "backend_tokenizer") else {"model": {}}
    if whole["model"].get("type") != "BPE":
        raise ModelError(f"Expected a tokenizer of byte pairs (BPE); found one of the type {whole['model'].get('type')}, which "
                         "cannot be written into a GGUF file.")
    words = {**tokens_of(whole, size), **roles_of(tokenizer, ends), **templates_of(tokenizer)}
    tried = (words | more for more in candidates(tokenizer, whole["model"], words["tokenizer.ggml.tokens"]))
    if (found := next((each for each in tried if agrees(each, tokenizer)), None)) is None:
        raise ModelError("This tokenizer cuts text in a way that llama.cpp has no name for, so that a GGUF file would read text "
                         "otherwise.")
    return found


def tokens_of(whole: Words, size: int) -> Words:
    """Tokens by id, and what each is."""
    model, added = whole["model"], {token["id"]: token for token in whole["added_tokens"]}
    texts = {id: text for text, id in model["vocab"].items()} | {id: token["content"] for id, token in added.items()}
    if max(texts) >= size:
        raise ModelError(f"The tokenizer has an id {max(texts)}, and the model an embedding of {size}: it is of another model.")
    tokens = [texts.get(id, f"[PAD{id}]") for id in range(size)]
    types = [type_of(texts.get(id), added.get(id), model) for id in range(size)]
    return {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}


def type_of(text: str | None, added: Words | None, model: Words) -> int:
    """What kind of token it is; None as text: a row of the embedding that no token has."""
    if text is None:
        return UNUSED
    if model["byte_fallback"] and text == model["unk_token"]:
        return UNKNOWN
    if added is not None:
        return CONTROL if added["special"] else OWN
    return BYTE if model["byte_fallback"] and SINGLE.fullmatch(text) else NORMAL


def roles_of(tokenizer: Any, ends: int | Sequence[int] | None) -> Words:
    """Ids with a role, and what stands around a text."""
    found = {f"{name}_token_id": getattr(tokenizer, f"{role}_id", None) for role, name in ROLES.items()}
    stops = [ends] if isinstance(ends, int) else list(ends or ())
    if stops and found["eos_token_id"] not in stops:
        found["eos_token_id"] = stops[0]
    found["eot_token_id"] = next((id for id in stops if id != found["eos_token_id"]), None)
    framed = tokenizer("a")["input_ids"]
    for name, id in (("bos", framed[0]), ("eos", framed[-1])):
        found[f"add_{name}_token"] = found[f"{name}_token_id"] == id
    return {f"tokenizer.ggml.{name}": value for name, value in found.items() if value is not None}


def templates_of(tokenizer: Any) -> Words:
    """The chat template, and one for tools where there is another."""
    found = getattr(tokenizer, "chat_template", None) or {}
    named = {"default": found} if isinstance(found, str) else found
    keys = {"default": "tokenizer.chat_template", "tool_use": "tokenizer.chat_template.tool_use"}
    return {key: named[name] for name, key in keys.items() if name in named}


def candidates(tokenizer: Any, model: Words, tokens: Sequence[str]) -> Iterator[Words]:
    """How llama.cpp may have to be told to cut and to merge."""
    if model["byte_fallback"]:
        scores = scores_of(model, tokens)
        for prefix in (True, False):
            yield {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": scores, "tokenizer.ggml.add_space_prefix": prefix}
        return
    merges = [" ".join(pair) for pair in model["merges"]]
    pieces = pieces_of(tokenizer.backend_tokenizer.pre_tokenizer)
    for names, splits in KNOWN.items():
        if splits.whole == model["ignore_merges"] and pieces_of(cuts_of(splits)) == pieces:
            yield {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": names.split()[0], "tokenizer.ggml.merges": merges}


def pieces_of(cuts: Any) -> list[str]:
    return [piece for piece, _ in cuts.pre_tokenize_str(PROBE)] if cuts else []


def scores_of(model: Words, tokens: Sequence[str]) -> list[float]:
    """SentencePiece joins the neighbours whose union has the best score: the earlier its merge, the better."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(model["merges"]):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(text, len(ranks))) for text in tokens]


def agrees(words: Words, tokenizer: Any) -> bool:
    """Whether the metadata make a tokenizer with the same ids."""
    return tokenizer_of(words)(PROBE)["input_ids"] == tokenizer(PROBE)["input_ids"]
