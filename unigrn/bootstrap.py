"""Bootstrap counts of cells as a stream: a function of the position, however the cells are read."""

from __future__ import annotations

import numpy as np

BLOCK = 4096  # cells per independent stretch of the bootstrap stream


class Bootstrap:
    """Multinomial bootstrap counts of ``cells`` cells, produced stretch by stretch.

    The number of draws that fall into each stretch of `BLOCK` positions is drawn first, then the
    cells within it: the counts are exactly multinomial, and a million cells need the memory of one
    stretch. They are a function of the position, however the cells are read.
    """

    def __init__(self, bags: int, cells: int, entropy: tuple[int, ...]):
        self.bags, self.cells, self.entropy = bags, cells, entropy
        sizes = np.full(-(-cells // BLOCK), BLOCK)
        sizes[-1] = cells - BLOCK * (len(sizes) - 1)
        self.sizes = sizes
        rng = np.random.default_rng((*entropy, 0))
        self.totals = rng.multinomial(cells, sizes / cells, size=bags)
        self._at: tuple[int, np.ndarray] = (-1, np.empty((bags, 0)))

    def _stretch(self, block: int) -> np.ndarray:
        if self._at[0] != block:
            rng = np.random.default_rng((*self.entropy, 1, block))
            size, totals = int(self.sizes[block]), self.totals[:, block]
            bag = np.repeat(np.arange(self.bags), totals)
            flat = bag * size + rng.integers(0, size, len(bag))
            counts = np.bincount(flat, minlength=self.bags * size)
            self._at = (block, counts.reshape(self.bags, size))
        return self._at[1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the counts of cells start..stop-1 of the group, (bags, stop - start)."""
        out = []
        while start < stop:
            block = start // BLOCK
            end = min(stop, (block + 1) * BLOCK)
            out.append(self._stretch(block)[:, start - block * BLOCK : end - block * BLOCK])
            start = end
        return np.concatenate(out, axis=1) if len(out) != 1 else out[0]
