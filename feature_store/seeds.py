"""Every draw is seeded by what is drawn, so that adding one draw never moves another."""

from hashlib import blake2b


def seed_of(run_seed: int, *names: str | int) -> int:
    """Seed in [0, 2**63) for the draw called `names` in the run `run_seed`."""
    text = "\x1f".join([str(run_seed), *(str(n) for n in names)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
