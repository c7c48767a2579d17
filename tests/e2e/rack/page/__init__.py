"""The rack as a person sees it: one page on loopback, which asks for news each second."""
