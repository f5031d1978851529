"""Bytes that nobody would send, found by coverage: what `targets` says must hold for all of them.

    python -m fuzz.run head|frames|envelopes [options of libFuzzer]

needs atheris (extra ``fuzz``); tests replay the stored corpus without it. `python -m fuzz.seeds` writes the
seeds of the corpus; further files in it are inputs that once broke something, or reach what no seed reaches.
"""
