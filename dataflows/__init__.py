"""What happens to the data, in order. Imports schemas and connectors."""
