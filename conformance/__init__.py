"""The conformance judge: the Autobahn fuzzing client against a server started as users start it, and the
fuzzing server against a client.

`python -m conformance.run` is the command; `docs/conformance/` says what is judged. The modules: `cases`
(which cases there are), `modes` (with the compiled part or without), `verdict` (what counts as passed) and
`report` (tables and texts) are pure; `suite` finds or installs the suite, `server` runs the server that is
judged, `client` the client, `judging` puts them together for one transport in one mode, `side_by_side` does
several of these at a time, and `run` is the command.

The judge imports nothing of wsecho: it sees only processes, sockets and logs. `echo_client` is not the judge,
but a program that is judged.
"""
