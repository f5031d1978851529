"""The tests of wsecho: one module for each source module.

Run by `python -m twisted.trial tests` from the top of the checkout.
"""
