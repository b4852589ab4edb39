"""Verification: equivalences, checks of a declared method, and the original formulations."""
