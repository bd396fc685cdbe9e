"""Quantities read, compared and printed as Kubernetes (apimachinery 0.32) does."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.go.quantity import FORMAT_WRONG, NUMERIC_WRONG, SUFFIX_WRONG, Quantity

# What is written, how Kubernetes prints it, and its Value (a whole number, rounded up).
READ = [
    ("0", "0", 0),
    ("00", "0", 0),
    ("1", "1", 1),
    ("+1", "+1", 1),
    ("-1", "-1", -1),
    ("500m", "500m", 1),
    ("0.5", "500m", 1),
    (".5", "500m", 1),
    ("5.", "5.", 5),
    ("1.5", "1500m", 2),
    ("900m", "900m", 1),
    ("1100m", "1100m", 2),
    ("2000m", "2", 2),
    ("1Gi", "1Gi", 2**30),
    ("1024Mi", "1Gi", 2**30),
    ("1.5Gi", "1536Mi", 3 * 2**29),
    ("0.5Mi", "512Ki", 2**19),
    ("1023Ki", "1023Ki", 1023 * 1024),
    ("2047.5Ki", "2096640", 2096640),
    ("33Ti", "33Ti", 33 * 2**40),
    ("033Ti", "033Ti", 33 * 2**40),
    ("1k", "1k", 1000),
    ("1000k", "1M", 1_000_000),
    ("1e3", "1e3", 1000),
    ("1E3", "1E3", 1000),
    ("1E", "1E", 10**18),
    ("12e-1", "1200e-3", 2),
    ("9.0458T", "9045800M", 9_045_800_000_000),
    ("0.1n", "1n", 1),
    ("1.1234567891", "1123456790n", 2),
    ("100000000000000000000", "100E", 10**20),
    ("10Ei", "9223372036854775807", 2**63 - 1),
    (".", "0", 0),
    ("m", "0", 0),
    ("-5m", "-5m", -1),
]


@pytest.mark.parametrize(("written", "printed", "rounded"), READ)
def test_read(written: str, printed: str, rounded: int) -> None:
    quantity = Quantity.parse(written)
    assert (str(quantity), quantity.rounded) == (printed, rounded)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", FORMAT_WRONG),
        ("lots", FORMAT_WRONG),
        ("1 GB", FORMAT_WRONG),
        ("1.2.3", FORMAT_WRONG),
        ("1e3.5", FORMAT_WRONG),
        ("1µ", FORMAT_WRONG),
        ("1K", SUFFIX_WRONG),
        ("1i", SUFFIX_WRONG),
        ("1e", SUFFIX_WRONG),
        ("1Kii", SUFFIX_WRONG),
        ("1M5", SUFFIX_WRONG),
        ("1e999999999", NUMERIC_WRONG),
        ("9" * 5000, NUMERIC_WRONG),
    ],
)
def test_refused(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Quantity.parse(written)


def test_whole() -> None:
    assert Quantity.parse("2000m").whole
    assert not Quantity.parse("500m").whole


@given(
    st.integers(0, 10**12),
    st.sampled_from(["", "m", "u", "n", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3"]),
    st.sampled_from(["", "-", "+"]),
)
def test_what_is_printed_reads_as_the_same(number: int, suffix: str, sign: str) -> None:
    quantity = Quantity.parse(f"{sign}{number}{suffix}")
    assert Quantity.parse(str(quantity)).value == quantity.value


@given(st.decimals(0, 10**6, allow_nan=False, places=6))
def test_decimal_values_are_exact(number: object) -> None:
    assert Quantity.parse(str(number)).value == Fraction(str(number))
