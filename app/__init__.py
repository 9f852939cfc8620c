"""The web page: a thin client of the service, which it reaches only by HTTP."""
