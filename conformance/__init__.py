"""The conformance judge: the Autobahn fuzzing client against a server started as users start it.

`python -m conformance.run` is the command; `docs/conformance/` says what is judged. The modules: `cases`
(which cases there are), `verdict` (what counts as passed) and `report` (tables and texts) are pure; `suite`
finds or installs the fuzzing client, `server` runs the server that is judged, `run` puts them together.

Nothing here imports wsecho: the judge sees only the server's processes, sockets and log.
"""
