"""The port for providers of identities, at which people sign in."""

from typing import Any, Protocol

from treadle.kernel.entity import Entity


class Identity(Entity):
    """A person as a provider knows them.

    Attributes:
        issuer: URL of the provider that vouches for the rest.
        subject: The person's id there; it never names another person.
        claims: What else the provider says of the person, by name.
    """

    issuer: str
    subject: str
    claims: dict[str, Any]


class IdentityProvider(Protocol):
    """Lets people sign in, and says who they are.

    ``state``, ``nonce`` and ``verifier`` are secrets of one sign-in. The caller makes them, keeps
    them with the browser that signs in, checks the state that comes back, and takes each once.
    """

    def address(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return the URL at which a browser signs in; the provider sends it back with a code.

        Args:
            state: What comes back with the code.
            nonce: What the provider's answer about the person will hold.
            verifier: What will prove that the code is redeemed by who has asked for it.

        Raises:
            Unavailable: The provider does not answer, or what it says of itself is not usable.
        """
        ...

    def identify(self, *, code: str, nonce: str, verifier: str, issuer: str | None) -> Identity:
        """Redeem a code that a browser brought, and verify what the provider says.

        Args:
            code: The code; the provider takes it once.
            nonce: The nonce of this sign-in.
            verifier: The verifier of this sign-in.
            issuer: The issuer that came with the code; None where none came.

        Raises:
            Unauthenticated: The provider refuses the code, or its answer cannot be trusted.
            Unavailable: The provider does not answer, or what it says of itself is not usable.
        """
        ...
