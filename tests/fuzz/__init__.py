"""Targets for fuzzing: a function that takes any bytes, and fails if something is wrong with what becomes of them.

``python -m tests.fuzz.hpack`` runs one until it is interrupted, from the files of its corpus on; an input that fails gets
into the corpus, where each ordinary test run tries it. CONTRIBUTING.md says more.
"""
