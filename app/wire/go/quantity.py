"""Kubernetes quantities such as `500m` of a CPU or `1Gi` of memory, parsed, rounded and printed as Kubernetes does.

The grammar is that of k8s.io/apimachinery/pkg/api/resource: a signed decimal number and a suffix, which is binary
(Ki … Ei), decimal (n, u, m, none, k … E) or an exponent (e3, E-2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

# The error texts of Kubernetes, which clients receive.
FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
NUMERIC_WRONG = "unable to parse numeric part of quantity"
SUFFIX_WRONG = "unable to parse quantity's suffix"

# No resource needs longer numbers or larger exponents, and computing them takes long.
_LENGTH_MAX = 200
_EXPONENT_MAX = 200

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIX_OF = {0: "", **{power: suffix for suffix, power in _BINARY.items()}}
_NANO = 10**9
_BINARY_MAX = 2**63 - 1
_QUANTITY = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(\.(?P<part>[0-9]*))?(?P<suffix>[eEinumkKMGTP]*[-+]?[0-9]*)")


@dataclass(frozen=True)
class Quantity:
    """An amount, exact to the billionth.

    Attributes:
        text: The amount as Kubernetes prints it: 1Gi for 1024Mi, 500m for 0.5.
    """

    value: Fraction
    text: str

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Parse a quantity.

        Raises:
            ValueError: With one of the three texts of Kubernetes.

        Source: resource.ParseQuantity.
        """
        if len(text) > _LENGTH_MAX:
            # Checked first: the expression takes quadratic time, and Python refuses numbers of 5,000 digits.
            raise ValueError(NUMERIC_WRONG)
        match = _QUANTITY.fullmatch(text)
        if not text or match is None:
            raise ValueError(FORMAT_WRONG)
        base, power, exponential = _suffix(match["suffix"])
        if abs(power) > _EXPONENT_MAX:
            raise ValueError(NUMERIC_WRONG)
        part = match["part"] or ""
        # Parity: a suffix without a number is zero.
        exact = Fraction(int((match["whole"] + part) or "0"), 10 ** len(part)) * Fraction(base) ** power
        value = Fraction(ceil(exact * _NANO), _NANO)
        if base == 2:
            value = min(value, Fraction(_BINARY_MAX))
        value = -value if match["sign"] == "-" else value
        if _kept(match["whole"].lstrip("0") or "0", part, base, power):
            return cls(value, text)
        return cls(value, _shortest(value, base, exponential))

    @property
    def rounded(self) -> int:
        """Return the amount as a whole number, rounded away from zero (Quantity.Value of Kubernetes)."""
        return ceil(self.value) if self.value >= 0 else -ceil(-self.value)

    @property
    def whole(self) -> bool:
        """Return whether the amount is a whole number."""
        return self.value.denominator == 1

    def __str__(self) -> str:
        return self.text


def _suffix(suffix: str) -> tuple[int, int, bool]:
    """Return base, power, and whether the suffix is an exponent."""
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], False
    if suffix in _BINARY:
        return 2, _BINARY[suffix], False
    if re.fullmatch(r"[eE][-+]?[0-9]+", suffix):
        return 10, int(suffix[1:]), True
    raise ValueError(SUFFIX_WRONG)


def _kept(whole: str, part: str, base: int, power: int) -> bool:
    """Return whether Kubernetes prints the text unchanged, because it looks like the shortest form."""
    if base == 2:
        return not part and 14 - len(whole) - power * 3 // 10 >= 0 and int(whole) % 8 != 0
    digits = whole + part
    scale = power - len(part)
    return len(digits) <= 18 and scale >= -9 and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _shortest(value: Fraction, base: int, exponential: bool) -> str:
    """Return the amount without a fraction and with the largest suffix (Quantity.CanonicalizeBytes)."""
    if not value:
        return "0"
    if base == 2 and value.denominator == 1 and abs(value) >= 1024:
        number, power = int(value), 0
        while number % 1024 == 0 and power < 60:
            number, power = number // 1024, power + 10
        return f"{number}{_BINARY_SUFFIX_OF[power]}"
    number, power = int(value * _NANO), -9
    while number % 1000 == 0 and (power < 18 or exponential):
        number, power = number // 1000, power + 3
    if exponential:
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_SUFFIX_OF[power]}"
