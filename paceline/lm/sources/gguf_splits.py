r"""How byte-level BPE cuts a text before it merges: regular expressions by the name a GGUF file gives them.

They belong to the models: each stands so in its maker's `tokenizer.json`. A file only names them (`tokenizer.ggml.pre`), and
several names mean the same. Expressions work one after the other, each on the pieces that the one before has cut.
"""

from dataclasses import dataclass

from paceline.core.checks import short
from paceline.errors import ModelError, did_you_mean

__all__ = ["KNOWN", "Splits", "splits_of"]


@dataclass(frozen=True)
class Splits:
    """patterns: the expressions. whole: a piece that is a token is taken without merging (`ignore_merges`). bos: a text begins
    with the first token where the file does not say.
    """

    patterns: tuple[str, ...]
    whole: bool = False
    bos: bool = False


def splits_of(name: str) -> Splits:
    """Raises ModelError for a name that is not known here: a guess would give other ids than the model has learned."""
    for names, splits in KNOWN.items():
        if name in names.split():
            return splits
    known = sorted(each for names in KNOWN for each in names.split())
    raise ModelError(f"The file's pre-tokenizer {short(name)} is not known here.{did_you_mean(name, known)} Load the model with "
                     "a tokenizer of your own: tokenizer=….")


SHORT = r"'(?:[sdmt]|ll|ve|re)"
SHORTENED = rf"(?i:{SHORT})"
SIGNS = r" ?[^\s\p{L}\p{N}]+"
SPACES = r"\s+(?!\S)|\s+"
LINES = rf"\s*[\r\n]+|{SPACES}"
GPT2 = rf"{SHORT}| ?\p{{L}}+| ?\p{{N}}+|{SIGNS}|{SPACES}"
WORD = r"[^\r\n\p{L}\p{N}]?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def words(digits: str) -> str:
    """Words with the one sign or space before them; digits; signs with the line ends behind them; lines; spaces."""
    return rf"{SHORTENED}|{WORD}\p{{L}}+|\p{{N}}{digits}|{SIGNS}[\r\n]*|{LINES}"


def cased(digits: str, short: str = "") -> str:
    """The same, but a word ends where small letters are followed by a capital."""
    return rf"{WORD}{UPPER}*{LOWER}+{short}|{WORD}{UPPER}+{LOWER}*{short}|\p{{N}}{digits}|{SIGNS}[\r\n/]*|{LINES}"


LATIN = ("A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ"
         "\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚ"
         "ａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")
CHINESE = "[一-龥ࠀ-一가-퟿]+"
V3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
      + LINES)
MARKED = rf"{SHORTENED}|{WORD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{LINES}"
FINNISH = " ?[^(\\s|.,!?…。，、।۔،)]+"

KNOWN = {
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0": Splits((words("{1,3}"),), whole=True, bos=True),
    "smaug-bpe dbrx chatglm-bpe": Splits((words("{1,3}"),)),
    "glm4": Splits((words("{1,3}"),), whole=True),
    "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez kormo": Splits((words(""),)),
    "qwen35": Splits((MARKED,)),
    "smollm starcoder refact command-r codeshell exaone minerva-7b": Splits((r"\p{N}", GPT2)),
    "gpt-2 phi-2 olmo mpt jais exaone4 gigachat a.x-4.0 mellum trillion granite-docling": Splits((GPT2,)),
    "tekken": Splits((cased(""),), whole=True, bos=True),
    "gpt-4o llama4": Splits((cased("{1,3}", f"{SHORTENED}?"),)),
    "deepseek-llm": Splits((r"[\r\n]", rf"\s?[{LATIN}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CHINESE, r"\p{N}")),
    "deepseek-coder": Splits((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CHINESE, r"\p{N}")),
    "deepseek-v3": Splits((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", V3)),
    "seed-coder": Splits((rf"{SHORTENED}|{WORD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{LINES}",)),
    "poro-chat bloom gpt3-finnish": Splits((FINNISH,)),
    "viking": Splits((FINNISH, r"\p{N}")),
    "falcon": Splits((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]")),
    "default": Splits((r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}
