"""The tests of wsecho: one module for each source module.

Run by `python -m twisted.trial tests` from the top of the checkout.
"""

from hypothesis import settings

# A machine that does something else meanwhile is no fault of the code: no example has a deadline.
settings.register_profile("wsecho", deadline=None)
settings.load_profile("wsecho")
