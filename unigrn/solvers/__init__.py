"""Solvers: plain functions of declared terms, mapped over targets, groups and bags."""
