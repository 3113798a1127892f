import pytest

from scalelaw.budget import Flops, Tokens, TokensPerParameter
from scalelaw.contracts import BadInput

RUN = {"N": 10_000, "flops_per_token": 60_000.0, "batch_tokens": 2048}


@pytest.mark.parametrize(
    ("budget", "tokens"),
    [(Tokens(D=1e6), 1e6), (Flops(C=6e10), 1e6), (TokensPerParameter(ratio=100), 1e6)],
)
def test_three_ways_to_say_the_same_budget(budget, tokens):
    resolved = budget.resolve(**RUN)
    assert resolved.steps * 2048 == resolved.D
    assert abs(resolved.D - tokens) <= 1024  # the nearest whole number of batches


def test_a_budget_below_one_batch_still_trains_one():
    assert Tokens(D=5).resolve(**RUN).steps == 1


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "many", None, True])
@pytest.mark.parametrize(("kind", "key"), [(Tokens, "D"), (Flops, "C"), (TokensPerParameter, "ratio")])
def test_an_unusable_budget_names_its_key(kind, key, value):
    with pytest.raises(BadInput, match=rf"budget\.{key}"):
        kind(**{key: value})
