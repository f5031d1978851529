"""A chat client with wsecho, for a terminal: prints what comes, sends what is typed.

python examples/chat_client.py URL
"""
