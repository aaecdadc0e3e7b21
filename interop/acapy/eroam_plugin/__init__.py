"""ACA-Py plugin: AnonCreds objects of the method `did:eroam`, on the ledger of an eroam network."""

from acapy_agent.anoncreds.registry import AnonCredsRegistry
from acapy_agent.config.injection_context import InjectionContext

from .registry import EroamRegistry

__all__ = ["EroamRegistry", "setup"]


async def setup(context: InjectionContext) -> None:
    """Register the method with the agent."""
    registry = context.inject(AnonCredsRegistry)
    eroam = EroamRegistry.from_environment()
    await eroam.setup(context)
    registry.register(eroam)
