"""The tokenizer in a GGUF file's metadata: byte-level BPE, or SentencePiece's BPE with scores and single bytes.

The ids are llama.cpp's, with special tokens read where they stand in a text, but for two things in which the models' own
tokenizers are followed: `tekken` and `gpt-4o` tell capitals beyond A to Z, too, and "</s>" ends a text only where the file says
so. A file has no normalizer, so a text is taken as it is, where some models' own compose accents first (NFC).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from paceline.core.checks import short
from paceline.errors import ModelError
from paceline.lm.sources.gguf_splits import Splits, splits_of
from paceline.lm.tokenizer import FileTokenizer

__all__ = ["ROLES", "Vocabulary", "cuts_of", "tokenizer_of"]

NORMAL, UNKNOWN, CONTROL, OWN, UNUSED, BYTE = range(1, 7)  # types of tokens; OWN is "user defined"
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
TURN_ENDS = frozenset(("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<EOT>",
                       "[EOT]", "<end_of_turn>", "<end_of_utterance>", "<｜end▁of▁sentence｜>"))
SPACE = "\u2581"
ALPHABET = frozenset(pre_tokenizers.ByteLevel.alphabet())


def tokenizer_of(fields: Mapping[str, Any]) -> FileTokenizer:
    """fields: a GGUF file's metadata, key -> Python value.

    Raises ModelError for a kind of tokenizer or a pre-tokenizer that is not known here, and for lists that do not fit together.
    """
    words = Vocabulary(fields)
    kind = words.value("model")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelError(f"The file's tokenizer is of the kind {short(kind)}, and only {' and '.join(KINDS)} are known here: "
                         "load the model with a tokenizer of your own: tokenizer=….")
    try:
        made, begins = KINDS[kind](words)
        made.add_tokens(words.added)
        made.post_processor = framed(words, begins)
        return FileTokenizer(made, words.roles, words.ends, fields.get("tokenizer.chat_template"),
                             fields.get("tokenizer.chat_template.tool_use"))
    except ModelError:
        raise
    except Exception as error:  # values of any type may stand in a file, and the library raises nothing narrower
        why = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(f"The file's tokenizer cannot be built: {why}.") from error


@dataclass(frozen=True)
class Vocabulary:
    """What the metadata says of tokens, checked."""

    fields: Mapping[str, Any]

    def value(self, name: str, default: Any = None) -> Any:
        return self.fields.get(f"tokenizer.ggml.{name}", default)

    def listed(self, name: str, size: int | None = None) -> list[Any]:
        """A list, of one value a token where a size is given."""
        found = self.value(name)
        if not isinstance(found, Sequence) or isinstance(found, str) or size not in (None, len(found)):
            what = "nothing" if found is None else f"{len(found)} values" if isinstance(found, list) else short(found)
            raise ModelError(f"The file's tokenizer.ggml.{name}: expected a list{f' of {size}' if size else ''}; found {what}.")
        return list(found)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id. An empty token gets a name, since no text can be it."""
        tokens = self.listed("tokens")
        ids = {token or f"[EMPTY_{i}]": i for i, token in enumerate(tokens)}
        if len(ids) < len(tokens) or not tokens:
            raise ModelError(f"The file's tokenizer.ggml.tokens: expected tokens that differ; found {len(tokens) - len(ids)} "
                             f"twice among {len(tokens)}.")
        return ids

    @cached_property
    def types(self) -> list[int]:
        return [NORMAL] * len(self.ids) if self.value("token_type") is None else self.listed("token_type", len(self.ids))

    @property
    def roles(self) -> dict[str, int]:
        defaults = {"bos": 1, "eos": 2, "unknown": 0} if self.value("model") == "llama" else {}
        found = {role: self.value(f"{name}_token_id", defaults.get(name)) for role, name in ROLES.items()}
        return {role: id for role, id in found.items() if id is not None and 0 <= id < len(self.ids)}

    @property
    def ends(self) -> list[int]:
        """Ids that end an answer: those that the file names, and those whose name is known."""
        named = [self.roles.get("eos_token"), *(self.value(f"{name}_token_id") for name in ("eot", "eom"))]
        known = [self.ids[text] for text in TURN_ENDS & self.ids.keys()]
        return sorted({*known, *(id for id in named if id is not None and 0 <= id < len(self.ids))})

    @cached_property
    def added(self) -> list[AddedToken]:
        """Tokens that are read whole wherever they stand in a text. Phi-3's take the white space behind them."""
        strips = self.value("model") == "llama" and self.fields.get("general.architecture") == "phi3"
        return [AddedToken(text, special=kind != OWN, normalized=False, rstrip=strips and text not in KEEP_SPACE)
                for text, kind in zip(self.ids, self.types, strict=True) if kind in (UNKNOWN, CONTROL, OWN) or text in TURN_ENDS]


