"""Photo albums: `landmarks tag` names the landmarks in folders of photos.

It writes keywords into sidecars that photo programs read, and takes them back. The photos themselves are never touched,
and what others wrote into a sidecar stays. A small state in the user's cache folder spares work.
"""
