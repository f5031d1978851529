"""The tests of wsecho: one module for each source module, run by `trial tests` from the top of the checkout."""
