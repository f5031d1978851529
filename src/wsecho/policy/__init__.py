"""Values and tables that say what is allowed: options, limits, origins, hosts, close codes, end reasons.

Nothing in here imports another part of wsecho, nor Autobahn, nor a reactor.
"""
