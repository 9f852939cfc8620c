"""The page: a thin client of the service, which it knows by its address alone."""
