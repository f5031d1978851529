"""The application: what `twistd wsecho` and the console script `wsecho` are made of.

It knows every other part of wsecho; no other part knows it.
"""
