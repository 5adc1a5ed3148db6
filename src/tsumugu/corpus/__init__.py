"""The corpus room: web pages in, clean Japanese documents out, with a reason for the rest."""
