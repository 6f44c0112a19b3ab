"""The command `jaxcnn`: one file for each thing that it does, and `main`, which chooses."""
