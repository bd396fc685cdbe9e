"""Tests of the catalog of cached outputs."""
