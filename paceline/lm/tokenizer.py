"""A tokenizer that a file carries: the part of transformers' that is used here (`Tokenizer`), around the same Rust library.

Importing transformers takes seconds; this takes none of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer

from paceline.lm.chat_template import rendered

__all__ = ["FileTokenizer"]


@dataclass(eq=False)
class FileTokenizer:
    """marks: ids of the tokens with a role, by transformers' names (bos_token, eos_token, …). ends: all ids that end an answer.
    chat_template: None where the model has none. tool_template: one for conversations with tools, where it has a second.
    """

    backend_tokenizer: Tokenizer
    marks: Mapping[str, int] = field(default_factory=dict)
    ends: Sequence[int] = ()
    chat_template: str | None = None
    tool_template: str | None = None

    @property
    def bos_token(self) -> str | None:
        return self._spelled("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self._spelled("eos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self.marks.get("eos_token")

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return self.backend_tokenizer.get_added_tokens_decoder()

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def get_vocab(self) -> dict[str, int]:
        return self.backend_tokenizer.get_vocab()

    def __call__(self, text: str | Sequence[str], /, *, add_special_tokens: bool = True,
                 verbose: bool = True) -> dict[str, Any]:
        """`input_ids` of a text, or a list of them for several. verbose: counts for transformers alone."""
        if isinstance(text, str):
            return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}
        found = self.backend_tokenizer.encode_batch(list(text), add_special_tokens=add_special_tokens)
        return {"input_ids": [each.ids for each in found]}

    def decode(self, ids: Sequence[int], /, *, skip_special_tokens: bool = False,
               clean_up_tokenization_spaces: bool = False) -> str:
        """The text of ids; half a character is U+FFFD. Spaces are never cleaned up: the text is what the ids say."""
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], /, *, tools: Sequence[Mapping[str, Any]] | None = None,
                            add_generation_prompt: bool = False, tokenize: bool = False, **others: Any) -> str:
        """The text of a conversation; never ids. others: further names that the template reads."""
        template = (self.tool_template if tools else None) or self.chat_template or ""
        roles = {name: self._spelled(name) for name in self.marks}
        return rendered(template, **{**roles, **others, "messages": messages, "tools": tools,
                                     "add_generation_prompt": add_generation_prompt})

    def _spelled(self, role: str) -> str | None:
        found = self.marks.get(role)
        return None if found is None else self.backend_tokenizer.id_to_token(found)
