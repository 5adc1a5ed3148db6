"""Documents and a tokenizer to token shards, one task per shard."""

from tsumugu.engine import map_shards
from tsumugu.pipeline import Counts, StageContext
from tsumugu.tokens.encoding import TRAIN, VALIDATION, EncodeTask, encode_shard
from tsumugu.tokens.loader import open_tokens


def run(context: StageContext) -> Counts:
    """Fill `train/` and `validation/`; return how many documents and tokens each holds."""
    tasks = [
        EncodeTask(
            documents=path,
            tokenizer=context.inputs["tokenizer"],
            folder=context.folder,
            seed=context.recipe.seed,
            validation_fraction=context.recipe.tokens.validation_fraction,
        )
        for path in sorted((context.inputs["corpus"] / "documents").glob("*.parquet"))
    ]
    map_shards(encode_shard, tasks, resources=context.resources, description="tokens: encode")
    counts = {}
    for split in (TRAIN, VALIDATION):
        stream = open_tokens(context.folder / split)
        counts[split] = {"documents": stream.documents, "tokens": stream.tokens}
    return counts
