"""How much of everything many GPUs need: what is measured, and a simulation that is held to it and goes on from there.

calls.py, living.py and points.py measure; costs.py reads what benchmarks wrote; world.py, queue.py and runs.py are the
simulation, check.py holds it to the points, predict.py asks it about what was not measured, and report.py writes the
document.
"""
