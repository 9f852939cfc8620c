"""Search for similar photos over unit embeddings, and the metrics of retrieval."""
