"""Charts and galleries, drawn with matplotlib; they show what other modules computed."""
