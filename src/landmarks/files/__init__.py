"""Files: digests, atomic writes, bounded reading, and what to say of a disk's faults.

It imports `errors.py` alone, and every folder may import it. Start with `writing.py`.
"""
