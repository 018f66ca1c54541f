"""The recipe of the demo checkpoint: a renderer that teaches, and a training loop.

Nothing here runs when pictures are generated.
"""
