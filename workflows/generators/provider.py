"""What draws for money: one call, and one answer for whatever comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol, runtime_checkable

from uploads.errors import CodedError
from uploads.ledger import Outcome


@dataclass(frozen=True)
class Answer:
    """What came of one call of a provider, a failure too."""

    outcome: Outcome
    cost_usd: Decimal | None = Decimal(0)
    """None: nobody can say, it may have been charged."""
    picture: bytes | None = None
    """As it came: nobody has looked at it."""
    error: CodedError | None = None
    """What the step ends with when there is no picture."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    error_kind: str = ""
    reason: str = ""
    """The provider's own words, for admins only."""


@runtime_checkable
class Provider(Protocol):
    """Draws for money, elsewhere. `workflows.generators.paid` keeps its books."""

    name: str
    model: str
    typical_seconds: float
    """For a picture, as long as nobody knows better."""

    def ask(self, picture: bytes, prompt_version: str, seconds: float) -> Answer:
        """Draw `picture` (a work file) anew. Every failure of the provider or of the network is an answer, within
        about so many seconds."""
