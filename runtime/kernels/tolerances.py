"""How far the kernels may lie from their float64 twins: one table for every instruction set and for CUDA.

Each figure is what the number formats inside the kernel can lose, rounded up, and not what a run happened to show.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ALPHA", "COMPOSITE", "GUIDE", "HALF", "MATTE", "NUMBERS", "TONE"]

HALF: Final = 0.5  # what rounding to an integer adds

# Resized codes: weights are Q16 down and Q14 across (8 taps lose at most 8 * 2^-15 * 255 = 0.06), Q7 in between.
GUIDE: Final = 0.15

# R'G'B' in 0..1 before normalisation: GUIDE through the matrix, whose rows add up to less than 1.17 + 2.2.
TONE: Final = GUIDE * 3.4 / 255

# What storing in the tensor's type adds: (absolute, relative).
NUMBERS: Final = {
    "float32": (1e-6, 2e-7),
    "float16": (6e-8, 2.0**-11),
    "bfloat16": (0.0, 2.0**-8),
    "int8": (HALF, 0.0),
    "uint8": (HALF, 0.0),
}

MATTE: Final = 2e-5  # float32 and a polynomial e^x

# Full-size opacity: alpha enters the guided filter as Q12, and a line's slope magnifies that by at most
# 1 / (2 sqrt(epsilon)) = 50 at the smallest epsilon; half of it survives where all rounding errors conspire.
ALPHA: Final = 50 * 2.0**-13

COMPOSITE: Final = ALPHA * 255 + 0.05  # codes: opacity's error times the largest contrast
