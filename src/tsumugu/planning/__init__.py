"""What a model takes on a cluster, before anybody pays for one: memory, time, price, and the layout."""
