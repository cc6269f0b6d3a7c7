"""``sdgen serve``: pictures over HTTP, by the APIs that image clients speak.

``drawer`` draws what all clients ask for in one thread; ``app`` puts the routes together. Nothing outside
this room imports it but the command, and that when it starts: it needs the extra ``serve``.
"""
