"""Text from a model, a token at a time, with the keys and values of all before it kept.

B rows, P tokens of a prompt, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear

from scalelaw.contracts import SEPARATOR, BadInput
from scalelaw.models.base import LanguageModel


@torch.no_grad()
def generate(
    model: LanguageModel, prompt: Tensor, *, tokens: int, temperature: float, generator: torch.Generator
) -> Tensor:
    """Go on with a (B, P) prompt for up to `tokens` tokens: (B, n) int64, without the prompt.

    The prompt is given as the common measure gives it (scalelaw.evaluate): visible to itself in both
    directions where the architecture looks both ways. A row ends with SEPARATOR, and has it from there on;
    when all have ended, so does the text. temperature: what logits are divided by before a token is drawn;
    0 takes the likeliest. generator: of the model's device.
    Raises BadInput, naming the key, for what cannot be had.
    """
    if not temperature >= 0:
        raise BadInput(f"temperature must be 0 or positive, not {temperature!r}")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise BadInput(f"tokens must be a whole number of at least 1, not {tokens!r}")
    if prompt.shape[1] < 1:
        raise BadInput("prompt is empty: there is no token to go on from")
    reader, hidden = model.read(prompt, tokens - 1)  # the last token is not read
    written: list[Tensor] = []
    ended = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    while True:
        token = draw(linear(*model.scaled(hidden)), temperature, generator).masked_fill(ended, SEPARATOR)
        written.append(token)
        ended |= token == SEPARATOR
        if len(written) == tokens or bool(ended.all()):
            return torch.stack(written, dim=1)
        hidden = reader(model.embedding(token[:, None]))


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A token a row, (B,), from (B, V) logits."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    share = (logits.float() / temperature).softmax(dim=-1)
    return torch.multinomial(share, 1, generator=generator)[:, 0]
