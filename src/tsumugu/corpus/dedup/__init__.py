"""Documents that say the same again, and documents that give away an evaluation set.

While a shard is measured, `keys` reduces every text to a few hundred bytes (`key_schema`). When all
shards are measured, `decide` compares these keys and says of every document whether it stays.
"""

from tsumugu.corpus.dedup.deciding import decide
from tsumugu.corpus.dedup.keys import key_schema, keys

__all__ = ["decide", "key_schema", "keys"]
