"""The hub: channels and who is on them. It imports neither Autobahn nor the reactor."""
