"""Files as a failing disk leaves them."""

import os
import random
from pathlib import Path


def damage(content: bytes, chance: random.Random) -> bytes:
    """One or two flipped bits, or only a beginning of it; never the same bytes."""
    if not content or chance.random() < 0.25:
        return content[: chance.randrange(len(content))] if content else b"\0"
    changed = bytearray(content)
    for place in chance.sample(range(8 * len(content)), chance.choice((1, 2))):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def rot(path: Path, content: bytes) -> None:
    """Put other bytes in a file, as a failing disk does: neither time nor mode tells."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