KEEP_SPACE = ("<unk>", "<s>", "<|endoftext|>")


def byte_level(words: Vocabulary) -> tuple[Tokenizer, bool]:
    """BPE on bytes, and whether a text begins with the first token where the file does not say."""
    splits = splits_of(words.value("pre", "default"))
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in words.listed("merges"))]
    made = Tokenizer(models.BPE(words.ids, merges, ignore_merges=splits.whole))
    made.pre_tokenizer = cuts_of(splits)
    cured = [decoders.Replace(Regex(f"^{re.escape(token)}$"), in_bytes(token)) for token in map(str, words.added)
             if misread(token)]
    made.decoder = decoders.Sequence([*cured, decoders.ByteLevel()]) if cured else decoders.ByteLevel()
    return made, splits.bos


def misread(token: str) -> bool:
    """Whether a token that is written as it is, like DeepSeek's "ü", would be decoded as if each character stood for a byte."""
    return not token.isascii() and ALPHABET.issuperset(token)


def in_bytes(token: str) -> str:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(token)[0][0]


def cuts_of(splits: Splits) -> pre_tokenizers.PreTokenizer:
    """What cuts a text before it is merged."""
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits.patterns]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentencepiece(words: Vocabulary) -> tuple[Tokenizer, bool]:
    """The same of SentencePiece: spaces are U+2581, one stands before each text, and what has no token is written in bytes."""
    prefix = bool(words.value("add_space_prefix", True))
    unknown = words.roles.get("unk_token")
    made = Tokenizer(models.BPE(words.ids, merges_of(words), byte_fallback=True, fuse_unk=True,
                                unk_token=None if unknown is None else [*words.ids][unknown]))
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE)] * prefix + [normalizers.Replace(" ", SPACE)])
    made.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
                                      *[decoders.Strip(" ", 1, 0)] * prefix])
    return made, True


def merges_of(words: Vocabulary) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbours whose union has the best score; so every way to halve a token is a merge, in the order
    of scores.
    """
    ids = words.ids
    ranked = sorted(zip(words.listed("scores", len(ids)), ids, words.types, strict=True), key=lambda each: -each[0])
    halves = ((text[:at], text[at:]) for _, text, kind in ranked if kind in (NORMAL, OWN, UNUSED) for at in range(1, len(text)))
    return [(left, right) for left, right in halves if left in ids and right in ids]


def framed(words: Vocabulary, begins: bool) -> processors.TemplateProcessing:
    """What stands before and behind a text."""
    first, last = (words.roles.get(role) if words.value(f"add_{name}_token", default) else None
                   for role, name, default in (("bos_token", "bos", begins), ("eos_token", "eos", False)))
    known = [(name, id) for name, id in (("first", first), ("last", last)) if id is not None]
    shape = " ".join(["first"] * (first is not None) + ["$A"] + ["last"] * (last is not None))
    return processors.TemplateProcessing(single=shape, special_tokens=known)


KINDS = {"gpt2": byte_level, "llama": sentencepiece}
