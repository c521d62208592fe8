"""What the application needs from the world: protocols whose docstrings are contracts.

An adapter is right when it passes the contract suite of its port (``tests/ports``).
"""
