"""What a decoder of any family computes. That it is what transformers computes: `test_adapter`."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoders import KINDS, decoder, some_tokens
from tsumugu.model.attention import Scope, attend, documents_of
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Attention, Decoder, Positions, count_parameters
from tsumugu.model.loss import IGNORED

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())


@every_kind
@torch.no_grad()
def test_no_position_sees_what_follows(config: ModelConfig) -> None:
    model = decoder(config)
    tokens = some_tokens(1, 20)
    changed = tokens.clone()
    changed[0, 12:] = 5
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


@every_kind
@torch.no_grad()
def test_packed_documents_have_the_logits_of_each_document_alone(config: ModelConfig) -> None:
    model = decoder(config)
    tokens = some_tokens(2, 12)
    lengths = [5, 7, 3, 1, 8]
    ends = torch.tensor(lengths).cumsum(0)
    boundaries = F.pad(ends, (1, 0)).int()
    positions = torch.cat([torch.arange(length) for length in lengths]).view(2, 12)
    packed = model(tokens, positions=positions, documents=documents_of(boundaries, (2, 12)))
    alone = [model(document[None])[0] for document in torch.split(tokens.flatten(), lengths)]
    torch.testing.assert_close(packed.flatten(0, 1), torch.cat(alone), rtol=0, atol=1e-5)


def test_documents_have_a_number_each_across_the_rows() -> None:
    boundaries = torch.tensor([0, 2, 4, 7, 8], dtype=torch.int32)
    documents = documents_of(boundaries, (2, 4))
    assert documents.ids.tolist() == [[1, 1, 2, 2], [3, 3, 3, 4]]
    assert documents.ids.dtype == torch.int32


@every_kind
@torch.no_grad()
def test_parts_one_after_the_other_equal_the_whole(config: ModelConfig) -> None:
    whole = decoder(config)
    first, second = copy.deepcopy(whole), copy.deepcopy(whole)
    del first.layers["1"]
    first.norm = first.head = None
    second.embedding = second.position_embedding = None
    del second.layers["0"]
    names = {name for part in (first, second) for name, _ in part.named_parameters()}
    assert names - {"head.weight"} == {name for name, _ in whole.named_parameters()} - {"head.weight"}

    tokens, targets = some_tokens(2, 12), some_tokens(2, 12, seed=1)
    boundaries = torch.tensor([0, 5, 12, 24], dtype=torch.int32)
    positions = torch.cat([torch.arange(5), torch.arange(7), torch.arange(12)]).view(2, 12)
    for where in ({}, {"positions": positions, "documents": documents_of(boundaries, (2, 12))}):
        states = first(tokens, **where)
        assert torch.equal(second(states, **where), whole(tokens, **where))
        assert torch.equal(second(states, targets, **where), whole(tokens, targets, **where))


@every_kind
def test_loss_is_the_sum_of_the_tokens_cross_entropies(config: ModelConfig) -> None:
    model = decoder(config)
    tokens, targets = some_tokens(2, 12), some_tokens(2, 12, seed=1)
    targets[0, 3:6] = IGNORED
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), reduction="sum")
    loss = model(tokens, targets)
    torch.testing.assert_close(loss, expected)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    found = torch.autograd.grad(loss, list(model.parameters()))
    for gradient, by_hand in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, by_hand, rtol=1e-4, atol=1e-5)


def test_some_of_the_groups_are_a_smaller_attention() -> None:
    """The outputs of two attentions with half of the key-value heads each add up to the whole's."""
    config = KINDS["llama, grouped, norms on queries and keys"]
    whole = Attention(config)
    where = Positions(None)
    x = torch.randn(2, 6, config.hidden_size)
    rows, columns = len(whole.qkv.weight) // 2, config.hidden_size // 2
    out = torch.zeros_like(x)
    for half in range(2):
        part = copy.deepcopy(whole)
        part.qkv.weight = nn.Parameter(whole.qkv.weight[half * rows : (half + 1) * rows])
        part.output.weight = nn.Parameter(whole.output.weight[:, half * columns : (half + 1) * columns])
        out = out + part(x, where)
    torch.testing.assert_close(out, whole(x, where), rtol=0, atol=1e-6)


def test_queries_keys_and_values_reach_the_kernel_in_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel for packed documents on GPUs takes nothing else, and autocast keeps norms in float32.
    seen: list[torch.dtype] = []

    def spy(q: Tensor, k: Tensor, v: Tensor, scope: Scope) -> Tensor:
        seen.extend((q.dtype, k.dtype, v.dtype))
        return attend(q, k, v, scope)

    monkeypatch.setattr("tsumugu.model.decoder.attend", spy)
    model = decoder(KINDS["llama, grouped, norms on queries and keys"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(some_tokens(1, 8))
    assert set(seen) == {torch.bfloat16}


def test_tied_embeddings_stay_one_parameter_when_their_memory_comes_later() -> None:
    with torch.device("meta"):
        model = Decoder(KINDS["gpt2"], 101)
    parameters = count_parameters(model)
    model.to_empty(device="cpu")
    assert model.head is not None
    assert model.embedding is not None
    assert model.head.weight is model.embedding.weight
    assert count_parameters(model) == parameters


def test_dropout_acts_in_training_and_not_in_evaluation() -> None:
    model = Decoder(KINDS["gpt2"], 101, dropout=0.5)
    model.load_state_dict(decoder(KINDS["gpt2"]).state_dict())
    tokens = some_tokens(1, 8)
    assert not torch.equal(model(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), decoder(KINDS["gpt2"])(tokens))
