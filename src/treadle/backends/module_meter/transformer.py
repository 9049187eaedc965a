"""A decoder-only transformer as they are trained today, to be measured before it is written.

Root-mean-square norms, attention of grouped queries, a gated feed-forward part, tied to nothing.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from treadle.kernel.errors import Invalid, did_you_mean


class Shape(NamedTuple):
    """The figures of a transformer.

    Attributes:
        layers: How many blocks it has.
        width: Numbers of each token's vector.
        heads: Heads of attention.
        vocabulary: Tokens it knows.
        sequence: Tokens of each row.
        kv_heads: Heads of keys and values.
        mlp: Width of the feed-forward part.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    sequence: int
    kv_heads: int
    mlp: int

    @classmethod
    def of(cls, told: dict[str, int]) -> "Shape":
        """Read a shape; ``kv_heads`` is ``heads``, and ``mlp`` 8/3 of the width, if not told.

        Args:
            told: The figures by name.

        Raises:
            Invalid: A figure is missing, unknown or does not fit the others.
        """
        for name in told.keys() - set(cls._fields):
            raise Invalid(f"A transformer has no '{name}'.{did_you_mean(name, cls._fields)}")
        missing = [n for n in cls._fields if n not in told and n not in ("kv_heads", "mlp")]
        if missing:
            raise Invalid(f"The transformer's {missing[0]} is missing: --config {missing[0]}=N")
        small = [name for name, value in told.items() if value < 1]
        if small:
            raise Invalid(f"The transformer's {small[0]} must be 1 or more.")
        width, heads = told["width"], told["heads"]
        given = {"kv_heads": heads, "mlp": -(-8 * width // 3 // 64) * 64} | told
        for over, under in (("width", "heads"), ("heads", "kv_heads")):
            if given[over] % given[under]:
                raise Invalid(
                    f"The {over}, {given[over]}, is not a multiple of the {under}, {given[under]}."
                )
        return cls(**given)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        """Scale rows to a root mean square of 1."""
        return nn.functional.rms_norm(x, self.scale.shape, self.scale.to(x.dtype))


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        self._head = shape.width // shape.heads
        of_keys = self._head * shape.kv_heads
        self.before, self.between = _Norm(shape.width), _Norm(shape.width)
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, of_keys, bias=False)
        self.value = nn.Linear(shape.width, of_keys, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.gate = nn.Linear(shape.width, shape.mlp, bias=False)
        self.up = nn.Linear(shape.width, shape.mlp, bias=False)
        self.down = nn.Linear(shape.mlp, shape.width, bias=False)

    def forward(self, x: Any) -> Any:
        """Attend, then transform each token."""
        told = self.before(x)
        query, key, value = (self._heads(part(told)) for part in (self.query, self.key, self.value))
        seen = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        told = self.between(x)
        return x + self.down(nn.functional.silu(self.gate(told)) * self.up(told))

    def _heads(self, x: Any) -> Any:
        return x.unflatten(2, (-1, self._head)).transpose(1, 2)


class Transformer(nn.Module):
    """The transformer; it returns the loss of predicting each next token.

    Args:
        shape: Its figures.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = _Norm(shape.width)
        self.out = nn.Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        """Return the mean loss of the next tokens."""
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        scores = self.out(self.norm(x))
        return nn.functional.cross_entropy(scores.flatten(0, 1).float(), tokens.flatten())
