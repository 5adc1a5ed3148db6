"""The directory of a tuned model: where other programs stop, and how they ask."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import write_small_model
from small_tokenizers import written_folder
from transformers import GenerationConfig, pipeline

from tsumugu.files import read_json, write_json
from tsumugu.release.gguf_vocabulary import read_vocabulary
from tsumugu.release.loading import load_model, load_tokenizer
from tsumugu.talking.speaker import open_speaker
from tsumugu.tuning.config import TemplateName
from tsumugu.tuning.releasing import write_directory
from tsumugu.tuning.template import open_template, stop_ids

ENDS: dict[tuple[TemplateName, str], list[str]] = {
    ("modern", "modern"): ["<|end|>", "</s>"],
    ("modern", "japanese-large-lm"): ["</s>"],
    ("line", "modern"): ["</s>"],
}


def tuned(folder: Path, name: TemplateName, preset: str) -> Path:
    """A directory as the stage writes it, of weights that were not trained."""
    base = write_small_model(folder / "base", written_folder(preset), "llama")
    shutil.copy(written_folder(preset) / "spiece.model", base)
    write_json(base / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3})
    tokenizer = load_tokenizer(base)
    template = open_template(name, tokenizer)
    write_directory(
        folder / "tuned", base=base, tuned=base, template=template, stops=stop_ids(template, tokenizer)
    )
    return folder / "tuned"


@pytest.mark.parametrize(("name", "preset"), ENDS)
def test_everybody_stops_where_an_answer_ends(name: TemplateName, preset: str, tmp_path: Path) -> None:
    folder = tuned(tmp_path, name, preset)
    tokenizer, ends = load_tokenizer(folder), ENDS[name, preset]
    ids = tokenizer.convert_tokens_to_ids(ends)
    # transformers, and vLLM, which takes all of the list.
    found = GenerationConfig.from_pretrained(folder).eos_token_id
    assert (found if isinstance(found, list) else [found]) == ids
    # tsumugu generate and chat.
    assert open_speaker(str(folder)).voice.ends == {*ids}
    # llama.cpp.
    special = read_vocabulary(folder, len(tokenizer)).special
    assert {special[role] for role in ("eos", "eot") if role in special} == {*ids}
    # The token that ends documents stays what it was.
    assert tokenizer.eos_token == "</s>"
    assert read_json(folder / "config.json")["eos_token_id"] == 2


def test_a_pipeline_of_transformers_stops_there_and_asks_in_the_template(tmp_path: Path) -> None:
    folder = tuned(tmp_path, "modern", "modern")
    tokenizer = load_tokenizer(folder)
    model: Any = load_model(folder)
    answer = tokenizer.convert_tokens_to_ids(["あ", "<|end|>", "い"])
    seen: list[list[int]] = []

    def say(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The next token of the answer, whatever the model would say."""
        if not seen:
            seen.append(input_ids[0].tolist())
        scores = torch.full_like(scores, -torch.inf)
        scores[:, answer[input_ids.shape[1] - len(seen[0])]] = 0
        return scores

    messages = [{"role": "user", "content": "祖母は？"}]
    ask = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    found = ask(messages, max_new_tokens=3, logits_processor=[say])[0]["generated_text"]
    assert found == [*messages, {"role": "assistant", "content": "あ"}]
    assert tokenizer.decode(seen[0]) == "<s><|user|>祖母は？<|assistant|>"
