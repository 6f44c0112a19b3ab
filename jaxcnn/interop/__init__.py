"""Bridges to other libraries, one module each, imported by name where they are used.

- `jaxcnn.interop.flax`: Flax modules as layers, layers as Flax modules, their variables.
- `jaxcnn.interop.safetensors`: trees of arrays as files that most libraries read.
- `jaxcnn.interop.orbax`: checkpoints of arrays that are divided over many hosts, verified.

`import jaxcnn` imports none of them, so that nobody waits for a library that goes unused.
"""
