"""Tables, plots and pictures that several commands share."""
