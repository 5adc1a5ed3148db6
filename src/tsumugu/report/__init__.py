"""The report room: one self-contained page that shows a run."""
