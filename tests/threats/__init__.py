"""What a hostile or broken peer does, as scenarios that run against plain Autobahn and against wsecho.

A scenario (`tests.threats.scenario`) attacks a server and judges by what it saw, the same way for every
server. The tests assert that plain Autobahn falls, so that a scenario that proves nothing is noticed, and
that wsecho withstands. `python -m tests.threats.report` runs all of them and writes the table of the
documentation.
"""
