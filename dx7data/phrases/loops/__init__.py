"""What numba compiles of the way from a MIDI file to phrases: every byte, message, note and phrase passes here.

No object is made for any of them: they are numbers in arrays, and the loops hold no lock, so that a file can be read on each
core.
"""
