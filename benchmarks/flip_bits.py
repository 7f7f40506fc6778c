"""(to be written)"""

import random


def damage(content: bytes, chance: random.Random) -> bytes:
    """One or two flipped bits, or only a beginning of it; never the same bytes."""
    if not content or chance.random() < 0.25:
        return content[: chance.randrange(len(content))] if content else b"\0"
    changed = bytearray(content)
    for place in chance.sample(range(8 * len(content)), chance.choice((1, 2))):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)
