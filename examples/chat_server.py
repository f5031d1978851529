"""A chat server with wsecho, for a terminal: what one says goes to all others.

python examples/chat_server.py [PORT]
"""
