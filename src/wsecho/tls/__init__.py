"""TLS on pyOpenSSL: server contexts, and certificates for development.

Knows files, certificates and Twisted's connection creators; nothing of WebSockets, options or services.
"""
